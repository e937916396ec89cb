"""Crashed runs that are begun again by themselves: the same run, with its parameters and its history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Scheduled

from dispatchlake import run_lock

RESUMES = "resumes"
"""Tag of deployments whose crashed runs are begun again. Those of a schedule do not need it: the next run
reads on where the last good one of each center ended."""

MOST_RESTARTS = 3
"""Crashed once more, a run stays so: what killed it would kill it again."""

GIVEN_UP = "Given up"
"""Name of the state of a run that crashed too often; its type is CRASHED still."""

RESTART_AFTER = timedelta(seconds=30)
"""A worker reports the death of a process twice, and the second report would crash the run that was begun
again in between."""

RESTART_WITHIN = timedelta(days=1)
"""Whatever crashed longer ago, a person has seen."""

PER_REQUEST = 200


def begin_crashed_again(
    client: SyncPrefectClient, state_dir: Path, tag: str, restart_after: timedelta
) -> tuple[list[str], list[str]]:
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
        if datetime.now(UTC) - run.state.timestamp < restart_after:
            continue
        if run_lock.read_fate(state_dir, str(run.id)) == "alive":  # somebody took it for dead too early
            continue
        crashes = sum(1 for state in client.read_flow_run_states(run.id) if state.is_crashed())
        if client.read_flow_run(run.id).state_id != run.state_id:  # another janitor was quicker
            continue
        if crashes > MOST_RESTARTS:
            _give_up(client, run, crashes)
            given_up.append(run.name)
        elif _begin_again(client, run, crashes):
            resumed.append(run.name)
    return resumed, given_up


def _begin_again(client: SyncPrefectClient, run: FlowRun, crashes: int) -> bool:
    message = f"It crashed, and is begun again: {crashes} of at most {MOST_RESTARTS} times."
    state: State[Any] = Scheduled(
        name="AwaitingRetry",
        message=message,
        scheduled_time=datetime.now(UTC),  # as Retry in the UI does
    )
    return client.set_flow_run_state(run.id, state).status == SetStateStatus.ACCEPT


def _give_up(client: SyncPrefectClient, run: FlowRun, crashes: int) -> None:
    before = run.state.message if run.state and run.state.message else ""
    message = (
        f"It crashed {crashes} times and is not begun again by itself. {before} See its log for how far it "
        "came, and mend what kills it (often memory); then Retry goes on with it."
    )
    state = State[Any](type=StateType.CRASHED, name=GIVEN_UP, message=message)
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
