"""Recovery on a real Prefect server: who is dead, who only seems to be, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from dispatchlake.settings import Settings
from tests.command_line import run as command

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tasks.recovery import Recovery

pytestmark = pytest.mark.xdist_group("prefect")

HOLD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from dispatchlake.run_lock import hold
hold(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
os.kill(os.getpid(), signal.SIGKILL)
"""


class Register:
    """Runs on the server that no worker takes, with deployments of the test's own."""

    def __init__(self, client: SyncPrefectClient, settings: Settings) -> None:
        self.client, self.settings = client, settings
        self.deployments: list[UUID] = []

    def deploy(self, *more_tags: str, limit: int = 1) -> UUID:
        """Create a deployment of ours whose new runs are cancelled while another is under way."""
        deployment = self.client.create_deployment(
            self.client.create_flow_from_name("played"),
            f"deployment-{len(self.deployments)}",
            tags=["dispatchlake", *more_tags],
            concurrency_limit=limit,
            concurrency_options={"collision_strategy": "CANCEL_NEW"},
        )
        self.deployments.append(deployment)
        return deployment

    def begin(self, deployment: UUID, *, is_running: bool = True) -> UUID:
        """Let a run of it begin, as a worker and its process would tell the server."""
        from prefect.states import Pending, Running

        run = self.client.create_flow_run_from_deployment(deployment).id
        self.client.set_flow_run_state(run, Pending())
        if is_running and self.state(run).is_pending():
            self.client.set_flow_run_state(run, Running())
        return run

    def hold_and_die(self, run: UUID) -> None:
        """Let a process hold the run and be killed."""
        attempt = self.client.read_flow_run(run).state_id
        command = [sys.executable, "-c", HOLD_AND_DIE, str(self.settings.state_dir), str(run), str(attempt)]
        assert subprocess.run(command, check=False).returncode == -9

    def ask_for_parameters(self, deployment: UUID) -> None:
        """Let it be deployed anew, by a release whose flow has a parameter that must be given."""
        before = self.client.read_deployment(deployment)
        asks = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
        again = self.client.create_deployment(
            before.flow_id,
            before.name,
            tags=before.tags,
            concurrency_limit=1,
            parameter_openapi_schema=asks,
            enforce_parameter_schema=True,
        )
        assert again == deployment

    def state(self, run: UUID) -> Any:
        return self.client.read_flow_run(run).state

    def newest(self, deployment: UUID) -> FlowRun:
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
        from prefect.client.schemas.sorting import FlowRunSort

        (run,) = self.client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        return run

    def slots(self, deployment: UUID) -> int:
        limit = self.client.read_deployment(deployment).global_concurrency_limit
        assert limit is not None
        return limit.active_slots

    def set_slots(self, deployment: UUID, taken: int) -> None:
        from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

        limit = self.client.read_deployment(deployment).global_concurrency_limit
        assert limit is not None
        self.client.update_global_concurrency_limit(
            limit.name, GlobalConcurrencyLimitUpdate(active_slots=taken)
        )


@pytest.fixture
def register(prefect_url: str, settings: Settings) -> Iterator[Register]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    from tasks.recovery import UNDER_WAY
    from tasks.resuming import read_runs

    with get_client(sync_client=True) as client:
        register = Register(client, settings)
        yield register
        seen = FlowRunFilterStateType(any_=[*UNDER_WAY, StateType.CRASHED])
        left = FlowRunFilter(state=FlowRunFilterState(type=seen))
        for run in read_runs(client, left):  # of this test: the next one's look must not meet them
            client.delete_flow_run(run.id)
        for deployment in register.deployments:
            client.delete_deployment(deployment)


def recover(**limits_s: float) -> Recovery:
    from tasks.recovery import Limits
    from tasks.recovery import recover as look_after_runs

    return look_after_runs(limits=Limits(**{name: timedelta(seconds=s) for name, s in limits_s.items()}))


