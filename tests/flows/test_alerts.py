"""Being told, end to end: a real Prefect server, its automations, and a webhook that gets the message."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from dispatchlake.lake import open_lake
from dispatchlake.lake.connection import catalog_path
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from dispatchlake.status import Overview
from tests.centers import put_center
from tests.command_line import run
from tests.flows.receiver import Receiver
from tests.sandbox_process import SandboxProcess
from tests.standings import listing, view
from tests.test_landing import delivery, keep

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def receiver(prefect_url: str) -> Iterator[Receiver]:
    """A webhook, set as a person sets it, and the automations that call it; both gone afterwards."""
    with Receiver() as receiver:
        outcome = run("alerts", "set", "-", stdin=f"{receiver.url}\n")
        assert outcome.returncode == 0, outcome.stderr
        assert (
            "16 automations tell of troubles through dispatchlake-alerts (Custom Webhook)." in outcome.stdout
        )
        assert "a-secret-path" not in outcome.stdout + outcome.stderr
        yield receiver
        forget_block()
        from tasks.automations import apply

        assert len(apply().removed) == 16


def forget_block() -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from tasks.automations import BLOCK_NAME

    CustomWebhookNotificationBlock.delete(BLOCK_NAME)


@pytest.fixture(autouse=True)
def _no_waiting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for minutes until a cell is tried again, and no disk of a test machine is told of."""
    monkeypatch.setenv("DISPATCHLAKE_RETRY_TASKS", "false")
    monkeypatch.setenv("DISPATCHLAKE_RETRY_BUDGET_S", "0.1")
    monkeypatch.setenv("DISPATCHLAKE_DISK_FULL_SHARE", "1")


def save(center: DispatchCenter) -> str:
    from tasks.centers import save_center

    save_center(center)
    return center.center_id


def ingest(*centers: str) -> Any:
    from flows.ingest import ingest as flow

    return flow(list(centers), return_state=True)


def set_secret(sandbox: SandboxProcess, center: DispatchCenter, secret: str | None = None) -> None:
    """Let the center expect another secret; the registered one if none is given."""
    credentials = {
        str(scope): {"client_id": c.client_id, "client_secret": secret or c.client_secret.get_secret_value()}
        for scope, c in center.credentials.items()
    }
    sandbox.patch_center(center.center_id, {"credentials": credentials})


def test_a_refused_login_is_told_once_and_when_it_is_over(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox)
    set_secret(sandbox, center, "changed")
    center_id = save(center)

    ingest(center_id)
    ingest(center_id)
    message = receiver.wait_for(center_id, "the login is refused")
    set_secret(sandbox, center)
    ingest(center_id)
    over = receiver.wait_for(center_id, "well again")

    assert "invalid_client" in message
    assert "In the UI, under Blocks, correct the client id or secret" in message
    assert "no longer login failed" in over
    assert len(receiver.texts(center_id, "the login is refused")) == 1
    secrets = [c.client_secret.get_secret_value() for c in center.credentials.values()]
    assert not any(receiver.texts(secret) for secret in [*secrets, *sandbox.tokens(center_id)])


