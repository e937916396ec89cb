"""The process that reads beside this one: the same lake as without it, and nothing lost when either dies."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from dispatchlake import reader
from dispatchlake.errors import AuthRejected, Cancelled, ReaderGone, is_transient
from dispatchlake.ingest import backfill_windows, ingest_cell
from dispatchlake.lake import Cell
from dispatchlake.model import Credentials, DispatchCenter, Scope
from dispatchlake.reader import ReadingApart, begin_reading
from dispatchlake.reading import Order, ReadingHere
from dispatchlake.settings import Settings
from dispatchlake.stop import Stop
from dispatchlake.windows import Window
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal, rows_of
from tests.waiting import wait_until

CAD = "cad_incidents"
MANY_PAGES = {"page_size_cap": 4}
"""300 records on 75 pages: more than a batch."""


@pytest.fixture(autouse=True)
def _process_of_its_own() -> Iterator[None]:
    reader.end()
    yield
    reader.end()


@pytest.fixture
def apart(settings: Settings) -> Settings:
    """Settings under which long readings are done in another process."""
    return settings.model_copy(update={"read_apart": True})


def ingest(center: DispatchCenter, settings: Settings) -> Any:
    return ingest_cell(center, CAD, settings=settings, run_id="run")


def processes(pid: int | None = None) -> list[psutil.Process]:
    """Return the processes that read for this one, or for another."""
    beside = psutil.Process(pid).children()
    return [process for process in beside if "dispatchlake.reader" in " ".join(process.cmdline())]


def assert_is_truth(center: DispatchCenter, sandbox: SandboxProcess, settings: Settings) -> None:
    truth = sandbox.truth(center.center_id, CAD)["current"]
    assert_equal(settings.lake_dir, center.center_id, CAD, truth)


def pages(sandbox: SandboxProcess, center: DispatchCenter) -> int:
    return int(sandbox.counts(center.center_id)["requests"].get(CAD, 0))


def test_a_long_reading_lands_the_same_from_another_process(sandbox: SandboxProcess, apart: Settings) -> None:
    one, other = put_center(sandbox, sandbox_side=MANY_PAGES), put_center(sandbox, sandbox_side=MANY_PAGES)

    summary = ingest(one, apart)
    (process,) = processes()
    ingest(other, apart)

    assert (summary.pages, summary.records, summary.new, summary.logins) == (75, 300, 300, 1)
    assert processes() == [process], "one for all readings"
    assert_is_truth(one, sandbox, apart)
    assert_is_truth(other, sandbox, apart)
    assert rows_of(apart.lake_dir, "SELECT count(*) AS pages FROM raw_pages") == [{"pages": 150}]


def test_only_a_long_reading_is_worth_a_process(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox)
    now = datetime.now(UTC)

    def kind(window: Window, *, read_apart: bool = True, of: str = "ingest") -> type:
        cell = Cell(center.center_id, center.resource(CAD), window, of)  # type: ignore[arg-type]
        chosen = settings.model_copy(update={"read_apart": read_apart})
        return type(begin_reading(Order(center, cell, chosen), Stop()))

    hour = Window(now - timedelta(hours=1), now)
    assert kind(hour) is ReadingHere
    assert kind(Window(now - timedelta(days=2), now)) is ReadingApart
    assert kind(Window(None, now)) is ReadingApart
    assert kind(hour, of="backfill") is ReadingApart
    assert kind(Window(None, now), read_apart=False) is ReadingHere
    assert processes() == [], "and none is begun before it has something to do"


def test_what_a_reading_fails_with_is_raised_and_recorded_as_if_it_were_here(
    sandbox: SandboxProcess, apart: Settings
) -> None:
    center = put_center(sandbox)
    wrong = Credentials(client_id=f"{center.center_id}-cad_incidents", client_secret=SecretStr("wrong"))
    center = center.model_copy(update={"credentials": {Scope.CAD_INCIDENTS: wrong}})

    with pytest.raises(AuthRejected, match="invalid_client") as raised:
        ingest(center, apart)

    assert raised.value.center_id == center.center_id
    assert "_serve" in raised.value.__notes__[0], "where in the other process it was raised"
    (run,) = rows_of(apart.lake_dir, "SELECT error_class, logins FROM runs")
    assert run == {"error_class": "AuthRejected", "logins": 1}


def test_a_reading_process_that_is_killed_is_replaced_and_nothing_is_lost(
    sandbox: SandboxProcess, apart: Settings
) -> None:
    center = put_center(sandbox, sandbox_side=MANY_PAGES | {"latency_ms": 30})
    failed: list[BaseException] = []

    def fail() -> None:
        try:
            ingest(center, apart)
        except ReaderGone as error:
            failed.append(error)

    thread = threading.Thread(target=fail)
    thread.start()
    wait_until(lambda: pages(sandbox, center) > 3, "it reads")
    (process,) = processes()
    process.kill()
    thread.join()

    (error,) = failed
    assert is_transient(error)
    assert "The lake is as it was before" in str(error)
    assert rows_of(apart.lake_dir, f"FROM {CAD}") == []
    ingest(center, apart)
    assert_is_truth(center, sandbox, apart)


_VICTIM = """
import os, pickle, sys
from pathlib import Path
from dispatchlake.ingest import ingest_cell
from dispatchlake.settings import Settings
with os.fdopen(int(sys.argv[1]), "rb") as pipe:
    center = pickle.load(pipe)