def test_a_dead_run_is_crashed_and_its_slot_is_free(register: Register) -> None:
    deployment = register.deploy()
    run = register.begin(deployment)
    register.hold_and_die(run)
    assert register.state(register.begin(deployment)).is_cancelled(), "it keeps every other run out"

    assert recover().ended == [register.client.read_flow_run(run).name]

    assert register.state(run).is_crashed()
    assert register.state(run).message.startswith("Its process is gone")
    assert register.slots(deployment) == 0
    assert register.state(register.begin(deployment)).is_running()


def test_a_dead_run_that_was_to_be_cancelled_is_cancelled(register: Register) -> None:
    from prefect.states import Cancelling

    deployment = register.deploy()
    run = register.begin(deployment)
    register.hold_and_die(run)
    register.client.set_flow_run_state(run, Cancelling())

    recover()

    assert register.state(run).is_cancelled()
    assert register.slots(deployment) == 0


def test_a_run_of_this_process_is_alive(register: Register) -> None:
    from dispatchlake.run_lock import hold

    run = register.begin(register.deploy())
    hold(register.settings.state_dir, str(run), str(register.client.read_flow_run(run).state_id))

    assert recover(silent_after=0, silent_watch=0).ended == []
    assert register.state(run).is_running()


def test_a_run_that_ended_after_it_was_looked_at_stays_as_it_ended(register: Register) -> None:
    """Prefect's own automation has crashed such runs (PrefectHQ/prefect#18653)."""
    from prefect.states import Completed

    from tasks import recovery

    run = register.begin(register.deploy())
    looked_at = register.client.read_flow_run(run)
    register.client.set_flow_run_state(run, Completed())
    done = recovery.Recovery()

    recovery._end(register.client, looked_at, "It seemed dead.", done)
    looked_at.state_id = register.client.read_flow_run(run).state_id  # and if it ended even after that
    recovery._end(register.client, looked_at, "It seemed dead.", done)

    assert register.state(run).is_completed()
    assert done.ended == []


def test_a_run_of_another_machine_is_crashed_when_it_has_been_silent_and_listened_for(
    register: Register,
) -> None:
    deployment = register.deploy()
    run = register.begin(deployment)

    assert recover(silent_after=3600, silent_watch=0).ended == [], "it may be heard yet"
    assert recover(silent_after=0, silent_watch=3600).ended == [], "silence was only now noted"
    assert register.state(run).is_running()

    assert len(recover(silent_after=0, silent_watch=0).ended) == 1
    assert register.state(run).message.startswith("Nothing was heard of it since ")
    assert register.slots(deployment) == 0


def test_a_heartbeat_is_heard(register: Register) -> None:
    from datetime import UTC, datetime

    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    from tasks import recovery
    from tests.guarantees.stage import wait_until

    run = register.begin(register.deploy())
    began = register.state(run).timestamp
    assert recovery._last_heartbeat(register.client, run, began) is None

    emit_event("prefect.flow-run.heartbeat", resource={"prefect.resource.id": f"prefect.flow-run.{run}"})
    EventsWorker.drain_all()

    heard = wait_until(lambda: recovery._last_heartbeat(register.client, run, began), "it is heard")
    assert began <= heard <= datetime.now(UTC)


def test_a_run_that_never_starts_is_crashed_after_a_while_and_at_once_without_workers(
    register: Register,
) -> None:
    from tasks.recovery import recover as look_after_runs

    deployment = register.deploy(limit=2)
    first, second = (register.begin(deployment, is_running=False) for _ in range(2))

    assert recover().ended == [], "it may be starting"
    assert len(look_after_runs(workers_are_gone=True).ended) == 2

    assert register.state(first).is_crashed()
    assert "about to start" in register.state(second).message
    assert register.slots(deployment) == 0


@pytest.mark.parametrize("taken", [0, 2])
def test_slots_are_as_many_as_there_are_runs(register: Register, taken: int) -> None:
    """Prefect loses count when leases are forgotten, or when one lapses before its run ends."""
    deployment = register.deploy(limit=2)
    register.begin(deployment)
    register.set_slots(deployment, taken)

    done = recover()

    assert register.slots(deployment) == 1
    assert done.slots == [f"deployment-0: 1 and not {taken} of 2 taken"]
    assert recover().slots == []


