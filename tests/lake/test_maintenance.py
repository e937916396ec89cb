"""Maintenance changes what the lake costs and never what it says."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import duckdb
import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake, catalog_file, maintenance
from dispatchlake.lake.maintenance import StepResult, maintain
from dispatchlake.lake.reading import connect
from tests.guarantees import work
from tests.guarantees.tidy import assert_nothing_is_left_over
from tests.guarantees.victims import Point, Victim
from tests.lake.pages import incident, load
from tests.lake.scripts import Script
from tests.lake.upkeep import (
    State,
    at,
    files,
    grow,
    grown_lake,
    keep_house,
    make_old,
    settings_of,
    state,
    versions,
)

STEPS = [
    "flush inlined rows", "rewrite files with removed rows", "merge small files", "expire snapshots",
    "remove unneeded files", "remove orphans", "remove leftovers", "compact the catalog",
]  # fmt: skip


SELDOM = 10**6
"""To look at the newest snapshot only: it is the one that is left in the end."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Path:
    """A lake that needs maintenance, to be copied."""
    return grown_lake(tmp_path_factory.mktemp("grown"), empty_lake, loads=4)


@pytest.fixture
def lake_dir(tmp_path: Path, grown: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "lake"))


def same(lake_dir: Path, before: State) -> bool:
    """Say whether what the lake held before it holds now, and the snapshots that are left."""
    after = state(lake_dir)
    kept = {version: rows for version, rows in before.items() if version in after}
    return kept == {version: after[version] for version in kept} and after[max(after)] == before[max(before)]


def test_every_snapshot_says_the_same_after_each_step(
    lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(lake_dir, every=3)
    known = {version: rows for version, rows in before.items() if version % 3 == 0}
    assert len(known) > 1
    done: list[str] = []
    run_step = maintenance._Maintenance._run_step

    def run_and_compare(self: maintenance._Maintenance, name: str, step: Callable[[], str]) -> StepResult:
        result = run_step(self, name, step)
        after = state(lake_dir, every=3)
        assert {version: after.get(version) for version in known} == known, name
        assert after[max(after)] == before[max(before)], name
        done.append(name)
        return result

    monkeypatch.setattr(maintenance._Maintenance, "_run_step", run_and_compare)
    report = keep_house(lake_dir)

    assert done == [step.name for step in report.steps] == STEPS
    assert all(step.done for step in report.steps[:3]), "they had something to do"
    assert max(before) < max(state(lake_dir, every=3)), "flushing and merging are snapshots of their own"


def test_loads_and_maintenance_in_turn_lose_nothing_and_say_the_same_of_the_past(lake_dir: Path) -> None:
    """Rows removed before a rewrite and flushed after it were shown twice (duckdb/ducklake#1406)."""
    known = state(lake_dir, every=7)
    for number in range(4, 8, 2):
        with Lake.open(lake_dir) as lake:
            grow(lake, loads=2, first=number)
        known |= state(lake_dir, every=7)
        keep_house(lake_dir, keep_files_days=0)
        after = state(lake_dir, every=7)
        known |= {version: rows for version, rows in after.items() if version not in known}
        assert after == {version: known[version] for version in after}
        assert len(after) > 3


def test_files_bytes_snapshots_and_inlined_rows_go_down(lake_dir: Path) -> None:
    with Lake.open(lake_dir) as lake:
        grow(lake, loads=6, first=4)

    report = keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)

    before, after = report.before, report.after
    assert after.files < before.files
    assert after.bytes < before.bytes
    assert (after.snapshots, after.inlined_rows, after.wal_bytes) == (1, 0, 0)
    assert before.snapshots > 10
    assert before.inlined_rows > 20
    assert after.files == len(files(lake_dir)) == sum(table.files for table in after.tables)
    assert after.bytes == sum(path.stat().st_size for path in files(lake_dir))
    assert after.catalog_bytes == (lake_dir / "catalog.sqlite").stat().st_size
    sizes = {table.name: table for table in after.tables}
    assert sizes["incidents"].files == 4, "two centers, two months"
    assert sizes["incidents"].delete_files == 0
    assert sizes["raw_pages"].files == 2

    again = keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)
    assert [step.done for step in again.steps] == [""] * len(STEPS), "nothing is left to do"


