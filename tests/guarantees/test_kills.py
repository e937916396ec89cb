"""Killed at every write, and at any time: the lake is as before or as after; the next run makes it whole."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from dispatchlake.lake import open_lake
from dispatchlake.lake.custody import verify
from dispatchlake.lake.reading import connect
from dispatchlake.lake.schemas import ALERTS
from dispatchlake.model import DispatchCenter
from tests.guarantees import work
from tests.guarantees.calls import CAD, is_typed, put_busy_center
from tests.guarantees.content import Content, read_content
from tests.guarantees.ledger import Ledger
from tests.guarantees.tidy import assert_same, assert_tidy
from tests.guarantees.victims import RANDOM_KILLS, Point, Victim
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

TURNS = RANDOM_KILLS // 2
"""Of up to three kills at any time each: most of them, for few come after the commit."""

ARCHIVE = (
    "BEGIN",
    "DELETE FROM chain_heads",
    "INSERT INTO chain_heads",
    "INSERT INTO raw_pages",
    "COMMIT",
)
TABLES = (
    "INSERT INTO cad_incident_versions",
    "DELETE FROM cad_incidents",
    "INSERT INTO cad_incidents",
    "INSERT INTO quarantine",
    "DELETE FROM coverage",
    "INSERT INTO coverage",
    "DELETE FROM watermarks",
    "INSERT INTO watermarks",
    "INSERT INTO runs",
)
LANDING = "INSERT INTO runs"
"""What the commit that lands a load follows."""

BATCHES = 3
"""Those that the load's nine pages come in: all but the last are archived by a commit of their own."""

ARCHIVED = "INSERT INTO raw_pages"
"""What a commit that archives a batch follows."""

LOAD = [
    Point("BEGIN"),
    *(Point(one, when="after") for one in ARCHIVE[:-1]),
    *(
        Point("COMMIT", when=when, follows=ARCHIVED)
        for when in ("before", "after", 0.5, 2.0, 5.0, 10.0, 20.0)
    ),
    *(Point(one, BATCHES, "after") for one in ARCHIVE[1:-1]),
    *(Point(one, when="after") for one in TABLES),
    *(Point("COMMIT", when=when, follows=LANDING) for when in ("before", "after", 0.5, 2.0, 5.0, 10.0, 20.0)),
]
"""Every write of a load: after each, which is before the next; before, within and after each commit."""

UNTIDY = [
    Point("INSERT INTO raw_pages", when="after"),
    Point("COMMIT", when=5.0, follows=ARCHIVED),
    Point("INSERT INTO cad_incidents", when="after"),
    Point("COMMIT", when=5.0, follows=LANDING),
]
"""After these it is looked whether maintenance leaves nothing of the killed: it takes seconds each time."""

VIEWS_MADE = "INSERT INTO view_editions"
"""What the commit that makes the views follows."""

MAKING = [
    Point("CREATE TABLE IF NOT EXISTS migrations"),
    Point("CREATE TABLE cad_incidents"),
    Point("INSERT INTO migrations"),
    Point("CREATE TABLE chain_heads"),
    Point("INSERT INTO migrations", 3, "after"),
    *(Point("COMMIT", nth, when) for nth in (1, 2) for when in ("before", "after", 2.0, 10.0, 30.0)),
    Point("CREATE OR REPLACE VIEW status"),
    Point("INSERT INTO dictionary"),
    *(Point("COMMIT", when=when, follows=VIEWS_MADE) for when in ("before", "after", 5.0)),
]
"""Writes that make a lake."""

UNDONE = ("0007 deliveries", "0009 erasure", "0013 statistics of empty tables")
"""Migrations of a lake with rows: tables, columns of one that has rows, rows that come and go."""

MADE_LATER = (
    *("incident_sightings", "caller_locations", "media", "media_files", "cad_notes", "cad_locations"),
    *("erasures", "erasure_keys", "legal_holds", "retention_rules", "retention_runs"),
)

