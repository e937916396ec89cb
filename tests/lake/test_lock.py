"""Many writers, one commit at a time: they wait, they give up, they outlive each other, they lose nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatchlake.errors import CatalogBusy, LakeError, is_transient
from dispatchlake.lake import Lake, LoadSummary, connection
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.reading import connect
from dispatchlake.model import Page
from tests.lake.conftest import Ask
from tests.lake.pages import CENTER, cell, incident, incidents, instant, load, page
from tests.lake.scripts import Script
from tests.lake.test_log_holder import has_open

HOLDER = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    input()
print("released", flush=True)
"""


def holder(lake_dir: Path) -> Script:
    script = Script(HOLDER, lake_dir / "commit.lock")
    assert script.line() == "held"
    return script


def test_a_commit_waits_for_another_process(lake: Lake, lake_dir: Path) -> None:
    landed: list[LoadSummary] = []
    with holder(lake_dir) as other:
        waiting = threading.Thread(target=lambda: landed.append(load(lake, incident())))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert not landed

        other.go_on()
        waiting.join(60)

    assert [summary.new for summary in landed] == [1]


def test_a_commit_that_waited_too_long_says_so_and_works_later(lake_dir: Path, ask: Ask) -> None:
    with Lake.open(lake_dir, lock_wait_s=0.2) as lake:
        with holder(lake_dir) as other:
            with pytest.raises(CatalogBusy, match="Another writer has held the lake") as caught:
                load(lake, incident())
            assert is_transient(caught.value)
            assert ask("SELECT count(*) FROM raw_pages") == [(0,)]
            other.go_on()
            assert other.line() == "released"

        assert load(lake, incident()).new == 1


def test_a_lake_is_opened_and_read_while_another_writer_holds_the_lock(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident())
    with holder(lake_dir), Lake.open(lake_dir, lock_wait_s=0) as second, connect(lake_dir) as reader:
        assert second.watermark("center-a", "incident_events") is not None
        assert reader.sql("SELECT count(*) FROM incidents").fetchall() == [(1,)]


@pytest.mark.parametrize("exists", [False, True], ids=["no catalog", "an empty catalog"])
def test_a_new_lake_is_made_by_who_holds_the_lock(lake_dir: Path, exists: bool) -> None:
    """The catalog's file is there a moment before it is a lake."""
    lake_dir.mkdir()
    if exists:
        catalog_path(lake_dir).touch()
    with holder(lake_dir) as other:
        with pytest.raises(CatalogBusy):
            Lake.open(lake_dir, lock_wait_s=0.2)
        assert catalog_path(lake_dir).exists() is exists
        if exists:
            with pytest.raises(LakeError, match="not a lake"):
                connect(lake_dir)
        other.kill()

        with Lake.open(lake_dir) as lake:
            assert load(lake, incident()).new == 1


def test_a_killed_holder_of_the_lock_blocks_nobody(lake: Lake, lake_dir: Path) -> None:
    with holder(lake_dir) as other:
        other.kill()

    assert load(lake, incident()).new == 1