def test_rows_stay_in_their_partitions(lake_dir: Path) -> None:
    keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)

    folders = set()
    for path in (lake_dir / "data" / "main" / "incidents").rglob("*.parquet"):
        rows = duckdb.sql(
            f"""SELECT DISTINCT center_id, year(utc), month(utc) FROM (
                SELECT center_id, created_at AT TIME ZONE 'UTC' AS utc
                FROM read_parquet('{path}', hive_partitioning = false))"""
        ).fetchall()
        found = re.search(r"center_id=([^/]*)/year=(\d+)/month=(\d+)/", str(path))
        assert found
        assert rows == [(found[1], int(found[2]), int(found[3]))]
        folders.add(path.parent)
    assert len(folders) == 4


def test_the_newest_snapshot_never_expires_and_a_kept_one_is_kept(lake_dir: Path) -> None:
    with connect(lake_dir) as reader:
        known = versions(reader)
        middle = known[len(known) // 2]
        held = at(reader, middle)
    with Lake.open(lake_dir) as lake, lake.held() as connection:
        connection.execute(
            f"""UPDATE {maintenance.CATALOG}.ducklake_snapshot
            SET snapshot_time = (snapshot_time::TIMESTAMPTZ - INTERVAL 8 DAYS)::VARCHAR
            WHERE snapshot_id <= {middle}"""
        )

    keep_house(lake_dir)

    with connect(lake_dir) as reader:
        assert versions(reader)[0] == middle, "what the lake held then, and all that came later"
        assert at(reader, middle) == held
        with pytest.raises(duckdb.Error, match="No snapshot found"):
            at(reader, middle - 1)
    keep_house(lake_dir, keep_snapshots_days=0)
    keep_house(lake_dir, keep_snapshots_days=0)
    with connect(lake_dir) as reader:
        assert len(versions(reader)) == 1
        assert at(reader) == at(reader, versions(reader)[0])


def test_of_an_hour_of_long_ago_the_last_snapshot_is_kept_and_says_the_same(lake_dir: Path) -> None:
    """Two hours of three days ago, then today: whoever asks what an hour ended with is told."""
    with connect(lake_dir) as reader:
        known = versions(reader)
    first, second, last = known[2], known[len(known) // 2], known[-1]
    with Lake.open(lake_dir) as lake, lake.held() as connection:
        connection.execute(
            f"""UPDATE {maintenance.CATALOG}.ducklake_snapshot SET snapshot_time = (CASE
                WHEN snapshot_id <= {first} THEN current_date - INTERVAL 72 HOUR
                WHEN snapshot_id <= {second} THEN current_date - INTERVAL 71 HOUR
                ELSE snapshot_time::TIMESTAMPTZ END)::TIMESTAMPTZ::VARCHAR"""
        )
    with connect(lake_dir) as reader:
        held = {version: at(reader, version) for version in (first, second, last)}

    keep_house(lake_dir)

    with connect(lake_dir) as reader:
        assert versions(reader)[:2] == [first, second]
        assert set(known[known.index(second) :]) <= set(versions(reader)), "today's are all there"
        assert {version: at(reader, version) for version in held} == held


def test_a_reader_keeps_its_old_snapshot_while_and_after_the_lake_is_maintained(lake_dir: Path) -> None:
    with connect(lake_dir) as reader:
        reader.execute("BEGIN")
        (count,) = reader.execute("SELECT count(*) FROM incidents").fetchall()
        held = at(reader)

        report = keep_house(lake_dir, keep_snapshots_days=0)  # its files are needed by no snapshot now

        assert reader.execute("SELECT count(*) FROM incidents").fetchall() == [count]
        assert at(reader) == held
        reader.execute("COMMIT")
        assert at(reader) == held
    assert report.after.files > sum(table.files for table in report.after.tables), "they wait for their age"
    assert report.after.snapshots == 1


def test_orphans_go_when_they_are_old_and_live_files_never(lake_dir: Path) -> None:
    before, live = state(lake_dir), files(lake_dir)
    old, young, other = (
        lake_dir / "data" / "main" / "incidents" / name
        for name in ("ducklake-old.parquet", "ducklake-young.parquet", "notes.txt")
    )
    some_live = next(iter(live))
    for path in (old, young, other):
        shutil.copy(some_live, path)
    make_old(old, other, *live)

    report = keep_house(lake_dir)

    assert next(step.done for step in report.steps if step.name == "remove orphans").startswith("1 files, ")
    assert not old.exists()
    assert young.exists()
    assert other.exists(), "not a data file, not ours"
    assert live <= files(lake_dir), "some snapshot or reader needs them"
    assert same(lake_dir, before)


def test_a_live_file_that_ducklake_lists_for_removal_is_spared_and_told(lake_dir: Path) -> None:
    before = state(lake_dir)
    with Lake.open(lake_dir) as lake, lake.held() as connection:
        connection.execute(
            f"""INSERT INTO {maintenance.CATALOG}.ducklake_files_scheduled_for_deletion
            SELECT data_file_id, 'main/raw_pages/' || path, path_is_relative, '2020-01-01 00:00:00+00'
            FROM {maintenance.CATALOG}.ducklake_data_file
            WHERE table_id = (
                SELECT table_id FROM {maintenance.CATALOG}.ducklake_table WHERE table_name = 'raw_pages')"""
        )
    monkey = pytest.MonkeyPatch()
    monkey.setattr(maintenance._Maintenance, "_merge", lambda self: "")  # they would be listed rightly then

    with monkey.context():
        report = maintain(settings_of(lake_dir))
    monkey.undo()

    assert [step.name for step in report.failed] == ["remove unneeded files"]
    assert "4 files are listed for removal although a snapshot needs them" in report.failed[0].error
    assert same(lake_dir, before)


def test_a_step_that_fails_is_named_and_the_others_still_run(
    lake_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(catalog: Path) -> None:
        raise ZeroDivisionError("a value of a record")

    monkeypatch.setattr(catalog_file, "compact", fail)
    gone = next((lake_dir / "data" / "main" / "raw_pages").rglob("*.parquet"))
    gone.rename(lake_dir / "aside")

    report = maintain(settings_of(lake_dir))

    assert [step.name for step in report.failed] == ["merge small files", "compact the catalog"]
    merge, compact = report.failed
    assert merge.error.startswith("raw_pages: ")
    assert compact.error == "Unexpected ZeroDivisionError; the log has more."
    assert merge.done, "the other tables were merged"
    assert report.after.inlined_rows == 0
    (lake_dir / "aside").rename(gone)
    monkeypatch.undo()
    assert "raw_pages" not in str(keep_house(lake_dir).failed)


def test_what_a_killed_process_spilled_is_removed(lake_dir: Path) -> None:
    left = lake_dir / "tmp" / "4711-dead"
    left.mkdir()
    (left / "duckdb_temp_storage_DEFAULT-0.tmp").write_text("x" * 100)
    left.with_suffix(".lock").touch()

    report = keep_house(lake_dir)

    assert next(step.done for step in report.steps if step.name == "remove leftovers").startswith("100 bytes")
    assert not left.exists()


def test_a_folder_without_a_lake_is_for_a_person_to_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        maintain(settings_of(tmp_path / "lake"))

    assert not (tmp_path / "lake").exists()


def test_a_catalog_that_is_none_is_told(lake_dir: Path) -> None:
    (lake_dir / "catalog.sqlite").write_bytes(b"no catalog" * 1000)

    with pytest.raises(LakeError, match="damaged"):
        maintain(settings_of(lake_dir))


MAINTAINER = """
import sys
from pathlib import Path
from dispatchlake.lake.maintenance import maintain
from tests.lake.upkeep import settings_of

print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    report = maintain(settings_of(Path(sys.argv[1])), keep_snapshots_days=0)
    assert not report.failed, report.failed
print("done", flush=True)
"""

LOADER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.upkeep import grow

with Lake.open(Path(sys.argv[1]), lock_wait_s=60) as lake:
    print("ready", flush=True)
    for number in range(4, 10**6):
        grow(lake, loads=1, first=number)
        print(number, flush=True)
"""

WHOLE = """
SELECT sum(new) = (SELECT count(*) FROM incidents),
    sum(new + changed) = (SELECT count(*) FROM incident_versions),
    count(*) = (SELECT count(*) FROM quarantine),
    count(*) = (SELECT count(*) FROM raw_pages) OR count(*) + 1 = (SELECT count(*) FROM raw_pages),
    (SELECT count(*) = count(DISTINCT (center_id, incident_id)) FROM incidents)
FROM runs
"""


def test_two_at_once_beside_a_loader_and_a_reader(lake_dir: Path) -> None:
    with (
        Script(LOADER, lake_dir) as loader,
        Script(MAINTAINER, lake_dir, 1) as one,
        Script(MAINTAINER, lake_dir, 2) as other,
        connect(lake_dir) as reader,
    ):
        for script in (loader, one, other):
            assert script.line() == "ready"
        while one.is_running() or other.is_running():
            assert reader.execute(WHOLE).fetchall() == [(True,) * 5]
            assert loader.is_running(), loader.failure()
        for script in (one, other):
            assert script.finish() == "done\n"
        assert int(loader.line()) >= 4, "it loaded meanwhile"
        assert reader.execute(WHOLE).fetchall() == [(True,) * 5]
    keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)
    with connect(lake_dir) as reader:
        assert reader.execute(WHOLE).fetchall() == [(True,) * 5]


LATER = ("merge small files", "expire snapshots", "remove unneeded files", "remove orphans")
"""Of each run one of these is killed at some statement of it, and one step before them."""


def draw(counts: dict[str, range]) -> list[Point]:
    """Return a place in a step of the first half and one in a step of the later half, at any statement."""
    earlier = [step for step, numbers in counts.items() if numbers and step not in LATER]
    later = [step for step, numbers in counts.items() if numbers and step in LATER]
    return [
        Point("", random.choice(counts[random.choice(steps)]), random.choice(("before", "after")))
        for steps in (earlier, later)
    ]


def test_killed_at_any_statement_and_run_again_loses_nothing(grown: Path, tmp_path: Path) -> None:
    counted = Path(shutil.copytree(grown, tmp_path / "counted" / "lake"))
    counts = Victim(work.count_statements, counted.parent).result()
    assert set(LATER) <= {step for step, numbers in counts.items() if numbers}
    before = state(grown, every=SELDOM)
    for point in draw(counts):
        lake_dir = Path(shutil.copytree(grown, tmp_path / str(point) / "lake"))
        assert Victim(work.maintain, lake_dir.parent, point).wait_until_killed(), point
        assert same(lake_dir, before), f"killed {point}"
        keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)
        assert same(lake_dir, before), f"killed {point}, and maintained"
        assert_nothing_is_left_over(lake_dir)
        with Lake.open(lake_dir) as lake:
            assert load(lake, incident("after the kill")).new == 1


@pytest.fixture(scope="module")
def merged(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose maintenance was killed with all of its files still to be removed."""
    home = tmp_path_factory.mktemp("merged")
    lake_dir = Path(shutil.copytree(grown, home / "lake"))
    assert Victim(work.maintain, home, Point("remove what is listed")).wait_until_killed()
    shutil.copy(
        next(iter(files(lake_dir))), lake_dir / "data" / "main" / "incidents" / "ducklake-orphan.parquet"
    )
    return lake_dir


@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("remove what is listed", "remove unneeded files"),
        ("remove orphans", "remove orphans"),
        ("compact the catalog", "compact the catalog"),
    ],
)
def test_killed_while_it_removes_or_compacts_and_run_again_loses_nothing(
    merged: Path, tmp_path: Path, place: str, step: str
) -> None:
    """Before it, soon after its beginning and after it; what compacts is not killed with who began it."""
    before = state(merged, every=SELDOM)
    lake_dir = Path(shutil.copytree(merged, tmp_path / "lake"))
    moments: list[Literal["before", "after"] | float] = ["before", 3.0, 30.0, "after"]

    for moment in moments:
        killed = Victim(work.maintain, tmp_path, Point(place, when=moment), step)
        assert killed.wait_until_killed(), moment
        assert same(lake_dir, before), f"killed {moment}"

    keep_house(lake_dir, keep_snapshots_days=0, keep_files_days=0)
    assert same(lake_dir, before)
    assert files(lake_dir) < {lake_dir / path.relative_to(merged) for path in files(merged)}
    assert_nothing_is_left_over(lake_dir)
    with Lake.open(lake_dir) as lake:
        assert load(lake, incident("after the kills")).new == 1
