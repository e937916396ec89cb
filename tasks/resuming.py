"""Crashed runs that are begun again by themselves, as a new run with the same parameters.

Not as another attempt of the same run: a worker reports a dead process twice, up to minutes apart on a busy
machine, and the second report would crash what has been begun again in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
from prefect.exceptions import PrefectHTTPStatusError

from dispatchlake import run_lock

RESUMES = "resumes"
"""Tag of deployments whose crashed runs are begun again. Those of a schedule do not need it: the next run
reads on where the last good one of each center ended."""

MOST_RESTARTS = 3
"""Crashed once more, it stays so: what killed it would kill it again."""

BEGUN_AGAIN = "Begun again"
"""Name of the state of a crashed run that another goes on for; its type is CRASHED still. Under the name
`Crashed` its crash would be told a second time."""

GIVEN_UP = "Given up"
"""Name of the state of a run that crashed too often, or cannot be begun again; its type is CRASHED still."""

RESTART_WITHIN = timedelta(days=1)
"""Whatever crashed longer ago, a person has seen."""

PER_REQUEST = 200

_RESTART = re.compile(r"restart-(\d+)")
"""The tag that says how many crashes a run comes after."""

_REFUSALS = {
    404: "Its deployment was deleted: it cannot be begun again.",
    409: "Its deployment does not take its parameters any more (409): start a new run with those it has now.",
    422: "Its deployment does not take its parameters any more (422): start a new run with those it has now.",
}
"""Why the server will not begin a run again, today or tomorrow, by its HTTP status."""


@dataclass(slots=True)
class Resumption:
    """Names of crashed runs that resume, by what became of them.

    Attributes:
        resumed: They were begun again.
        given_up: They will not be begun again.
        failed: They could not be begun again, and why; the next look tries again.
    """

    resumed: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def begin_crashed_again(client: SyncPrefectClient, state_dir: Path, tag: str) -> Resumption:
    """Begin again the crashed runs that resume, each by itself: one that cannot be keeps no other from it."""
    crashed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        tags=FlowRunFilterTags(all_=[tag, RESUMES]),
        end_time=FlowRunFilterEndTime.model_validate({"after_": datetime.now(UTC) - RESTART_WITHIN}),
    )
    done = Resumption()
    for run in read_runs(client, crashed):
        try:
            _resume(client, state_dir, run, done)
        except PrefectHTTPStatusError as error:
            done.failed.append(f"{run.name} ({error.response.status_code})")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are to go on
            done.failed.append(f"{run.name} ({type(error).__name__})")
    return done


def _resume(client: SyncPrefectClient, state_dir: Path, run: FlowRun, done: Resumption) -> None:
    if run.deployment_id is None or run.state is None or run.state.name == GIVEN_UP:
        return
    if run_lock.read_fate(state_dir, str(run.id)) == "alive":  # somebody took it for dead too early
        return
    restarts = _restarts(run)
    if restarts >= MOST_RESTARTS:
        reason = _crashed_too_often(restarts)
    elif _is_begun_again(client, run):
        return
    else:
        reason = _begin_again(client, run, run.deployment_id, restarts + 1)
    if reason:
        _say(client, run, GIVEN_UP, reason)
        done.given_up.append(run.name)
    else:
        done.resumed.append(run.name)


def _restarts(run: FlowRun) -> int:
    return max((int(found[1]) for tag in run.tags if (found := _RESTART.fullmatch(tag))), default=0)


def _key(run: FlowRun) -> str:
    """Return what makes sure that a run is begun again once, by however many janitors."""
    return f"begun again after {run.id}"


def _is_begun_again(client: SyncPrefectClient, run: FlowRun) -> bool:
    key = FlowRunFilterIdempotencyKey(any_=[_key(run)])
    return bool(client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key), limit=1))


def _begin_again(client: SyncPrefectClient, run: FlowRun, deployment_id: UUID, restarts: int) -> str:
    """Begin it again; return why that will never be done, as a sentence, or "" if it was."""
    try:
        again = client.create_flow_run_from_deployment(
            deployment_id,
            parameters=run.parameters,
            tags=[*(tag for tag in run.tags if not _RESTART.fullmatch(tag)), f"restart-{restarts}"],
            job_variables=run.job_variables,
            idempotency_key=_key(run),
        )
    except PrefectHTTPStatusError as error:
        if reason := _REFUSALS.get(error.response.status_code):
            return reason
        raise
    _say(client, run, BEGUN_AGAIN, f"Begun again ({restarts} of at most {MOST_RESTARTS}): run {again.id}.")
    return ""


def _crashed_too_often(restarts: int) -> str:
    return (
        f"It crashed {restarts + 1} times and is not begun again by itself. Its log says how far it came; "
        "mend what kills it (often memory), then Retry goes on with it."
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
