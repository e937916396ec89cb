"""Deliveries land once: killed at every write and at any time, two at once, and beside all that writes."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatchlake.landing import land_deliveries
from tests.guarantees import landings, work
from tests.guarantees.calls import CAD, put_busy_center
from tests.guarantees.content import Content, read_content
from tests.guarantees.ledger import Ledger
from tests.guarantees.test_concurrency import until_done
from tests.guarantees.tidy import assert_tidy
from tests.guarantees.victims import RANDOM_KILLS, Point, Victim
from tests.sandbox_process import SandboxProcess

TURNS = RANDOM_KILLS // 5
"""Of three kills at any time each."""

WRITES = (
    "BEGIN",
    "DELETE FROM chain_heads",
    "INSERT INTO chain_heads",
    "INSERT INTO raw_pages",
    "INSERT INTO incident_sightings",
    "INSERT INTO incident_versions",
    "DELETE FROM incidents",
    "INSERT INTO incidents",
    "INSERT INTO caller_locations",
    "INSERT INTO media",
    "INSERT INTO cad_notes",
    "INSERT INTO cad_locations",
    "INSERT INTO quarantine",
    "INSERT INTO runs",
    "COMMIT",
)

POINTS = [
    Point("BEGIN"),
    *(Point(one, when="after") for one in WRITES),
    *(Point("COMMIT", when=when) for when in (0.5, 2.0, 5.0, 10.0, 20.0)),
    *(Point("forget", when=when) for when in ("before", "after")),
]
"""Every write of a landing's first batch: after each, which is before the next; and within its commit."""


UNTIDY = [
    Point("INSERT INTO raw_pages", when="after"),
    Point("INSERT INTO runs", when="after"),
    Point("COMMIT", when=5.0),
    Point("forget"),
]
"""After these it is looked whether maintenance leaves nothing of the killed: it takes seconds each time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lake beside which deliveries wait, to be copied, and what landing them makes of it."""

    before: Path
    empty: Content
    after: Content
    seconds: float


@pytest.fixture(scope="session")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    folder = tmp_path_factory.mktemp("waiting")
    Victim(landings.put_lake, folder / "before").result()
    empty = landings.read_landed(folder / "before")
    shutil.copytree(folder / "before", folder / "after")
    started_s = time.monotonic()
    Victim(landings.land, folder / "after").result()
    seconds = time.monotonic() - started_s
    after = landings.read_landed(folder / "after")
    assert landings.waiting(folder / "before") > 2 * landings.IN_BATCH
    assert landings.waiting(folder / "after") == 0
    return Waiting(folder / "before", empty, after, seconds)


@pytest.fixture
def data_dir(waiting: Waiting, tmp_path: Path) -> Path:
    shutil.copytree(waiting.before, tmp_path / "data")
    return tmp_path / "data"


def assert_whole(waiting: Waiting, data_dir: Path, ledger: Ledger) -> None:
    """Land what is left, and fail unless the lake is what one undisturbed landing makes of it."""
    landings.land(data_dir)

    assert landings.waiting(data_dir) == 0
    ledger.compare(landings.read_landed(data_dir), waiting.after)


@pytest.mark.fault("SIGKILL at a write of a landing, and within its commit")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_landing_killed_at_a_write(waiting: Waiting, data_dir: Path, ledger: Ledger, point: Point) -> None:
    before = landings.waiting(data_dir)
    victim = Victim(landings.land, data_dir, point)

    assert victim.wait_until_killed()
    ledger.tried()

    found = landings.read_landed(data_dir)
    is_committed = found.versions != waiting.empty.versions
    if point.statement != "COMMIT":
        assert is_committed == (point.statement == "forget")
    if not is_committed:
        ledger.compare(found, waiting.empty)
    assert (landings.waiting(data_dir) < before) == (point == Point("forget", when="after"))
    assert_whole(waiting, data_dir, ledger)
    if point in UNTIDY:
        assert_tidy(data_dir, lambda: landings.read_landed(data_dir), ledger)


def test_every_write_of_a_landing_is_one_that_is_killed_at(data_dir: Path) -> None:
    statements = Victim(landings.land, data_dir).result()

    passing = (
        "SELECT",
        "SET",
        "USE",
        "FROM memory.",
        "CREATE TABLE memory.",
        "INSERT INTO known",
        "DELETE FROM fresh",
        "DELETE FROM runs",  # of a batch after the first, which adds to what that one noted
    )
    writes = [text for text in statements if not text.startswith(passing) and " TEMP " not in text]
    assert {text[:60] for text in writes if not text.startswith(WRITES)} == set()
    for write in WRITES:
        assert any(text.startswith(write) for text in writes), write


@pytest.mark.fault("SIGKILL of a landing at any time")
@pytest.mark.parametrize("turn", range(TURNS))
def test_a_landing_killed_at_any_time(waiting: Waiting, data_dir: Path, ledger: Ledger, turn: int) -> None:
    """Killed and run again and killed."""
    for _ in range(3):
        victim = Victim(landings.land, data_dir)
        time.sleep(random.uniform(0, waiting.seconds))
        victim.kill()
        ledger.tried()
    assert_whole(waiting, data_dir, ledger)
    if turn == 0:
        assert_tidy(data_dir, lambda: landings.read_landed(data_dir), ledger)


@pytest.mark.fault("two landings of the same deliveries at once")
def test_two_landings_at_once(waiting: Waiting, data_dir: Path, ledger: Ledger) -> None:
    victims = [Victim(landings.land, data_dir) for _ in range(2)]
    for victim in victims:
        victim.result()
    ledger.tried()

    assert_whole(waiting, data_dir, ledger)


@pytest.mark.fault("two landings, who delivers, an ingest and maintenance at once")
def test_landings_beside_all_that_writes(
    sandbox: SandboxProcess, data_dir: Path, tmp_path: Path, ledger: Ledger
) -> None:
    center = put_busy_center(sandbox)
    land = (landings.land_until, data_dir)
    with until_done(
        tmp_path / "stop",
        land,
        land,
        (landings.deliver_until, data_dir),
        (work.ingest_until, center, CAD, data_dir),
        (work.maintain_until, data_dir),
        (work.watch, center.center_id, CAD, data_dir),
    ):
        for _ in range(3):
            time.sleep(1.0)
            sandbox.advance_clock(600)
            ledger.tried()

    land_deliveries(work.settings_of(data_dir))
    found = landings.read_landed(data_dir)
    assert found.repeated == 0
    delivered = {row for row in found.versions if row[0] == "raw_pages" and row[1] in landings.CENTERS}
    assert len(delivered) == len({row[2] for row in delivered})
    landings.assert_none_is_missing(data_dir)
    work.ingest(center, CAD, data_dir)
    work.ingest(center, CAD, tmp_path / "alone")
    cad = read_content(data_dir / "lake", center.center_id, CAD)
    alone = read_content(tmp_path / "alone" / "lake", center.center_id, CAD)
    ledger.compare(cad.without_history(), alone.without_history())
