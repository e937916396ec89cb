"""`dispatchlake up` and `down`: everything runs, nothing is left, nothing is forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatchlake.cli.local_sandbox import CENTERS
from dispatchlake.cli.occupancy import MARK, occupy
from dispatchlake.cli.prefect_api import free_port
from dispatchlake.cli.receive import is_receiving
from dispatchlake.errors import ConfigError
from dispatchlake.lake.reading import connect
from dispatchlake.settings import Settings
from dispatchlake.spool import is_anything_waiting
from tests.cli.up_process import ENDED, UpProcess, marked, wait_until
from tests.command_line import run, run_process
from tests.lake.deliveries import incident_metadata, media
from tests.test_landing import delivery, keep
from tests.truth.comparison import assert_equal
from tests.webhooks.receiving import Client

pytestmark = pytest.mark.xdist_group("up")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def _up_process(tmp_path_factory: pytest.TempPathFactory, migrated_home: Path) -> Iterator[UpProcess]:
    process = UpProcess(tmp_path_factory.mktemp("up"), migrated_home)
    try:
        process.start()
        yield process
    finally:
        down = run_process("down", env=process.environment)
        wait_until(lambda: not process.is_running, "it has ended")
    assert "Everything is stopped." in down.stdout, "down ends one that runs"


@pytest.fixture
def up(_up_process: UpProcess) -> UpProcess:
    """An `up` that runs; it takes its time to start, so the tests share it and start it again if need be."""
    _up_process.start()
    return _up_process


def slow_run(up: UpProcess) -> str:
    """Begin a run that takes longer than any test, and return its id."""
    up.sandbox("centers/san-diego-ca", {"latency_ms": 5000, "page_size_cap": 20}, "PATCH")
    run_id = up.run("ingest/ingest-full", {"centers": ["san-diego-ca"], "lookback_days": 30_000})
    up.wait_for(run_id, "RUNNING")
    return run_id


def block(up: UpProcess, center_id: str) -> dict[str, Any]:
    slug = "dispatch-center"
    found: dict[str, Any] = up.api(f"/block_types/slug/{slug}/block_documents/name/{center_id}")
    return found


def test_all_deployments_are_there_and_a_worker_serves_them(up: UpProcess) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    there = {deployment["name"]: deployment for deployment in up.api("/deployments/filter", {})}

    assert set(there) == {deployment["name"] for deployment in declared}
    for deployment in declared:
        schedules = there[deployment["name"]]["schedules"]
        assert {s["slug"] for s in schedules} == {s["slug"] for s in deployment["schedules"]}
    (worker,) = up.api("/work_pools/dispatchlake/workers/filter", {})
    assert worker["status"] == "ONLINE"
    assert f"http://127.0.0.1:{up.port}" in up.printed


def test_a_run_goes_through_the_worker_and_lands_what_the_sandbox_has(up: UpProcess) -> None:
    try:
        up.sandbox("clock", {"speed": 0})
        state = up.run_to_end("ingest/ingest", {"centers": ["houston-tx"]})
        truth = up.sandbox("truth/houston-tx/cad_incidents")["current"]
    finally:
        up.sandbox("clock", {"speed": 1})

    assert state["type"] == "COMPLETED", f"{state['message']}: {up.log('worker')}"
    assert state["message"].startswith("2 of 2 cells landed: ")
    assert len(truth) > 1000
    assert_equal(up.data_dir / "lake", "houston-tx", "cad_incidents", truth)


def test_deliveries_are_received_on_a_port_of_their_own(up: UpProcess) -> None:
    issued = run_process("webhooks", "issue", "up-tx", "--new", env=up.environment)
    receiver = Client(up.webhooks_port, issued.stdout.strip())

    answer = receiver.deliver(b'{"type": "incident_metadata"}', center="up-tx", kind="incident-events")

    assert answer.status == 200
    assert f"http://127.0.0.1:{up.webhooks_port}    webhooks: " in up.printed
    assert "log of the receiver: " in up.printed


def test_the_sandboxs_clock_runs_by_itself(up: UpProcess) -> None:
    before_s = up.sandbox("clock")["elapsed_s"]

    wait_until(lambda: up.sandbox("clock")["elapsed_s"] > before_s, "the clock moves on")


def test_a_second_one_on_the_same_folder_says_where_the_first_runs(up: UpProcess) -> None:
    second = run_process("up", env=up.environment)

    assert second.returncode == 1
    assert f"It runs already on the data folder {up.data_dir}" in second.stderr.replace("\n", " ")
    assert f"http://127.0.0.1:{up.port} (process {up.pid})" in second.stderr
    assert "Traceback" not in second.stderr


def test_other_commands_use_its_server(up: UpProcess) -> None:
    listed = run_process("centers", "list", env=up.environment)

    assert listed.returncode == 0, listed.stderr
    assert all(center_id in listed.stdout for center_id in CENTERS)
    assert "Starting" not in listed.stderr, "no second server on the same database"


def test_a_delivery_is_landed_without_a_run(up: UpProcess) -> None:
    """By the process that looks every few seconds; the schedule's next run may be minutes away."""
    settings = Settings(data_dir=up.data_dir)

    (kept,) = keep(settings, delivery(incident_metadata("delivered"), "houston-tx"))

    wait_until(lambda: not is_anything_waiting(settings.spool_dir), "it has landed")
    with connect(settings.lake_dir) as lake:
        found = lake.sql("SELECT raw_id, source FROM incidents WHERE incident_id = 'delivered'").fetchall()
    assert found == [(kept.raw_id, "webhook")]


