"""Worker, run, server or all killed in mid-run: nothing stays Running, and the next run makes it whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import yaml

from dispatchlake.model import DispatchCenter
from tests.guarantees import work
from tests.guarantees.calls import CAD, is_typed, put_busy_center
from tests.guarantees.content import read_content
from tests.guarantees.ledger import Ledger
from tests.guarantees.stage import POOL, Stage, stage_in, wait_until
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

if TYPE_CHECKING:  # it takes seconds, and the other guarantees do without
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

pytestmark = pytest.mark.xdist_group("recovery")

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
SLOW_MS = 3000
"""A run of some twelve pages is in its midst for half a minute."""


class Play:
    """A stage with our deployments, and one center on it whose listing is slow to come."""

    def __init__(self, stage: Stage, client: SyncPrefectClient, sandbox: SandboxProcess) -> None:
        self.stage, self.client, self.sandbox = stage, client, sandbox
        self.center: DispatchCenter = put_busy_center(sandbox, page_size_cap=5)

    def begin(self, name: str = "ingest", **parameters: Any) -> UUID:
        """Let a run of a deployment be started by the worker."""
        deployment = self.client.read_deployment_by_name(f"{name}/{name}")
        return self.client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def begin_and_wait_for_its_midst(self) -> UUID:
        """Begin to ingest, and return when some pages have come and most have not."""
        self.sandbox.patch_center(self.center.center_id, {"latency_ms": SLOW_MS})
        run = self.begin(centers=[self.center.center_id])
        wait_until(lambda: len(self.pages()) >= 2, "a run is in its midst")
        assert self.state(run).is_running()
        assert self.slots() == 1
        return run

    def pages(self) -> list[Any]:
        """Return the requests for pages that the center has answered."""
        return [r for r in self.sandbox.requests(self.center.center_id) if "/v1/" in r["path"]]

    def make_fast(self) -> None:
        """Let the center answer at once from now on."""
        self.sandbox.patch_center(self.center.center_id, {"latency_ms": 0})

    def state(self, run: UUID) -> State[Any]:
        """Return a run's state."""
        state = self.client.read_flow_run(run).state
        assert state is not None
        return state

    def wait_for_end(self, run: UUID) -> State[Any]:
        """Return a run's state when it is its last."""
        wait_until(lambda: self.state(run).is_final(), "the run ends")
        return self.state(run)

    def run_after(self, run: UUID) -> UUID | None:
        """Return the run that a crashed one was begun again as."""
        _, begun_again, after = str(self.state(run).message).partition("Begun again (1 of at most 3): run ")
        return UUID(after.rstrip(".")) if begun_again else None

    def has_landed(self) -> bool:
        """Say whether the center's listing is in the lake."""
        lake_dir = self.stage.data_dir / "lake"
        return bool(read_content(lake_dir, self.center.center_id, CAD).landed)

    def slots(self, name: str = "ingest") -> int:
        """Return how many slots of a deployment are taken."""
        limit = self.client.read_deployment_by_name(f"{name}/{name}").global_concurrency_limit
        assert limit is not None
        return limit.active_slots

    def assert_next_run_makes_it_whole(self, ledger: Ledger, undisturbed: Path) -> None:
        """Run again: it starts, it completes, and the lake is as if nothing had happened."""
        self.make_fast()
        state = self.wait_for_end(self.begin(centers=[self.center.center_id]))
        assert state.is_completed(), state.message
        self.assert_whole(ledger, undisturbed)

    def assert_whole(self, ledger: Ledger, undisturbed: Path) -> None:
        """Fail unless nothing is lost or doubled, no slot is taken and no run is under way."""
        from tasks.recovery import recover

        work.ingest(self.center, CAD, undisturbed)
        expected = read_content(undisturbed / "lake", self.center.center_id, CAD)
        lake_dir = self.stage.data_dir / "lake"
        ledger.compare(read_content(lake_dir, self.center.center_id, CAD), expected)
        truth = self.sandbox.truth(self.center.center_id, CAD)["current"]
        assert_equal(lake_dir, self.center.center_id, CAD, [r for r in truth if is_typed(r)])
        assert self.slots() == 0
        assert recover().looked_at == 0


@pytest.fixture(scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory, migrated_home: Path) -> Iterator[Stage]:
    with stage_in(tmp_path_factory.mktemp("stage"), migrated_home) as stage:
        stage.start_server()
        yield stage


