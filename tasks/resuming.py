"""Crashed runs that are begun again by themselves, as a new run with the same parameters.

Not as another attempt of the same run: a worker reports a dead process twice, up to minutes apart on a busy
machine, and the second report would crash what has been begun again in between.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType

from dispatchlake import run_lock

RESUMES = "resumes"
"""Tag of deployments whose crashed runs are begun again. Those of a schedule do not need it: the next run
reads on where the last good one of each center ended."""

MOST_RESTARTS = 3
"""Crashed once more, it stays so: what killed it would kill it again."""

GIVEN_UP = "Given up"
"""Name of the state of a run that crashed too often; its type is CRASHED still."""

RESTART_WITHIN = timedelta(days=1)
"""Whatever crashed longer ago, a person has seen."""

PER_REQUEST = 200

_RESTART = "restart-"
"""Begins the tag that says how many crashes a run comes after."""


def begin_crashed_again(client: SyncPrefectClient, state_dir: Path, tag: str) -> tuple[list[str], list[str]]:
    """Begin again the crashed runs that resume; return the names of those, and of those given up."""
    crashed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        tags=FlowRunFilterTags(all_=[tag, RESUMES]),
        end_time=FlowRunFilterEndTime.model_validate({"after_": datetime.now(UTC) - RESTART_WITHIN}),
    )
    resumed: list[str] = []
    given_up: list[str] = []
    for run in read_runs(client, crashed):
        if run.deployment_id is None or run.state is None or run.state.name == GIVEN_UP:
            continue
        if run_lock.read_fate(state_dir, str(run.id)) == "alive":  # somebody took it for dead too early
            continue
        restarts = _restarts(run)
        if restarts >= MOST_RESTARTS:
            _give_up(client, run, restarts)
            given_up.append(run.name)
        elif not _is_begun_again(client, run):
            _begin_again(client, run, run.deployment_id, restarts + 1)
            resumed.append(run.name)
    return resumed, given_up


def _restarts(run: FlowRun) -> int:
    return max((int(t.removeprefix(_RESTART)) for t in run.tags if t.startswith(_RESTART)), default=0)


def _key(run: FlowRun) -> str:
    """Return what makes sure that a run is begun again once, by however many janitors."""
    return f"begun again after {run.id}"


def _is_begun_again(client: SyncPrefectClient, run: FlowRun) -> bool:
    key = FlowRunFilterIdempotencyKey(any_=[_key(run)])
    return bool(client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key), limit=1))


def _begin_again(client: SyncPrefectClient, run: FlowRun, deployment_id: UUID, restarts: int) -> None:
    again = client.create_flow_run_from_deployment(
        deployment_id,
        parameters=run.parameters,
        tags=[*(t for t in run.tags if not t.startswith(_RESTART)), f"{_RESTART}{restarts}"],
        job_variables=run.job_variables,
        idempotency_key=_key(run),
    )
    _say(client, run, "Crashed", f"Begun again ({restarts} of at most {MOST_RESTARTS}): run {again.id}.")


def _give_up(client: SyncPrefectClient, run: FlowRun, restarts: int) -> None:
    _say(
        client,
        run,
        GIVEN_UP,
        f"It crashed {restarts + 1} times and is not begun again by itself. Its log says how far it came; "
        "mend what kills it (often memory), then Retry goes on with it.",
    )


def _say(client: SyncPrefectClient, run: FlowRun, name: str, sentence: str) -> None:
    """Add a sentence to the state of a crashed run."""
    before = run.state.message if run.state and run.state.message else ""
    state = State[Any](type=StateType.CRASHED, name=name, message=f"{before} {sentence}".strip())
    if client.read_flow_run(run.id).state_id == run.state_id:
        # Forced, as a run that has ended may not crash; Crashed it is and stays, only the words change.
        client.set_flow_run_state(run.id, state, force=True)


def read_runs(client: SyncPrefectClient, wanted: FlowRunFilter) -> list[FlowRun]:
    """Return every flow run that is wanted."""
    runs: list[FlowRun] = []
    while True:
        more = client.read_flow_runs(flow_run_filter=wanted, limit=PER_REQUEST, offset=len(runs))
        runs += more
        if len(more) < PER_REQUEST:
            return runs