MIGRATING = [
    Point("CREATE TABLE incident_sightings", when="after"),
    Point("ALTER TABLE raw_pages", 2, "after"),
    Point("CREATE TABLE legal_holds", when="after"),
    Point("INSERT INTO alerts", when="after"),
    *(Point("INSERT INTO migrations", nth, "after") for nth in (1, 2, 3)),
    *(Point("COMMIT", nth, when) for nth in (1, 2) for when in (2.0, 10.0, "after")),
    Point("COMMIT", 3, "after"),
    *(Point("COMMIT", when=when, follows=VIEWS_MADE) for when in (5.0, "after")),
]
"""Writes that bring such a lake to this version's layout: within and after each step's commit, too."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a maintenance, of a table for which it has something to do.

    Attributes:
        step: Of the maintenance.
        statement: How the call begins.
        effect: A query of the catalog whose answer the call changes, and nothing else in its step before it.
    """

    step: str
    statement: str
    effect: str


FILES = """SELECT data_file_id FROM ducklake_data_file JOIN ducklake_table USING (table_id)
WHERE table_name = '{}' AND ducklake_data_file.end_snapshot IS NULL ORDER BY 1"""

CALLS = {
    "flush": Call(
        "flush inlined rows",
        "CALL ducklake_flush_inlined_data('lake', table_name => 'cad_incidents')",
        FILES.format("cad_incidents"),
    ),
    "rewrite": Call(
        "rewrite files with removed rows",
        "CALL ducklake_rewrite_data_files('lake', 'cad_incidents'",
        FILES.format("cad_incidents"),
    ),
    "merge": Call(
        "merge small files",
        "CALL ducklake_merge_adjacent_files('lake', 'raw_pages'",
        FILES.format("raw_pages"),
    ),
    "expire": Call(
        "expire snapshots",
        "CALL ducklake_expire_snapshots",
        "SELECT snapshot_id FROM ducklake_snapshot ORDER BY 1",
    ),
}

MOMENTS: tuple[float | Literal["after"], ...] = (2.0, 10.0, 20.0, 30.0, "after")
"""When each call is killed, in milliseconds: they take 25 to 60. On a quick machine some come after it."""

STORING = [Point(call, when=when) for call in ("open", "fsync", "replace") for when in ("before", "after")]
"""Steps of storing a token."""


@dataclass(frozen=True, slots=True)
class Lakes:
    """A lake after its first load, to be copied, and what the second load makes of it."""

    center: DispatchCenter
    first: Path
    before: Content
    after: Content
    seconds: float