def test_a_catalog_locked_by_another_program_is_busy_and_works_later(
    lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
input()
"""
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_MS", 100)
    with Lake.open(lake_dir) as lake:
        load(lake, incident("i1"))
        with Script(script, catalog_path(lake_dir)) as other:
            assert other.line() == "held"
            with pytest.raises(CatalogBusy, match="locked by another program"):
                load(lake, incident("i2"))

        assert load(lake, incident("i1"), incident("i2")).new == 1


LOADER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import CENTER, cell, incident, incidents, page

lake_dir, name, center_id = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print("ready", flush=True)
input()
new = 0
for number in range(3):
    with Lake.open(lake_dir) as lake:
        size = 120 if number % 2 else 8
        records = [*incidents(size, f"i{number}-"), incident("always", updated=number)]
        pages = [page(*records, center_id=center_id)]
        new += lake.load(pages, cell=cell(center_id), run_id=f"{name}-{number}").new
print(new)
"""

LOADED = 120 + 2 * 8 + 1
"""Incidents that one loader's loads hold."""


def run_together(lake_dir: Path, centers: list[str]) -> list[int]:
    """Run a loader for each of the centers, all at once; return how many incidents each found new."""
    loaders = [Script(LOADER, lake_dir, f"loader-{n}", center) for n, center in enumerate(centers)]
    for loader in loaders:
        assert loader.line() == "ready"
    for loader in loaders:
        loader.go_on()
    return [int(loader.finish()) for loader in loaders]


COUNTS = """
SELECT (SELECT count(*) FROM incidents), (SELECT count(DISTINCT (center_id, incident_id)) FROM incidents),
    (SELECT count(*) FROM incident_versions),
    (SELECT count(DISTINCT (center_id, incident_id, version_hash)) FROM incident_versions),
    (SELECT count(*) FROM coverage), (SELECT count(*) FROM watermarks), (SELECT count(*) FROM runs)
"""


def test_processes_that_load_at_once_lose_and_double_nothing(lake_dir: Path) -> None:
    """Two of them load the same center."""
    same, also_same, other = run_together(lake_dir, ["center-a", "center-a", "center-b"])

    assert same + also_same == LOADED, "each incident was new to one of them"
    assert other == LOADED
    with connect(lake_dir) as reader:
        # The incident that always changes has a version of each load.
        rows, versions = 2 * LOADED, 2 * (LOADED + 2)
        assert reader.sql(COUNTS).fetchall() == [(rows, rows, versions, versions, 2, 2, 9)]
        newest = reader.sql("SELECT DISTINCT updated_at FROM incidents WHERE incident_id = 'always'")
        assert newest.fetchall() == [(instant(2),)]


def test_threads_that_open_load_and_close_at_once_lose_and_double_nothing(lake_dir: Path) -> None:
    """The writers of a process share one DuckDB; the last to close takes it down, and another opens it."""
    centers, loads = ["center-a", "center-a", "center-b", "center-c"], 3
    barrier = threading.Barrier(len(centers))

    def work(center_id: str) -> int:
        barrier.wait()
        new = 0
        for step in range(loads):
            with Lake.open(lake_dir) as lake:
                size = 120 if step % 2 else 5
                pages = [page(*incidents(size, f"i{step}-"), center_id=center_id)]
                new += lake.load(pages, cell=cell(center_id), run_id=f"run-{step}").new
        return new

    with ThreadPoolExecutor(len(centers)) as pool:
        same, also_same, *others = pool.map(work, centers)

    each = 120 + 2 * 5
    assert same + also_same == each
    assert others == [each] * 2
    with connect(lake_dir) as reader:
        rows = 3 * each
        assert reader.sql(COUNTS).fetchall() == [(rows, rows, rows, rows, 3, 3, 4 * loads)]


def test_threads_that_open_at_once_each_meet_a_whole_lake(lake: Lake, lake_dir: Path) -> None:
    """DuckDB has the name of a database that another thread is still attaching."""
    lake.close()
    barrier = threading.Barrier(6)

    def work(_: int) -> None:
        for _ in range(2):
            barrier.wait()
            with Lake.open(lake_dir) as own:
                assert own.watermark("center-a", "incident_events") is None
            barrier.wait()  # all closed: the next to open brings DuckDB up again

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [None] * 6


def test_one_thread_may_close_while_another_is_half_way(lake_dir: Path) -> None:
    first, second = Lake.open(lake_dir), Lake.open(lake_dir)

    def pages() -> Iterator[Page]:
        yield page(incident("i1"))
        first.close()
        yield page(incident("i2"), sequence=2)

    with second:
        assert second.load(pages(), cell=cell(), run_id="run").new == 2
    with Lake.open(lake_dir) as third:
        assert load(third, incident("i3")).new == 1


READS: dict[str, Callable[[Lake], object]] = {
    "another writer": lambda lake: connection.connect_writer(
        lake.lake_dir, memory_limit_mb=112, create=False
    ),
    "watermark": lambda lake: lake.watermark(CENTER, "incident_events"),
    "coverage": lambda lake: lake.coverage([CENTER]),
    "figures": Lake.figures,
    "told": Lake.told,
    "holds": Lake.holds,
    "checks": lambda lake: lake.checks({CENTER: instant(0)}),
    "a load": lambda lake: load(lake, incident("i2", updated=60)),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists what a process has open")
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_catalog_is_let_go_of_when_an_answer_is_there(
    lake: Lake, lake_dir: Path, read: Callable[[Lake], object]
) -> None:
    # Who closes it at any later time may be in the way of a thread that is just opening it (decision 23).
    load(lake, incident())

    answer = read(lake)

    assert answer is not None
    assert not has_open(os.getpid(), catalog_path(lake_dir))


def test_two_loads_may_be_under_way_at_once_in_one_process(lake_dir: Path, ask: Ask) -> None:
    """What one has staged is not the other's."""
    with Lake.open(lake_dir) as one, Lake.open(lake_dir) as other:

        def pages() -> Iterator[Page]:
            yield page(incident("i1"), "no object", center_id="one")
            summary = load(other, incident("i2"), center_id="other")
            assert (summary.new, summary.quarantined) == (1, 0)
            yield page(incident("i3"), center_id="one", sequence=2)

        summary = one.load(pages(), cell=cell("one"), run_id="run")

    assert (summary.new, summary.quarantined) == (2, 1)
    assert ask("SELECT center_id, incident_id FROM incidents ORDER BY ALL") == [
        ("one", "i1"),
        ("one", "i3"),
        ("other", "i2"),
    ]