def test_a_late_center_is_told_with_its_reason(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    center_id = save(put_center(sandbox, client_side={"base_url": "http://127.0.0.1:9"}))

    ingest(center_id)

    message = receiver.wait_for(f"{center_id}: late")
    assert "cad_incidents: " in message
    assert "incident_events: " in message
    assert "It was never read to its end." in message
    assert "Nothing to press" in message


def test_a_silent_center_is_told(receiver: Receiver, sandbox: SandboxProcess, settings: Settings) -> None:
    center_id = save(put_center(sandbox))
    ingest(center_id)
    with open_lake(settings) as lake, lake.held() as connection:
        connection.execute("UPDATE runs SET started_at = started_at - INTERVAL 5 HOUR")
        connection.execute(
            """INSERT INTO runs BY NAME SELECT 'earlier' AS run_id, $center AS center_id,
            'cad_incidents' AS resource, 'landed' AS state, 20 AS new, 0 AS changed, 'ingest' AS kind,
            now() - INTERVAL 1 HOUR * hours - INTERVAL 30 MINUTE AS started_at, 1.0 AS seconds
            FROM range(24, 240) AS earlier(hours)""",
            {"center": center_id},
        )

    ingest(center_id)

    message = receiver.wait_for(f"{center_id}: silent")
    assert "cad_incidents: It answers, and nothing new came for 5 h or more; usually 100 rows" in message
    assert "incident_events" not in message, "it has no history to judge by"


def test_a_growing_quarantine_is_told_without_a_word_of_the_records(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    center_id = save(put_center(sandbox, sandbox_side={"drift": ["wrong_types"]}))

    ingest(center_id)

    message = receiver.wait_for(f"{center_id}: records were set aside")
    assert "records were set aside in the last hour" in message
    assert f"dispatchlake quarantine --center {center_id}" in message
    assert "yesterday" not in message


def test_records_that_are_worse_than_usual_are_told_once_and_when_they_are_as_usual_again(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    """Thirty a day with a place; today without; three days later with one again."""
    epoch = datetime(2024, 3, 10, 12, tzinfo=UTC)

    def records(count: int, at: datetime, **fields: Any) -> list[dict[str, Any]]:
        stamp = f"{at:%FT%TZ}"
        sent = {"created_at": stamp, "updated_at": stamp, "incident_type": "FIRE", **fields}
        return [{"visible_at": stamp, "record": {"id": f"{stamp}-{n}", **sent}} for n in range(count)]

    here = {"lat": 39.7, "lng": -104.9}
    made = [
        *(one for day in range(3, 9) for one in records(30, epoch - timedelta(days=day), **here)),
        *records(30, epoch, address="1 Main St"),
        *records(30, epoch + timedelta(days=3), **here),
    ]
    dataset = {"records": {"cad_incidents": made, "incident_events": []}}
    center_id = save(put_center(sandbox, sandbox_side={"dataset": dataset, "epoch": f"{epoch:%FT%TZ}"}))

    ingest(center_id)
    ingest(center_id)
    message = receiver.wait_for(center_id, "records are worse than usual")
    sandbox.advance_clock(3 * 86400)
    ingest(center_id)
    receiver.wait_for(center_id, "records as usual again", "cad_incidents.no_coordinates")

    assert "cad_incidents.no_coordinates: 30 of 30 records of the last 2 days (100%)" in message
    assert "Main St" not in message
    assert len(receiver.texts(center_id, "worse than usual")) == 1


def test_a_delivery_that_is_set_aside_is_told_and_shown_without_a_word_of_it(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    center_id = save(put_center(sandbox))
    keep(settings, delivery({"type": "unheard_of", "caller": "+13035550142"}, center_id))

    state = ingest(center_id)

    message = receiver.wait_for(center_id, "records were set aside")
    assert "webhook:incident-events: 1 deliveries were set aside in the last hour, 1 lie in" in message
    assert "an event that this version does not know" in message
    shown = status_page(state)
    assert f"🟡 **{center_id} webhook:incident-events**: 1 deliveries were set aside" in shown
    assert f"| ⚪ not registered | {center_id} | incident-events | 2024-03-01 12:00 | 1 |  | 0 | 1 |" in shown
    assert "5550142" not in message + shown
    assert "unheard_of" not in message + shown


def test_a_disk_that_is_nearly_full_is_told_once_and_when_there_is_room(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    center_id = save(put_center(sandbox))

    monkeypatch.setenv("DISPATCHLAKE_DISK_FULL_SHARE", "0")
    ingest(center_id)
    ingest(center_id)
    receiver.wait_for("The disk is nearly full", "Make room")
    monkeypatch.setenv("DISPATCHLAKE_DISK_FULL_SHARE", "1")
    ingest(center_id)
    receiver.wait_for("The disk has room again")

    assert len(receiver.texts("The disk is nearly full")) == 1


def test_a_lake_that_cannot_be_used_is_told_though_nothing_can_be_remembered(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings
) -> None:
    center_id = save(put_center(sandbox))
    settings.lake_dir.mkdir(parents=True)
    catalog_path(settings.lake_dir).write_text("no catalog")

    state = ingest(center_id)

    assert state.is_failed()
    assert "catalog cannot be opened" in receiver.wait_for("The lake cannot be used")


def tell(view: Overview) -> Any:
    """Tell what changed, as a run of ours does when it ends."""
    from prefect import flow

    from tasks.alerts import tell_changes

    @flow(name="telling")
    def telling() -> Any:
        return tell_changes(view, return_state=True)

    return telling(return_state=True)


def test_of_two_runs_that_end_together_one_tells_and_it_is_remembered(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import alerts

    both_have_asked = threading.Barrier(2)
    told: list[str] = []
    decide = alerts.decide

    def decide_together(*what: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):  # or one waits until the other has told
            both_have_asked.wait(timeout=3)
        return decide(*what)

    monkeypatch.setattr(alerts, "decide", decide_together)
    monkeypatch.setattr(alerts, "_emit", lambda event, _alert: told.append(event))
    seen = view(listing(lag_s=1000.0))

    with ThreadPoolExecutor(2) as runs:
        states = list(runs.map(tell, [seen, replace(seen, taken_at=seen.taken_at + timedelta(seconds=1))]))

    assert [state.is_completed() for state in states] == [True, True]
    assert told == ["dispatchlake.center.late"]
    for minutes in (5, 10):
        tell(replace(seen, taken_at=seen.taken_at + timedelta(minutes=minutes)))
    assert told == ["dispatchlake.center.late"]
    with open_lake(settings) as lake:
        assert [one.condition for one in lake.told()] == ["late"]


def test_what_could_not_be_sent_is_told_by_the_next_run(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import alerts

    told: list[str] = []

    def fail(*_what: Any) -> None:
        raise OSError("the server is away")

    seen = view(listing(lag_s=1000.0))
    with monkeypatch.context() as away:
        away.setattr(alerts, "_emit", fail)
        assert tell(seen).is_failed()
    monkeypatch.setattr(alerts, "_emit", lambda event, _alert: told.append(event))

    tell(seen)

    assert told == ["dispatchlake.center.late"]


def test_a_run_that_hangs_and_one_that_crashes_are_told(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings, stuck_soon: None, tmp_path: Path
) -> None:
    center_id = save(put_center(sandbox, sandbox_side={"latency_ms": 10 * 60 * 1000}))
    with run_of_a_deployment([center_id], tmp_path) as (flow_run_name, supervisor):
        stuck = receiver.wait_for("a run is stuck", flow_run_name)
        (run,) = filter(is_run, below(supervisor.pid))
        run.kill()
        crashed = receiver.wait_for("a run crashed", flow_run_name)

    for message in (stuck, crashed):
        assert f"{flow_run_name} (ingest): http://127.0.0.1:" in message
        assert "/runs/flow-run/" in message


@pytest.fixture
def stuck_soon(receiver: Receiver) -> Iterator[None]:
    """Take a run for stuck after 10 s, and leave the automation as it is shipped."""
    from tasks.automations import apply

    assert apply(stuck_after=timedelta(seconds=10)).updated == ("dispatchlake: run stuck",)
    yield
    assert apply().updated == ("dispatchlake: run stuck",)


@contextlib.contextmanager
def run_of_a_deployment(centers: list[str], folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `ingest` as a worker would: the process yielded supervises another one, which runs the flow.

    Prefect copies a deployment's folder for each run, and a killed run leaves the copy: this one is empty.
    """
    home = folder / "deployed"
    home.mkdir()
    from prefect.client.orchestration import get_client

    from flows.ingest import ingest as flow

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(flow)
        deployment_id = client.create_deployment(
            flow_id, "hangs", entrypoint="flows.ingest:ingest", path=str(home)
        )
        flow_run = client.create_flow_run_from_deployment(deployment_id, parameters={"centers": centers})
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "prefect", "flow-run", "execute", str(flow_run.id)],
            cwd=home,
            env=os.environ
            | {
                "DISPATCHLAKE_TIMEOUT_S": "600",
                "DISPATCHLAKE_RETRY_BUDGET_S": "600",
                "TMPDIR": str(folder),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield flow_run.name, supervisor
        finally:
            left = below(supervisor.pid)
            supervisor.kill()
            supervisor.wait()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            client.delete_deployment(deployment_id)


def below(pid: int) -> list[psutil.Process]:
    """Return the processes below this one; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_run(process: psutil.Process) -> bool:
    """Say whether a process runs a flow; it has one below it too, that holds the catalog's log."""
    return "prefect.engine" in process.cmdline()


def test_a_crash_is_told_once_and_a_run_that_is_given_up_with_what_is_to_be_done_then(
    receiver: Receiver, settings: Settings
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Pending, Running

    from tasks.recovery import recover

    def crash(*more_tags: str) -> str:
        run = client.create_flow_run_from_deployment(
            deployment_id, tags=["dispatchlake", "resumes", *more_tags]
        )
        for state in (Pending(), Running(), Crashed(message="Killed.")):
            client.set_flow_run_state(run.id, state)
        return run.name

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("backfill")
        deployment_id = client.create_deployment(flow_id, "crashes", tags=["dispatchlake", "resumes"])
        try:
            first, last = crash(), crash("restart-3")
            done = recover()
            given_up = receiver.wait_for("a crashed run is given up", last)
        finally:
            client.delete_deployment(deployment_id)

    assert (done.resumed, done.given_up) == ([first], [last])
    assert f"{last} (backfill): http://127.0.0.1:" in given_up
    assert "its state says why, and what to do" in given_up
    for name in (first, last):
        (crashed,) = receiver.texts("a run crashed", name)
        assert "begun again by itself within minutes, or you are told why not" in crashed
        assert "The next run takes up its work." not in crashed
    assert len(receiver.texts(first)) == 1


def test_runs_that_no_worker_takes_up_are_told(receiver: Receiver, settings: Settings) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    from flows.maintain import maintain

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(maintain)
        deployment_id = client.create_deployment(flow_id, "nobody takes it up")
        for minutes in (1, 2, 3):
            due = datetime.now(UTC) - timedelta(minutes=minutes)
            client.create_flow_run_from_deployment(deployment_id, state=Scheduled(scheduled_time=due))
        try:
            message = receiver.wait_for("runs are not taken up")
        finally:
            client.delete_deployment(deployment_id)

    assert "(maintain)" in message


def test_applying_again_changes_nothing_and_respects_who_switched_one_off(receiver: Receiver) -> None:
    from prefect.automations import Automation

    from tasks.automations import apply

    name = "dispatchlake: quarantine grew"
    Automation.read(name=name).disable()
    changed = Automation.read(name=name)
    changed.description = "Edited by hand."
    changed.update()

    first, second = apply(), apply()

    assert first.updated == (name,)
    assert len(first.unchanged) == 15
    assert (second.created, second.updated, second.removed) == ((), (), ())
    assert len(second.unchanged) == 16
    assert not Automation.read(name=name).enabled
    Automation.read(name=name).enable()


def test_a_test_message_arrives(receiver: Receiver) -> None:
    outcome = run("alerts", "test")

    assert outcome.returncode == 0, outcome.stderr
    assert receiver.wait_for("dispatchlake: test") == (
        "dispatchlake: test\nThis is a test: messages of dispatchlake arrive here."
    )


def test_the_address_is_not_readable_on_the_server(receiver: Receiver, prefect_home: Any) -> None:
    content = b"".join(file.read_bytes() for file in prefect_home.rglob("*") if file.is_file())

    assert b"dispatchlake-alerts" in content
    assert b"a-secret-path" not in content


def test_the_run_publishes_how_all_is_and_writes_the_metrics(
    receiver: Receiver, sandbox: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.data_dir.mkdir(parents=True)
    metrics = settings.data_dir / "dispatchlake.prom"
    monkeypatch.setenv("DISPATCHLAKE_METRICS_FILE", str(metrics))
    good, bad = put_center(sandbox), put_center(sandbox, client_side={"base_url": "http://127.0.0.1:9"})

    state = ingest(save(good), save(bad))

    text = status_page(state)
    assert f"🔴 **{bad.center_id} cad_incidents** is **late**." in text
    assert f"| 🔴 late | {bad.center_id} | cad_incidents |" in text
    assert f"| 🟢 ok | {good.center_id} | cad_incidents |" in text
    assert f"late: {bad.center_id} cad_incidents" in text.partition("\n")[0]
    assert (
        f'dispatchlake_lag_seconds{{center="{good.center_id}",resource="cad_incidents"}}'
        in metrics.read_text()
    )


def status_page(state: Any) -> str:
    """Return the artifact `status` of a run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    chosen = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
        key=ArtifactFilterKey(any_=["status"]),
    )
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=chosen)
    return str(artifact.data)
