"""Runs whose process is gone while Prefect has them under way: they are ended, or begun again.

Prefect asks nobody whether a run is alive; one whose process and worker were killed stays Running for ever,
and by its deployment's limit keeps every later one out. `recover` asks the kernel, through
`dispatchlake.run_lock`; only of a run that no process of this machine ever held, it goes by heartbeats.
Measurements and reasons: docs/decisions/0012-recovery-of-killed-runs.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import Flow
from prefect.states import Cancelled, Crashed

from dispatchlake import run_lock
from dispatchlake.settings import load_settings
from tasks.resuming import PER_REQUEST, begin_crashed_again, read_runs
from tasks.slots import set_slots_right

TAG = "dispatchlake"
"""Deployments and runs that are ours carry it."""

START_LIMIT = timedelta(minutes=5)
"""How long a run may be about to start. Prefect gives its slot to another one then, too."""

SILENT_AFTER = timedelta(minutes=10)
"""Three heartbeats (180 s each) missed, and a minute: a run of another machine is taken for dead."""

SILENT_WATCH = timedelta(seconds=200)
"""So long is listened first: while the server was down, nobody's heartbeat was heard."""

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_KEPT = "What it had landed is kept."


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is waited where there is no certainty; a test has no minutes."""

    start: timedelta = START_LIMIT
    silent_after: timedelta = SILENT_AFTER
    silent_watch: timedelta = SILENT_WATCH


@dataclass(slots=True)
class Recovery:
    """What one look did: names of runs, and sentences.

    Attributes:
        looked_at: Runs under way.
        ended: Runs that were dead, and are Crashed or Cancelled now.
        failed: Runs that the server would not let be ended, and its HTTP status; the next look tries again.
        resumed: Crashed runs that were begun again.
        given_up: Crashed runs that will not be begun again.
        not_resumed: Crashed runs that could not be begun again, and why; the next look tries again.
        slots: What was wrong with a deployment's slots, and is right now.
    """

    looked_at: int = 0
    ended: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    not_resumed: list[str] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)

    @property
    def has_done_anything(self) -> bool:
        """Say whether anything was not as it should be."""
        return bool(
            self.ended or self.failed or self.resumed or self.given_up or self.not_resumed or self.slots
        )

    def headline(self) -> str:
        """Return it in one sentence."""
        if not self.has_done_anything:
            return f"{self.looked_at} runs under way, none of them dead: nothing to do."
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (
                ("dead and ended", self.ended),
                ("dead and not to be ended yet", self.failed),
                ("begun again", self.resumed),
                ("given up", self.given_up),
                ("crashed and not begun again yet", self.not_resumed),
                ("slots set right", self.slots),
            )
            if names
        ]
        return f"{'; '.join(parts)}."


def hold_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - as Prefect calls it
    """Say, until this process ends, that it works on the run: a hook for `on_running` of every flow."""
    run_lock.hold(load_settings().state_dir, str(flow_run.id), str(state.id))


def recover(*, workers_are_gone: bool = False, limits: Limits | None = None) -> Recovery:
    """End every run of ours that is dead, begin again what resumes, and set our deployments' slots right.

    Safe at any time, any number of times at once, on every machine that has a worker. A run that is alive or
    has ended is left alone.

    Args:
        workers_are_gone: No worker of any machine is running, as before one is started on a server of its
            own: what is about to start will never do so.
        limits: How long is waited where there is no certainty.
    """
    limits = limits or Limits()
    done = Recovery()
    state_dir = load_settings().state_dir
    with get_client(sync_client=True) as client:
        for run in _under_way(client, state_dir):
            done.looked_at += 1
            reason = _reason_of_death(client, state_dir, run, limits, workers_are_gone=workers_are_gone)
            if reason:
                _end(client, run, reason, done)
        try:
            crashed = begin_crashed_again(client, state_dir, TAG)
            done.resumed, done.given_up, done.not_resumed = crashed.resumed, crashed.given_up, crashed.failed
        finally:  # these are about all runs, and wait for none
            done.slots += set_slots_right(client, TAG, UNDER_WAY)
            run_lock.forget(state_dir, lambda run_id: _is_over(client, run_id))
    return done


def keep_recovering(every_s: float, stop: threading.Event, tell: Callable[[str], None]) -> None:
    """Recover now and every so many seconds until `stop` is set; a server that is away is waited for.

    Args:
        every_s: Seconds from one look to the next.
        stop: Ends it within a moment.
        tell: Is given a sentence whenever something was done, or the server has gone or come back.
    """
    is_away = False
    while not stop.is_set():
        try:
            done = recover()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end what mends
            if not is_away:
                tell(f"Runs cannot be looked after ({type(error).__name__}); it is tried again.")
            is_away = True
        else:
            if is_away or done.has_done_anything:
                tell(done.headline())
            is_away = False
        stop.wait(every_s)


def _under_way(client: SyncPrefectClient, state_dir: Path) -> list[FlowRun]:
    """Return the runs of ours that Prefect has under way: by their tag, or since they were held here."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))
    runs = read_runs(client, FlowRunFilter(state=state, tags=FlowRunFilterTags(all_=[TAG])))
    ids = [UUID(run_id) for run_id in run_lock.known_runs(state_dir)]
    for start in range(0, len(ids), PER_REQUEST):
        some = FlowRunFilterId(any_=ids[start : start + PER_REQUEST])
        runs += read_runs(client, FlowRunFilter(state=state, id=some))
    return list({run.id: run for run in runs}.values())


