"""Slots of our deployments: as many are taken as there are runs that take one.

Prefect counts them apart from the runs, and the count can part from them: leases are forgotten when a server
starts again, and the end of a run whose lease has lapsed gives back a slot that another one took meanwhile.
Too many would keep every later run out, too few would let two overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse

_PER_REQUEST = 200


def set_slots_right(client: SyncPrefectClient, tag: str, under_way: Sequence[StateType]) -> list[str]:
    """Set the taken slots of every deployment with the tag to its runs under way; return what was changed."""
    changed = []
    for found in _read_deployments(client, tag):
        before = _holders(client, found.id, under_way)
        deployment = client.read_deployment(found.id)
        limit = deployment.global_concurrency_limit
        # Looked at before and after: nothing began or ended between, so the count belongs to these runs.
        if limit is None or before != _holders(client, found.id, under_way):
            continue
        taken = min(len(before), limit.limit)
        if limit.active_slots != taken:
            client.update_global_concurrency_limit(
                limit.name, GlobalConcurrencyLimitUpdate(active_slots=taken)
            )
            changed.append(f"{deployment.name}: {taken} and not {limit.active_slots} of {limit.limit} taken")
    return changed


def _read_deployments(client: SyncPrefectClient, tag: str) -> list[DeploymentResponse]:
    found = client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[tag])), limit=_PER_REQUEST
    )
    return [deployment for deployment in found if deployment.global_concurrency_limit is not None]


def _holders(
    client: SyncPrefectClient, deployment_id: UUID, under_way: Sequence[StateType]
) -> set[tuple[UUID, UUID | None]]:
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(under_way)))
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
        limit=_PER_REQUEST,
    )
    return {(run.id, run.state_id) for run in runs}
