"""A backfill killed, interrupted or cancelled in mid-run: what landed stays, and it goes on from there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from dispatchlake.lake import open_lake
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests import waiting
from tests.flows.test_backfill import artifacts_of, assert_truth, backfill, coverage, put
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.xdist_group("prefect")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0
CELLS = 12
PER_CENTER = 4
"""Cells of one center at once, each of one page: so many requests later, one has landed."""


wait_until = partial(waiting.wait_until, limit_s=PATIENCE_S)


def pages(sandbox: SandboxProcess, center: DispatchCenter) -> int:
    requests = sandbox.counts(center.center_id)["requests"]
    return sum(count for on, count in requests.items() if on != "token")


def wait_for_the_first(sandbox: SandboxProcess, center: DispatchCenter) -> None:
    wait_until(lambda: pages(sandbox, center) > PER_CENTER, "the backfill did not begin to read")


@contextlib.contextmanager
def command(center: DispatchCenter, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `dispatchlake backfill` in a process of its own."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from dispatchlake.cli.app import main; main()", "backfill",
             center.center_id, "--from", "2024-03-01", "--to", "2024-03-06", "--utc"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def complete(settings: Settings, center: DispatchCenter) -> int:
    rows = coverage(settings, center)
    assert {row["state"] for row in rows} <= {"complete"}, "being stopped is no failure"
    return len(rows)


def test_a_process_killed_in_mid_run_leaves_what_landed_and_the_next_run_reads_the_rest(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    center = put(sandbox, sandbox_side={"latency_ms": 300})
    with command(center, log=tmp_path / "log") as process:
        wait_for_the_first(sandbox, center)
        process.kill()
        process.wait()
    landed = complete(settings, center)
    assert 0 < landed < CELLS
    sandbox.patch_center(center.center_id, {"latency_ms": 0})
    before = pages(sandbox, center)

    state = backfill(center)

    assert state.is_completed(), state.message
    assert state.message.startswith(
        f"{CELLS - landed} of {CELLS - landed} cells read, {landed} were complete before; "
    )
    assert pages(sandbox, center) - before == CELLS - landed
    assert_truth(settings, sandbox, center)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_ends_within_a_page(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, tmp_path: Path, how: signal.Signals
) -> None:
    center = put(sandbox, sandbox_side={"latency_ms": 300})
    with command(center, log=tmp_path / "log") as process:
        wait_for_the_first(sandbox, center)
        asked = pages(sandbox, center)
        process.send_signal(how)
        code = process.wait(PATIENCE_S)

    text = (tmp_path / "log").read_text()
    assert code == (130 if how == signal.SIGINT else -signal.SIGTERM), text
    assert ("Stopped. What was read stays" in text) is (how == signal.SIGINT)
    assert "Traceback" not in text
    # Each of the readings under way may have asked for the page it was about to ask for, and none for two.
    assert pages(sandbox, center) <= asked + PER_CENTER
    assert 0 < complete(settings, center) < CELLS


def test_a_wait_for_another_try_ends_when_the_command_is_interrupted(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    """Nobody could wake a thread in which Prefect waits minutes before it tries again."""
    center = put(sandbox)
    sandbox.add_fault(center.center_id, "status", on="lists", status=503, times=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPATCHLAKE_RETRY_TASKS", "true")
        patch.setenv("DISPATCHLAKE_RETRY_BUDGET_S", "0.5")
        with command(center, log=tmp_path / "log") as process:
            wait_until(lambda: failed(settings, center) >= PER_CENTER, "no reading has failed")
            process.send_signal(signal.SIGINT)
            code = process.wait(30)  # the shortest of those waits is a minute

    assert code == 130, (tmp_path / "log").read_text()


def failed(settings: Settings, center: DispatchCenter) -> int:
    with open_lake(settings) as lake:
        covered = lake.coverage([center.center_id])
    return sum(row.state == "failed" for rows in covered.values() for row in rows)


@contextlib.contextmanager
def worker(settings: Settings, *, log: Path) -> Iterator[UUID]:
    """Run a Prefect worker; yield the id of a deployment of `backfill` that it serves."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.utilities.callables import parameter_schema

    from flows.backfill import backfill as flow

    pool = f"pool-{settings.data_dir.parent.name.replace('_', '-')}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        deployment_id = client.create_deployment(
            flow_id=client.create_flow(flow),
            name=pool,
            entrypoint="flows.backfill:backfill",
            path=str(ROOT),
            work_pool_name=pool,
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            job_variables={"working_dir": str(ROOT)},
        )
    environment = os.environ | {"PREFECT_WORKER_QUERY_SECONDS": "0.5"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment,
        )  # fmt: skip
    try:
        yield deployment_id
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def test_a_run_cancelled_in_the_ui_stops_keeps_what_landed_and_goes_on_when_retried(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelling, Scheduled

    center = put(sandbox, sandbox_side={"latency_ms": 300})
    with (
        worker(settings, log=tmp_path / "log") as deployment_id,
        get_client(sync_client=True) as client,
    ):
        run_id = client.create_flow_run_from_deployment(
            deployment_id,
            parameters={
                "centers": [center.center_id],
                "first_day": "2024-03-01",
                "last_day": "2024-03-06",
                "days_are": "UTC",
                "mode": "everything again",
            },
        ).id

        def has_ended_as(kind: StateType) -> bool:
            state = client.read_flow_run(run_id).state
            return state is not None and state.type == kind

        wait_for_the_first(sandbox, center)
        asked = pages(sandbox, center)
        client.set_flow_run_state(run_id, Cancelling())
        wait_until(lambda: has_ended_as(StateType.CANCELLED), (tmp_path / "log").read_text)

        landed = complete(settings, center)
        assert 0 < landed < CELLS
        shown = artifacts_of(run_id)["backfill-grid"]
        assert shown.description.startswith(f"Stopped: {landed} of {CELLS} cells read, {CELLS - landed} left")
        assert shown.data.count("🟩") == landed + 1, "and one in the legend"

        sandbox.patch_center(center.center_id, {"latency_ms": 0})
        asked = pages(sandbox, center)
        client.set_flow_run_state(run_id, Scheduled(name="AwaitingRetry"), force=True)
        wait_until(lambda: has_ended_as(StateType.COMPLETED), (tmp_path / "log").read_text)

    assert pages(sandbox, center) - asked == CELLS - landed, "also of everything again, only what is left"
    assert complete(settings, center) == CELLS
    assert_truth(settings, sandbox, center)