def test_a_crashed_run_that_resumes_is_begun_again_three_times_and_then_given_up(register: Register) -> None:
    from prefect.states import Crashed, Pending, Running

    deployment = register.deploy("resumes")
    run = register.begin(deployment)
    for restart in (1, 2, 3):
        name = register.client.read_flow_run(run).name
        register.client.set_flow_run_state(run, Crashed(message="Killed."))

        assert recover().resumed == [name]
        assert recover().resumed == [], "once"
        again = register.newest(deployment)
        assert again.id != run
        assert set(again.tags) == {"dispatchlake", "resumes", f"restart-{restart}"}
        assert register.state(run).message == f"Killed. Begun again ({restart} of at most 3): run {again.id}."
        register.client.set_flow_run_state(run, Crashed(message="The worker's second report."))
        assert again.state is not None
        assert again.state.is_scheduled(), "which is of the other run"
        run = again.id
        register.client.set_flow_run_state(run, Pending())
        register.client.set_flow_run_state(run, Running())
    register.client.set_flow_run_state(run, Crashed(message="Killed."))

    assert recover().given_up == [register.client.read_flow_run(run).name]

    state = register.state(run)
    assert state.is_crashed()
    assert state.name == "Given up"
    assert state.message.startswith("Killed. It crashed 4 times and is not begun again by itself.")
    assert not recover().has_done_anything, "that is said once"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("deleted", "Its deployment was deleted: it cannot be begun again."),
        ("other parameters", "Its deployment does not take its parameters any more (409)"),
    ],
)
def test_a_crashed_run_that_the_server_will_not_begin_again_is_given_up_and_keeps_nothing_from_the_rest(
    register: Register, change: str, reason: str
) -> None:
    """Every look met it again, and ended with it: no other run was resumed, and no slot set right."""
    from prefect.states import Crashed

    deployment, other, third = register.deploy("resumes"), register.deploy("resumes"), register.deploy()
    runs = [register.begin(one) for one in (deployment, other)]
    for run in runs:
        register.client.set_flow_run_state(run, Crashed(message="Killed."))
    if change == "deleted":
        register.client.delete_deployment(deployment)
        register.deployments.remove(deployment)
    else:
        register.ask_for_parameters(deployment)
    register.set_slots(third, 1)
    names = [register.client.read_flow_run(run).name for run in runs]

    done = recover()

    assert (done.given_up, done.resumed, done.not_resumed) == (names[:1], names[1:], [])
    assert register.newest(other).id != runs[1]
    assert register.slots(third) == 0
    state = register.state(runs[0])
    assert (state.type.value, state.name) == ("CRASHED", "Given up")
    assert state.message.startswith(f"Killed. {reason}")
    assert not recover().has_done_anything, "that is said once"


def test_a_tag_that_only_begins_like_a_count_of_restarts_is_none(register: Register) -> None:
    from prefect.states import Crashed

    deployment = register.deploy("resumes", "restart-please")
    run = register.begin(deployment)
    register.client.set_flow_run_state(run, Crashed(message="Killed."))

    assert recover().resumed == [register.client.read_flow_run(run).name]
    assert set(register.newest(deployment).tags) == {"dispatchlake", "resumes", "restart-please", "restart-1"}


