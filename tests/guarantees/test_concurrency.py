"""Many at one lake at once: no wrong answer, nothing lost, nothing doubled, nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.lake.reading import connect
from dispatchlake.model import DispatchCenter
from tests.guarantees import work
from tests.guarantees.calls import BEGINNING, CAD, EPOCH, is_typed, put_busy_center
from tests.guarantees.content import Content, read_content
from tests.guarantees.ledger import Ledger
from tests.guarantees.victims import Victim
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

READERS = 3

TAKEN_OVER_S = 20.0
"""Within which a small load ends once the lock is free: far more than it takes, far less than it may wait."""


@pytest.fixture
def center(sandbox: SandboxProcess) -> DispatchCenter:
    return put_busy_center(sandbox)


@pytest.fixture
def data_dir(center: DispatchCenter, tmp_path: Path) -> Path:
    """A lake after its first load."""
    work.ingest(center, CAD, tmp_path / "data")
    return tmp_path / "data"


@contextmanager
def until_done(stop: Path, *works: tuple[Callable[..., Any], ...]) -> Iterator[list[Victim]]:
    """Let processes work until the block ends, and fail if one of them did; each must have done something."""
    victims = [Victim(*one, stop) for one in works]
    try:
        yield victims
    finally:
        stop.touch()
    for victim in victims:
        assert victim.result() > 0


def alone(center: DispatchCenter, data_dir: Path) -> Content:
    """Return what one undisturbed load of everything makes of a lake of its own."""
    work.ingest(center, CAD, data_dir)
    return read_content(data_dir / "lake", center.center_id, CAD)


def assert_as_the_sandbox_says(sandbox: SandboxProcess, center: DispatchCenter, data_dir: Path) -> None:
    """Fail unless every current row is what the sandbox says it must be."""
    truth = [r for r in sandbox.truth(center.center_id, CAD)["current"] if is_typed(r)]
    assert_equal(data_dir / "lake", center.center_id, CAD, truth)


def covered_by_backfills(data_dir: Path) -> list[tuple[datetime, datetime]]:
    """Return the windows that are said to have been read by backfills; fail if one is said to have failed."""
    with connect(data_dir / "lake") as reader:
        rows = reader.execute(
            "SELECT window_start, window_end, state FROM coverage WHERE kind = 'backfill' ORDER BY ALL"
        ).fetchall()
    assert {state for *_, state in rows} == {"complete"}
    return [(start, end) for start, end, _ in rows]


def assert_current_equal(found: Content, expected: Content, ledger: Ledger) -> None:
    """Fail unless the current rows are the ones expected; of versions there may be more, seen on the way."""
    ledger.compare(found.without_history(), expected.without_history())
    assert found.versions >= expected.versions
    assert found.quarantined >= expected.quarantined


@pytest.mark.fault("two ingests of one center at once, three readers")
def test_two_ingests_of_one_center(
    sandbox: SandboxProcess, center: DispatchCenter, data_dir: Path, tmp_path: Path, ledger: Ledger
) -> None:
    ingest = (work.ingest_until, center, CAD, data_dir)
    watch = (work.watch, center.center_id, CAD, data_dir)
    with until_done(tmp_path / "stop", ingest, ingest, *[watch] * READERS):
        for _ in range(6):
            time.sleep(0.3)
            sandbox.advance_clock(600)
            ledger.tried()

    work.ingest(center, CAD, data_dir)
    found = read_content(data_dir / "lake", center.center_id, CAD)
    assert_current_equal(found, alone(center, tmp_path / "alone"), ledger)
    assert_as_the_sandbox_says(sandbox, center, data_dir)


@pytest.mark.fault("an ingest and a backfill over the same days at once, three readers")
def test_an_ingest_and_a_backfill_over_the_same_days(
    sandbox: SandboxProcess, center: DispatchCenter, data_dir: Path, tmp_path: Path, ledger: Ledger
) -> None:
    watch = (work.watch, center.center_id, CAD, data_dir)
    windows = [(BEGINNING + timedelta(hours=h), BEGINNING + timedelta(hours=h + 1)) for h in range(3)]
    with until_done(tmp_path / "stop", (work.ingest_until, center, CAD, data_dir), *[watch] * READERS):
        for start, end in windows:
            sandbox.advance_clock(1200)
            backfills = [Victim(work.backfill, center, CAD, data_dir, start, end) for _ in range(2)]
            for backfill in backfills:
                assert backfill.result().watermark is not None
            ledger.tried()

    work.ingest(center, CAD, data_dir)
    found = read_content(data_dir / "lake", center.center_id, CAD)
    assert_current_equal(found, alone(center, tmp_path / "alone"), ledger)
    assert_as_the_sandbox_says(sandbox, center, data_dir)
    assert found.complete_through is not None
    assert found.watermark is not None
    assert found.watermark > EPOCH - timedelta(hours=1)
    assert covered_by_backfills(data_dir) == windows


@pytest.mark.fault("maintenance, an ingest and a backfill at once, three readers")
def test_maintenance_beside_an_ingest_and_a_backfill(
    sandbox: SandboxProcess, center: DispatchCenter, data_dir: Path, tmp_path: Path, ledger: Ledger
) -> None:
    ingest = (work.ingest_until, center, CAD, data_dir)
    watch = (work.watch, center.center_id, CAD, data_dir)
    with until_done(tmp_path / "stop", ingest, (work.maintain_until, data_dir), *[watch] * READERS):
        for hours in range(2):
            sandbox.advance_clock(1800)
            start = BEGINNING + timedelta(hours=hours)
            Victim(work.backfill, center, CAD, data_dir, start, start + timedelta(hours=1)).result()
            ledger.tried()

    work.ingest(center, CAD, data_dir)
    work.maintain(data_dir)
    found = read_content(data_dir / "lake", center.center_id, CAD)
    assert_current_equal(found, alone(center, tmp_path / "alone"), ledger)
    assert_as_the_sandbox_says(sandbox, center, data_dir)
    assert found.watermark is not None
    assert found.watermark > EPOCH - timedelta(hours=1)


def wait_for(file: Path, victim: Victim) -> None:
    """Wait for a file that a process makes; fail if its work ends without."""
    while not file.exists():
        assert not victim.has_answered()
        assert victim.process.is_alive()
        time.sleep(0.01)


@pytest.mark.fault("the holder of the lake's lock is killed")
def test_the_lock_of_a_dead_process_is_taken_over(
    center: DispatchCenter, data_dir: Path, tmp_path: Path, ledger: Ledger
) -> None:
    held, refused = tmp_path / "held", tmp_path / "refused"
    holder = Victim(work.hold_the_lock, data_dir, held)
    wait_for(held, holder)
    waiting = Victim(work.ingest_refused, center, CAD, data_dir, refused)
    wait_for(refused, waiting)
    time.sleep(0.2)  # it tries every few milliseconds, in vain
    assert not waiting.has_answered(), "nothing lands while another process holds the lock"

    holder.kill()
    killed_s = time.monotonic()
    ledger.tried()

    assert waiting.result()
    assert time.monotonic() - killed_s < TAKEN_OVER_S
    found = read_content(data_dir / "lake", center.center_id, CAD)
    ledger.compare(found, alone(center, tmp_path / "alone"))