def _reason_of_death(
    client: SyncPrefectClient, state_dir: Path, run: FlowRun, limits: Limits, *, workers_are_gone: bool
) -> str:
    """Return why a run is dead, as a sentence, or "" if it is not known to be."""
    state = run.state
    if state is None:
        return ""
    fate = run_lock.read_fate(state_dir, str(run.id), str(state.id) if state.is_running() else None)
    if fate == "alive":
        return ""
    if state.is_pending():  # what an earlier attempt has left says nothing
        age = datetime.now(UTC) - state.timestamp
        is_dead = workers_are_gone or age > limits.start
        return "It was about to start, and what should have started it is gone." if is_dead else ""
    if fate == "dead":
        return f"Its process is gone: it was killed, or the machine was switched off. {_KEPT}"
    if workers_are_gone and run.deployment_id is not None:
        return f"It was under way when everything was stopped. {_KEPT}"
    heard_at = max(state.timestamp, _last_heartbeat(client, run.id, state.timestamp) or state.timestamp)
    is_silent = datetime.now(UTC) - heard_at > limits.silent_after
    since = run_lock.silent_since(state_dir, str(run.id), is_silent=is_silent)
    is_dead = since is not None and time.time() - since >= limits.silent_watch.total_seconds()
    return f"Nothing was heard of it since {heard_at:%F %H:%M} UTC. {_KEPT}" if is_dead else ""


def _last_heartbeat(client: SyncPrefectClient, run_id: UUID, since: datetime) -> datetime | None:
    page = client.read_events(
        EventFilter(
            occurred=EventOccurredFilter.model_validate({"since": since}),
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run_id}"]),
        ),
        limit=1,
    )
    return page.events[0].occurred if page.events else None


def _end(client: SyncPrefectClient, run: FlowRun, reason: str, done: Recovery) -> None:
    """End a dead run, unless it has moved on since it was looked at."""
    if client.read_flow_run(run.id).state_id != run.state_id:
        return
    is_wanted = run.state is not None and run.state.is_cancelling()
    state: State[Any] = Cancelled(message=reason) if is_wanted else Crashed(message=reason)
    try:
        # Not forced: the server refuses to crash what has ended meanwhile, and frees the slot.
        answer = client.set_flow_run_state(run.id, state)
    except PrefectHTTPStatusError as error:  # such as while a deleted deployment's lease lives: minutes
        done.failed.append(f"{run.name} ({error.response.status_code})")
        return
    if answer.status == SetStateStatus.ACCEPT:
        done.ended.append(run.name)


def _is_over(client: SyncPrefectClient, run_id: str) -> bool:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)])))
    return all(run.state is not None and run.state.is_final() for run in runs)
