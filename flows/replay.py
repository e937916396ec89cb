"""Replay: read archived pages again with today's parser, after it was mended; no center is called.

Wraps `tasks.replays.replay_center`, one task run per center. Run it here and now with `dispatchlake replay`;
start it from the UI under the deployment `replay`. Not scheduled: a parser changes when somebody changes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from dispatchlake.errors import DispatchLakeError
from dispatchlake.lake import Selection
from dispatchlake.model import ArchivedName
from tasks.artifacts import ReplayResult, publish_replay, replay_headline
from tasks.policy import final_state
from tasks.publishing import publish_what_changed
from tasks.recovery import hold_run
from tasks.replays import plan_centers, replay_center


def run_name() -> str:
    """Return what a run is called in the UI: which pages it reads."""
    parameters = flow_run.parameters or {}
    parts = [", ".join(parameters.get("centers") or []) or "all centers"]
    parts += parameters.get("resources") or []
    parts += [f"{word} {parameters[name]}" for word, name in _BOUNDS if parameters.get(name)]
    if parameters.get("only_quarantined"):
        parts.append("quarantined")
    return f"replay {' '.join(map(str, parts))}"


_BOUNDS = (("since", "received_since"), ("until", "received_until"))


@flow(name="replay", flow_run_name=run_name, on_running=[hold_run])
def replay(
    centers: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default and copies it per run
    resources: list[ArchivedName] = [],  # noqa: B006 - the same
    received_since: datetime | None = None,
    received_until: datetime | None = None,
    only_quarantined: bool = False,
) -> State[Any]:
    """Make of archived pages what today's parser makes of them; one failing center never stops another.

    Args:
        centers: Ids of the dispatch centers whose pages to read; empty means all.
        resources: Which listings and webhooks to read; empty means all.
        received_since: Only pages received then or later.
        received_until: Only pages received before then.
        only_quarantined: Only pages that a quarantined record is from.
    """
    try:
        selection = Selection(
            tuple(centers), tuple(resources), received_since, received_until, only_quarantined
        )
        planned = plan_centers(selection)
    except DispatchLakeError as error:
        return Failed(message=str(error), data=error)
    # One after the other: they would only wait for each other's commits.
    states = [replay_center(center_id, selection, return_state=True) for center_id in planned]
    results = [ReplayResult.of(*ended) for ended in zip(planned, states, strict=True)]
    publish_replay(results)
    trouble, _open_zone = publish_what_changed()
    return final_state(results, replay_headline(results), trouble=trouble)