@pytest.fixture(scope="session")
def lakes(_sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    sandbox, folder = _sandbox_process, tmp_path_factory.mktemp("lakes")
    sandbox.call("POST", "clock", {"elapsed_s": 0})
    center = put_busy_center(sandbox)
    Victim(work.ingest, center, CAD, folder / "first").result()
    before = read_content(folder / "first" / "lake", center.center_id, CAD)
    sandbox.advance_clock(3600)
    shutil.copytree(folder / "first", folder / "second")
    started_s = time.monotonic()
    Victim(work.ingest, center, CAD, folder / "second").result()
    seconds = time.monotonic() - started_s
    after = read_content(folder / "second" / "lake", center.center_id, CAD)
    assert len(before.current) < len(after.current)
    assert len(before.versions) < len(after.versions) > len(after.current)
    assert len(before.quarantined) < len(after.quarantined)
    truth = sandbox.truth(center.center_id, CAD)["current"]
    typed = [record for record in truth if is_typed(record)]
    assert_equal(folder / "second" / "lake", center.center_id, CAD, typed)
    return Lakes(center, folder / "first", before, after, seconds)


@pytest.fixture
def data_dir(lakes: Lakes, sandbox: SandboxProcess, tmp_path: Path) -> Path:
    """A copy of the lake after its first load; the center has moved on by an hour."""
    sandbox.advance_clock(3600)
    shutil.copytree(lakes.first, tmp_path / "data")
    return tmp_path / "data"


def assert_before_or_after(lakes: Lakes, data_dir: Path, ledger: Ledger) -> bool:
    """Fail unless a reader sees all of the second load or nothing of it; say which."""
    found = read(lakes, data_dir)
    if found.landed == lakes.before.landed:
        assert (found.watermark, found.complete_through) == (
            lakes.before.watermark,
            lakes.before.complete_through,
        )
        ledger.compare(found, lakes.before)
        return False
    assert found.landed == lakes.before.landed + 1
    ledger.compare(found, lakes.after)
    assert_moved_on(lakes, found)
    return True


def assert_moved_on(lakes: Lakes, found: Content) -> None:
    """Fail unless the next run begins later than after the first load."""
    for then, now in (
        (lakes.before.watermark, found.watermark),
        (lakes.before.complete_through, found.complete_through),
    ):
        assert then is not None
        assert now is not None
        assert now > then


def assert_whole(lakes: Lakes, data_dir: Path, ledger: Ledger) -> None:
    """Run again, and fail unless the lake is what an undisturbed second load makes of it."""
    work.ingest(lakes.center, CAD, data_dir)

    content = read(lakes, data_dir)
    ledger.compare(content, lakes.after)
    assert_moved_on(lakes, content)


def read(lakes: Lakes, data_dir: Path) -> Content:
    """Return what the lake holds."""
    return read_content(data_dir / "lake", lakes.center.center_id, CAD)


@pytest.mark.fault("SIGKILL at a write of a load, and within its commits")
@pytest.mark.parametrize("point", LOAD, ids=str)
def test_a_load_killed_at_a_write(lakes: Lakes, data_dir: Path, ledger: Ledger, point: Point) -> None:
    victim = Victim(work.ingest, lakes.center, CAD, data_dir, point)

    assert victim.wait_until_killed()
    ledger.tried()

    is_committed = assert_before_or_after(lakes, data_dir, ledger)
    if point == Point("COMMIT", when="after", follows=LANDING):
        assert is_committed
    elif point.follows != LANDING:
        assert not is_committed
    assert_whole(lakes, data_dir, ledger)
    if point in UNTIDY:
        assert_tidy(data_dir, lambda: read(lakes, data_dir), ledger)


def test_every_write_of_a_load_is_one_that_is_killed_at(lakes: Lakes, data_dir: Path) -> None:
    statements = Victim(work.ingest, lakes.center, CAD, data_dir).result()

    passing = ("SELECT", "DROP", "SET", "USE", "FROM memory.")
    in_memory = (
        "CREATE TABLE memory.",
        "CREATE TABLE IF NOT EXISTS memory.",
        "INSERT INTO memory.",
        "DELETE FROM memory.",
    )
    writes = [
        text for text in statements if not text.startswith((*passing, *in_memory)) and " TEMP " not in text
    ]
    writes = [text for text in writes if not text.startswith("INSERT INTO known")]
    unknown = [text[:60] for text in writes if not text.startswith((*ARCHIVE, *TABLES))]
    assert not unknown
    assert len([text for text in writes if text.startswith(ARCHIVED)]) == BATCHES


@pytest.mark.fault("SIGKILL of a load at any time")
@pytest.mark.parametrize("turn", range(TURNS))
def test_a_load_killed_at_any_time(lakes: Lakes, data_dir: Path, ledger: Ledger, turn: int) -> None:
    """Killed and run again and killed, until it was quicker."""
    for _ in range(3):
        victim = Victim(work.ingest, lakes.center, CAD, data_dir)
        time.sleep(random.uniform(0, lakes.seconds))
        victim.kill()
        ledger.tried()
        if assert_before_or_after(lakes, data_dir, ledger):
            break
    assert_whole(lakes, data_dir, ledger)
    if turn == 0:
        assert_tidy(data_dir, lambda: read(lakes, data_dir), ledger)


@pytest.mark.fault("SIGKILL while a lake is made")
@pytest.mark.parametrize("point", MAKING, ids=str)
@pytest.mark.usefixtures("sandbox")  # its clock is at zero
def test_a_lake_killed_while_it_is_made(lakes: Lakes, tmp_path: Path, ledger: Ledger, point: Point) -> None:
    victim = Victim(work.make_lake, tmp_path, point)

    assert victim.wait_until_killed()
    ledger.tried()

    work.ingest(lakes.center, CAD, tmp_path)
    ledger.compare(read(lakes, tmp_path), lakes.before)


@pytest.fixture(scope="session")
def older(lakes: Lakes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake after its first load, as it was before some of its migrations."""
    data_dir = Path(shutil.copytree(lakes.first, tmp_path_factory.mktemp("older") / "data"))
    with open_lake(work.settings_of(data_dir)) as lake, lake.held() as connection:
        for table in MADE_LATER:
            connection.execute(f"DROP TABLE {table}")
        for column in ("redacted_at", "redacted_sha256", "redaction_id"):
            connection.execute(f"ALTER TABLE raw_pages DROP COLUMN {column}")
        connection.execute("DROP TABLE alerts")
        declared = ", ".join(f'"{column.name}" {column.type}' for column in ALERTS.columns)
        connection.execute(f"CREATE TABLE alerts ({declared})")  # which has no statistics
        connection.execute(f"DELETE FROM migrations WHERE name IN {UNDONE}")
        connection.execute("UPDATE view_editions SET digest = 'of other columns'")
    return data_dir


@pytest.mark.fault("SIGKILL while a lake with rows is brought to a new layout")
@pytest.mark.parametrize("point", MIGRATING, ids=str)
@pytest.mark.usefixtures("sandbox")
def test_a_lake_with_rows_killed_while_it_is_migrated(
    lakes: Lakes, older: Path, tmp_path: Path, ledger: Ledger, point: Point
) -> None:
    data_dir = Path(shutil.copytree(older, tmp_path / "data"))
    victim = Victim(work.make_lake, data_dir, point)

    assert victim.wait_until_killed()
    ledger.tried()

    assert_same(read(lakes, data_dir), lakes.before, ledger)
    work.make_lake(data_dir)
    assert_same(read(lakes, data_dir), lakes.before, ledger)
    assert all(custody.broken is None for custody in verify(data_dir / "lake"))
    assert layout(data_dir) == layout(lakes.first)


def layout(data_dir: Path) -> tuple[list[Any], list[Any]]:
    """Return the migrations that a lake has had, and each column of its tables and views."""
    with connect(data_dir / "lake") as connection:
        had = connection.execute("SELECT name FROM migrations ORDER BY ALL").fetchall()
        columns = connection.execute(
            """SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
            WHERE database_name = 'lake' ORDER BY ALL"""
        ).fetchall()
    return had, columns


@pytest.fixture(scope="session")
def grown(lakes: Lakes, _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake after some loads, with something to do for each step of a maintenance."""
    data_dir = tmp_path_factory.mktemp("grown") / "data"
    shutil.copytree(lakes.first, data_dir)
    for minutes in (15, 30, 45, 60):
        _sandbox_process.call("POST", "clock", {"elapsed_s": minutes * 60})
        work.ingest(lakes.center, CAD, data_dir)
    return data_dir


@pytest.mark.fault("SIGKILL of a maintenance within its calls")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.usefixtures("sandbox")
def test_a_maintenance_killed_within_a_call(
    lakes: Lakes, grown: Path, tmp_path: Path, ledger: Ledger, call: Call
) -> None:
    """Killed and run again and killed, in a lake that was killed before the call: so it comes at once."""
    before = read(lakes, grown)
    begun, data_dir = tmp_path / "begun", tmp_path / "data"
    shutil.copytree(grown, begun)
    assert Victim(work.maintain, begun, Point(call.statement)).wait_until_killed()
    untouched = ask_catalog(begun, call.effect)
    shutil.copytree(begun, data_dir)

    for moment in MOMENTS:
        if ask_catalog(data_dir, call.effect) != untouched:  # the call was quicker, and has nothing to do now
            shutil.rmtree(data_dir)
            shutil.copytree(begun, data_dir)
        victim = Victim(work.maintain, data_dir, Point(call.statement, when=moment), call.step)
        assert victim.wait_until_killed(), moment
        ledger.tried()
        assert_same(read(lakes, data_dir), before, ledger)

    assert ask_catalog(data_dir, call.effect) != untouched, "the calls that were killed had something to do"
    assert_tidy(data_dir, lambda: read(lakes, data_dir), ledger)


def ask_catalog(data_dir: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a catalog that nobody has open, as SQLite."""
    with contextlib.closing(sqlite3.connect(data_dir / "lake" / "catalog.sqlite")) as catalog:
        return catalog.execute(query).fetchall()


@pytest.mark.fault("SIGKILL while a token is stored")
@pytest.mark.parametrize("point", STORING, ids=str)
def test_a_login_killed_while_it_stores_its_token(
    sandbox: SandboxProcess, lakes: Lakes, data_dir: Path, ledger: Ledger, point: Point
) -> None:
    shutil.rmtree(data_dir / "state")
    logins = sandbox.counts(lakes.center.center_id)["logins_ok"]
    victim = Victim(work.ingest_storing, lakes.center, CAD, data_dir, point)

    assert victim.wait_until_killed()
    ledger.tried()

    assert_whole(lakes, data_dir, ledger)
    is_stored = point == Point("replace", when="after")
    assert sandbox.counts(lakes.center.center_id)["logins_ok"] - logins == (1 if is_stored else 2)
    assert not [path.name for path in (data_dir / "state").rglob("*") if path.suffix in {".new", ".tmp"}]