def test_a_crashed_run_that_cannot_be_begun_again_now_is_told_and_tried_again(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Crashed

    from tasks import resuming

    deployment, other, third = register.deploy("resumes"), register.deploy("resumes"), register.deploy()
    runs = [register.begin(one) for one in (deployment, other)]
    for run in runs:
        register.client.set_flow_run_state(run, Crashed(message="Killed."))
    register.set_slots(third, 1)
    names = [register.client.read_flow_run(run).name for run in runs]
    begin_again = resuming._begin_again

    def begin_others_again(client: Any, run: FlowRun, *more: Any) -> Any:
        if run.id == runs[0]:
            raise OSError("the disk is full")
        return begin_again(client, run, *more)

    with monkeypatch.context() as stopped:
        stopped.setattr(resuming, "_begin_again", begin_others_again)
        done = recover()

    assert (done.not_resumed, done.resumed) == ([f"{names[0]} (OSError)"], names[1:])
    assert f"crashed and not begun again yet: {names[0]} (OSError)" in done.headline()
    assert register.slots(third) == 0
    assert recover().resumed == names[:1]


def test_slots_are_set_right_though_crashed_runs_cannot_be_read(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import resuming

    def fail(*_anything: Any) -> Any:
        raise OSError("the answer cannot be read")

    deployment = register.deploy()
    register.set_slots(deployment, 1)
    monkeypatch.setattr(resuming, "read_runs", fail)

    with pytest.raises(OSError, match="cannot be read"):
        recover()

    assert register.slots(deployment) == 0


def test_a_crashed_run_of_a_schedule_is_not_begun_again(register: Register) -> None:
    from prefect.states import Crashed

    run = register.begin(register.deploy())
    register.client.set_flow_run_state(run, Crashed())

    assert not recover().has_done_anything
    assert register.state(run).is_crashed()


def test_the_runs_of_others_are_left_alone(register: Register) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate

    deployment = register.deploy()
    register.client.update_deployment(deployment, DeploymentUpdate(tags=["somebody-elses"]))
    run = register.begin(deployment)

    assert recover(silent_after=0, silent_watch=0).looked_at == 0
    assert register.state(run).is_running()


def test_a_killed_run_without_a_deployment_is_ours_by_its_lock(register: Register) -> None:
    """Such as one of `dispatchlake ingest`, killed in a terminal."""
    from prefect import flow
    from prefect.states import Running

    @flow(name="adhoc")
    def adhoc() -> None: ...

    run = register.client.create_flow_run(adhoc).id
    register.client.set_flow_run_state(run, Running())
    register.hold_and_die(run)

    assert len(recover().ended) == 1
    assert register.state(run).is_crashed()


def test_a_run_that_cannot_be_ended_does_not_keep_others_from_it(register: Register) -> None:
    """The server fails to crash a run whose deployment was deleted, until its lease has lapsed."""
    orphan = register.begin(register.deploy())
    register.hold_and_die(orphan)
    register.client.delete_deployment(register.deployments.pop())
    run = register.begin(register.deploy())
    register.hold_and_die(run)

    done = recover()

    assert done.ended == [register.client.read_flow_run(run).name]
    assert done.failed == [f"{register.client.read_flow_run(orphan).name} (500)"]


def test_the_flow_says_what_it_did(register: Register) -> None:
    from flows.recover import recover as flow

    register.hold_and_die(register.begin(register.deploy()))

    state = flow(return_state=True)

    assert state.is_completed()
    assert state.message.startswith("dead and ended: ")


def test_the_command_does_it_once_and_says_what(register: Register) -> None:
    run = register.begin(register.deploy())
    register.hold_and_die(run)

    first, second = command("recover"), command("recover")

    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout.startswith("dead and ended: ")
    assert second.stdout == "0 runs under way, none of them dead: nothing to do.\n"


def test_the_command_keeps_doing_it_beside_a_worker(register: Register, settings: Settings) -> None:
    """Whatever dies while it runs is ended without anybody asking."""
    every = ["-c", "from dispatchlake.cli.app import main; main()", "recover", "--every", "5"]
    with subprocess.Popen([sys.executable, *every], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(2):
                run = register.begin(register.deploy())
                register.hold_and_die(run)
                assert process.stdout.readline().startswith("dead and ended: ")
                assert register.state(run).is_crashed()
        finally:
            process.terminate()


def test_a_server_that_is_away_is_told_once_and_waited_for(settings: Settings) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from dispatchlake.cli.prefect_api import free_port
    from tasks.recovery import keep_recovering

    told: list[str] = []
    looks = 0

    class Thrice(threading.Event):
        """Ends it at the third look."""

        def wait(self, timeout: float | None = None) -> bool:
            nonlocal looks
            looks += 1
            return looks == 3 and (self.set() or True)

    nobody = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: nobody, PREFECT_CLIENT_MAX_RETRIES: 0}):
        keep_recovering(0, Thrice(), told.append)

    assert looks == 3
    assert told == ["Runs cannot be looked after (ConnectError); it is tried again."]


def test_looking_too_often_is_refused() -> None:
    refused = command("recover", "--every", "1")

    assert refused.returncode == 1
    assert "Every 1 s is too often. Give 5 to 86400." in refused.stderr