@pytest.fixture
def play(_stage: Stage, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A stage where everything runs and nothing is under way."""
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.centers import save_center

    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(_stage.data_dir))
    _stage.bring_up()
    with temporary_settings({PREFECT_API_URL: _stage.url}), SyncPrefectClient(_stage.url) as client:
        deploy(client)
        play = Play(_stage, client, sandbox)
        save_center(play.center)
        yield play


def deploy(client: SyncPrefectClient) -> None:
    """Apply the deployments of prefect.yaml as they are shipped, but for their schedules."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        return
    for one in DEPLOYMENTS:
        limit = one.get("concurrency_limit", {})
        client.create_deployment(
            client.create_flow_from_name(one["entrypoint"].rpartition(":")[2]),
            one["name"],
            entrypoint=one["entrypoint"],
            work_pool_name=POOL,
            tags=one["tags"],
            parameters=one["parameters"],
            concurrency_limit=limit.get("limit"),
            concurrency_options={"collision_strategy": limit["collision_strategy"]} if limit else None,
            enforce_parameter_schema=False,
        )


@pytest.mark.fault("SIGKILL of the worker in mid-run")
def test_a_worker_killed(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    """Its run lives on, and must not be crashed, until it next prints something: nobody reads that any more.
    Then it ends and says so itself."""
    from tasks.recovery import recover

    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_worker()
    ledger.tried()

    assert recover().ended == []
    assert play.state(run).is_running()
    play.make_fast()
    play.wait_for_end(run)
    play.stage.start_worker()
    play.assert_next_run_makes_it_whole(ledger, tmp_path)


@pytest.mark.fault("SIGKILL of the worker and its run in mid-run")
def test_worker_and_run_killed(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    from tasks.recovery import recover

    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_worker()
    play.stage.kill_run(run)
    ledger.tried()

    assert play.state(run).is_running(), "nobody has told Prefect"
    assert play.slots() == 1
    wait_until(lambda: len(recover().ended) == 1, "a look finds that it is dead")
    state = play.state(run)
    assert state.is_crashed()
    assert "Its process is gone" in str(state.message)
    assert play.slots() == 0
    play.stage.start_worker()
    play.assert_next_run_makes_it_whole(ledger, tmp_path)
    assert play.state(run).is_crashed(), "a run of a schedule is not begun again; the next one reads on"


@pytest.mark.fault("SIGKILL of a run in mid-run")
def test_a_run_killed(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    """As when memory is short. Its worker sees it, and says so."""
    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_run(run)
    ledger.tried()

    assert play.wait_for_end(run).is_crashed()
    play.assert_next_run_makes_it_whole(ledger, tmp_path)


@pytest.mark.fault("SIGKILL of the Prefect server in mid-run")
def test_the_server_killed_and_started_again(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    """The run goes on, and its end is heard by the server that is there then."""
    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_server()
    ledger.tried()
    play.stage.start_server()
    play.make_fast()

    assert play.wait_for_end(run).is_completed()
    play.assert_next_run_makes_it_whole(ledger, tmp_path)


@pytest.mark.fault("SIGKILL of the Prefect server until all has landed")
def test_a_run_lands_while_there_is_no_server(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    """It needs the server to say how it went, and not to land; it waits for it, or is found to be gone."""
    from tasks.recovery import recover

    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_server()
    ledger.tried()
    play.make_fast()
    wait_until(play.has_landed, "it lands")
    play.stage.start_server()

    wait_until(lambda: recover() and play.state(run).is_final(), "the run ends")
    play.assert_next_run_makes_it_whole(ledger, tmp_path)


@pytest.mark.fault("SIGKILL of server, worker and run: the machine reboots")
def test_everything_killed_and_started_again(play: Play, ledger: Ledger, tmp_path: Path) -> None:
    from tasks.recovery import recover

    run = play.begin_and_wait_for_its_midst()

    play.stage.kill_all()
    ledger.tried()
    play.stage.start_server()
    assert play.state(run).is_running(), "the server believes so"
    assert play.slots() == 1, "and would let no other run start"

    assert len(recover(workers_are_gone=True).ended) == 1

    assert play.state(run).is_crashed()
    assert play.slots() == 0
    play.stage.start_worker()
    play.assert_next_run_makes_it_whole(ledger, tmp_path)


def test_a_killed_run_that_resumes_is_begun_again_and_completes(play: Play) -> None:
    """`replay` carries the tag `resumes`; it is held in its midst by the lake's lock."""
    from dispatchlake.lake.lake import writers_lock
    from tasks.recovery import recover

    play.make_fast()
    assert play.wait_for_end(play.begin(centers=[play.center.center_id])).is_completed()
    with writers_lock(play.stage.data_dir / "lake", 30):
        run = play.begin("replay", centers=[play.center.center_id])
        wait_until(lambda: play.state(run).is_running() and play.stage.run_pids(run), "the replay runs")
        wait_until(lambda: fate(play, run) == "alive", "its process says so")
        play.stage.kill_run(run)
        wait_until(lambda: play.state(run).is_crashed(), "its worker tells")

        recover()
    again = wait_until(lambda: play.run_after(run), "it is begun again")
    state = play.wait_for_end(again)
    assert state.is_completed(), state.message
    assert play.client.read_flow_run(again).parameters == {"centers": [play.center.center_id]}
    assert play.state(run).is_crashed()
    assert play.slots("replay") == 0


def fate(play: Play, run: UUID) -> str:
    """Return what the run's lock says of its process."""
    from dispatchlake.run_lock import read_fate

    return read_fate(play.stage.data_dir / "state", str(run))