settings = Settings(data_dir=Path(sys.argv[2]), read_apart=True)
ingest_cell(center, "cad_incidents", settings=settings, run_id="run")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_process_it_reads_for(
    sandbox: SandboxProcess, apart: Settings, how: signal.Signals
) -> None:
    center = put_center(sandbox, sandbox_side=MANY_PAGES | {"latency_ms": 100})
    theirs, ours = os.pipe()
    command = [sys.executable, "-c", _VICTIM, str(theirs), str(apart.data_dir)]
    with subprocess.Popen(
        command,
        pass_fds=[theirs],
    ) as victim:
        os.close(theirs)
        with os.fdopen(ours, "wb") as pipe:  # as a task gets it from a block: never by the command line
            pickle.dump(center, pipe)
        wait_until(lambda: victim.poll() is not None or pages(sandbox, center) > 2, "it reads")
        (beside,) = processes(victim.pid)
        shown = " ".join(beside.cmdline()) + str(beside.environ())
        if how != signal.SIGKILL:
            beside.send_signal(how)  # as both get it that is sent to a group
            assert beside.is_running()
        victim.send_signal(how)
    wait_until(lambda: not beside.is_running(), "its process has ended")

    for credentials in center.credentials.values():
        assert credentials.client_secret.get_secret_value() not in shown
    ingest(center, apart)
    assert_is_truth(center, sandbox, apart)


def test_a_reading_that_is_to_stop_stops_within_a_page_and_another_goes_on(
    sandbox: SandboxProcess, apart: Settings
) -> None:
    center = put_center(sandbox, sandbox_side=MANY_PAGES | {"latency_ms": 50})
    stop, outcome = Stop(), []
    day = Window(datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 4, tzinfo=UTC))

    def read() -> None:
        with pytest.raises(Cancelled):
            backfill_windows(center, CAD, [day], settings=apart, run_id="run", stop=stop)
        outcome.append("cancelled")

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: pages(sandbox, center) > 3, "it reads")
    (process,) = processes()
    stop.ask()
    thread.join()
    asked = pages(sandbox, center)
    backfill_windows(put_center(sandbox), CAD, [day], settings=apart, run_id="run")

    assert outcome == ["cancelled"]
    assert pages(sandbox, center) <= asked + 1, "the page under way, and none after it"
    assert rows_of(apart.lake_dir, f"FROM coverage WHERE center_id = '{center.center_id}'") == []
    assert processes() == [process]


def test_what_a_reading_logs_is_logged_here(
    sandbox: SandboxProcess, apart: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    center = put_center(sandbox, sandbox_side=MANY_PAGES)
    sandbox.add_fault(center.center_id, "status", on="lists", status=503, times=1)

    with caplog.at_level(logging.DEBUG, logger="dispatchlake"):
        ingest(center, apart)

    (said,) = [record for record in caplog.records if "503" in record.getMessage()]
    assert said.name.startswith("dispatchlake.api")
    assert said.process == processes()[0].pid
    assert not any(secret in caplog.text for secret in sandbox.tokens(center.center_id))


class Unsendable(Exception):
    """Takes two arguments and passes one on: pickle cannot rebuild it."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"{name}={value}")


def test_an_error_that_cannot_be_sent_is_told_of_without_what_must_not_be_logged() -> None:
    sent = reader._portable(Unsendable("token", "abc123secret"))

    assert str(sent) == "Unsendable, in the process that reads"
    assert sent.__notes__ == ["tests.test_reader.Unsendable: token=[redacted]\n"]


def test_a_kind_of_error_that_can_be_sent_is_the_same_afterwards() -> None:
    sent = pickle.loads(pickle.dumps(reader._portable(AuthRejected("refused", "houston-tx", 401))))

    assert (type(sent), sent.center_id, sent.status) == (AuthRejected, "houston-tx", 401)
    assert "AuthRejected" in sent.__notes__[0]
