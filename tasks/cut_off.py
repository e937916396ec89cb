"""Runs whose process is gone while Prefect has them running: they are ended, and say what became of it."""

from __future__ import annotations

from collections.abc import Collection

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Crashed

from tasks.pool import NAME

_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_PER_REQUEST = 200

MESSAGE = (
    "Cut off: its process was ended from outside, such as by stopping `dispatchlake up`. What it had landed "
    "is kept; the next run reads on from there."
)


def end_cut_off_runs(alive: Collection[str]) -> int:
    """End every run of the work pool that is under way, but those whose process lives; return how many.

    Only for a server whose work pool has no worker elsewhere, and while none is running: one that is about to
    start a run has no process for it yet.

    Args:
        alive: Ids of the flow runs that a process is working on.
    """
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY)))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[NAME]))
    ended = offset = 0
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(
            flow_run_filter=states, work_pool_filter=pool, limit=_PER_REQUEST, offset=offset
        ):
            for run in runs:
                if str(run.id) in alive:
                    offset += 1
                    continue
                is_wanted = run.state is not None and run.state.is_cancelling()
                state: State[None] = Cancelled(message=MESSAGE) if is_wanted else Crashed(message=MESSAGE)
                client.set_flow_run_state(run.id, state, force=True)
                ended += 1
    return ended