def test_media_files_are_fetched_where_that_is_wanted(up: UpProcess) -> None:
    """No link leads to this machine; that this one is refused is what says that it was followed."""
    settings = Settings(data_dir=up.data_dir)
    link = f"https://127.0.0.1:{up.webhooks_port}/photo.jpg?X-Amz-Signature=synthetic"

    keep(settings, delivery(media(id="m1", url=link), "houston-tx", received_at=datetime.now(UTC)))

    def outcomes() -> list[Any]:
        try:
            with connect(settings.lake_dir) as lake:
                return lake.sql("SELECT state, error FROM media_files WHERE media_id = 'm1'").fetchall()
        except ConfigError:  # there is no lake yet, or it is just being made
            return []

    ((state, error),) = wait_until(outcomes, "it was tried")
    assert state == "refused"
    assert "synthetic" not in error
    assert "log of the media: " in up.printed
    assert "synthetic" not in up.log("media")


@pytest.mark.parametrize("word", ["server", "worker", "sandbox", "land", "receive", "fetch-media"])
def test_what_ends_by_itself_is_started_again(up: UpProcess, word: str) -> None:
    before = up.processes()[word]
    before.kill()

    again = wait_until(lambda: (p := up.processes().get(word)) and p.pid != before.pid and p, "another one")

    assert again.ppid() == up.pid
    assert up.api("/work_pools/dispatchlake")["name"] == "dispatchlake", "the server has forgotten nothing"
    if word == "receive":
        wait_until(lambda: is_receiving(up.webhooks_port), "it takes deliveries again")
    if word == "sandbox":
        wait_until((up.data_dir / "sandbox" / "url").exists, "its URL")
        wait_until(lambda: set(up.sandbox("health")["centers"]) == set(CENTERS), "it plays its centers again")
        assert block(up, "houston-tx")["data"]["base_url"] == up.sandbox("health")["url"]


def test_ctrl_c_ends_everything_and_the_next_one_goes_on_from_there(up: UpProcess, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("synthetic")
    options = ["--scope", "cad_incidents", "--client-id", "me", "--base-url", "http://127.0.0.1:9"]
    added = run_process(
        "centers", "add", "of-mine", *options, "--secret-file", str(secret), env=up.environment
    )
    assert added.returncode == 0, added.stderr
    document = block(up, "san-francisco-ca")
    edit = {"data": {"enabled": False}, "merge_existing_data": True}
    up.api(f"/block_documents/{document['id']}", edit, "PATCH")
    deployment = up.api("/deployments/name/check/check")
    (schedule,) = deployment["schedules"]
    up.api(f"/deployments/{deployment['id']}/schedules/{schedule['id']}", {"active": False}, "PATCH")
    slow = slow_run(up)
    mark = up.mark
    before = len(marked(mark))

    code = up.end(signal.SIGINT)
    left = marked(mark)
    up.start()

    assert before >= 4, "the server, the sandbox, the worker and a run"
    assert left == []
    assert code == 0, up.printed
    assert_cut_off(up, slow)
    assert block(up, "san-francisco-ca")["data"]["enabled"] is False, "an edit in the UI is kept"
    assert block(up, "of-mine")["data"]["cad_incidents_client_id"] == "me"
    (schedule,) = up.api("/deployments/name/check/check")["schedules"]
    assert schedule["active"] is False, "a schedule that was switched off stays off"


def test_nothing_is_left_of_one_that_was_killed_and_the_next_one_goes_on_from_there(up: UpProcess) -> None:
    slow = slow_run(up)
    mark = up.mark
    up.processes()["sandbox"].suspend()  # it cannot follow the one that started it

    up.end(signal.SIGKILL)
    wait_until(lambda: not marked(mark), "all others end with it")
    up.start()

    assert_cut_off(up, slow)


def assert_cut_off(up: UpProcess, run_id: str) -> None:
    state = up.wait_for(run_id, *ENDED)
    assert state["type"] == "CRASHED"
    assert "What it had landed is kept." in state["message"]
    later = up.run_to_end("ingest/ingest-full", {"centers": ["houston-tx"]})
    assert later["type"] == "COMPLETED", f"a run that was cut off keeps no other out: {up.log('worker')}"


STUCK = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("it runs", flush=True)
sys.stdin.read()
"""


def test_down_ends_what_a_killed_one_has_left_and_nothing_else(settings: Settings) -> None:
    with occupy(settings, api_url="http://127.0.0.1:1/api") as occupant:
        killed = (settings.prefect_dir / "up.json").read_text()
    # As if it had been killed and its guardian too; its number is that of this process by now.
    (settings.prefect_dir / "up.json").write_text(killed)
    with waiting_process(occupant.mark) as left, waiting_process("of another") as other:
        down = run_process("down")
        again = run_process("down")

        assert down.returncode == 0, down.stderr
        assert "was killed; 1 processes were left, and are ended" in down.stdout
        assert left.wait(10) == -signal.SIGKILL, "it did not end when it was told to"
        assert other.poll() is None
    assert "Nothing runs on the data folder" in again.stdout


@contextlib.contextmanager
def waiting_process(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {MARK: mark},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("option", ["--port", "--webhooks-port"])
def test_a_port_that_is_taken(settings: Settings, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ports = {"--port": free_port(), option: port}
        result = run("up", *(str(word) for pair in ports.items() for word in pair))

    assert result.returncode == 1
    assert f"Port {port} of this machine is taken by another program" in result.stderr
    assert f"dispatchlake up {option} " in result.stderr
    assert not (settings.prefect_dir / "up.json").exists()


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "a-file"
    in_the_way.write_text("not a folder")

    result = run("up", env={"DISPATCHLAKE_DATA_DIR": str(in_the_way / "data")})

    assert result.returncode == 1
    assert "The data folder cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
