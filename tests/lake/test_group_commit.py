"""Loads that wait at the same time are landed by one commit, and each is as if it had landed alone."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from filelock import FileLock

from dispatchlake.errors import CatalogBusy, LakeError
from dispatchlake.lake import Lake, LoadSummary, ledger, loads
from dispatchlake.lake.group_commit import GroupCommit, group_commit
from dispatchlake.lake.loads import Load
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.lake.staging import Staging
from dispatchlake.lake.watermarks import KnownWatermarks
from tests.lake.conftest import Ask
from tests.lake.pages import END, START, cell, incident, incidents, instant, page
from tests.waiting import wait_until


class Loads:
    """Loads that are read now, each in a thread of its own, and landed once the lake's lock is let go of."""

    def __init__(self, lake_dir: Path, pool: ThreadPoolExecutor) -> None:
        self._lake_dir, self._pool = lake_dir, pool
        self._begun = 0

    def begin(
        self, *records: Any, center_id: str, lock_wait_s: float = 60, **of_cell: Any
    ) -> Future[LoadSummary]:
        """Read a page of these records, and wait until that load waits for its turn."""

        def load() -> LoadSummary:
            with Lake.open(self._lake_dir, lock_wait_s=lock_wait_s) as lake:
                resource = of_cell.get("resource", "incident_events")
                pages = [page(*records, center_id=center_id, resource=resource)]
                return lake.load(pages, cell=cell(center_id, **of_cell), run_id=f"run of {center_id}")

        future = self._pool.submit(load)
        self._begun += 1
        turns = group_commit(self._lake_dir)
        # The first has its turn already, and waits for the lock.
        wait_until(lambda: (turns._turn.locked() and len(turns._waiting) == self._begun - 1) or future.done())
        return future


@contextmanager
def held_up(lake_dir: Path) -> Iterator[Loads]:
    """Hold the lake's lock until the block ends."""
    with ThreadPoolExecutor(12) as pool, FileLock(lake_dir / "commit.lock"):
        yield Loads(lake_dir, pool)


def commits(ask: Ask) -> int:
    ((count,),) = ask("SELECT count(*) FROM ducklake_snapshots('lake')")
    return int(count)


@pytest.mark.usefixtures("lake")
def test_what_waits_is_landed_by_one_commit_and_each_as_if_alone(lake_dir: Path, ask: Ask) -> None:
    before = commits(ask)
    with held_up(lake_dir) as waiting:
        first = waiting.begin(incident("i0"), center_id="first")
        events = [
            waiting.begin(*incidents(number), "no object", center_id=f"center-{number}", end=instant(number))
            for number in range(1, 4)
        ]
        cads = [
            waiting.begin(*incidents(7), center_id="center-1", resource="cad_incidents"),
            waiting.begin(*incidents(9), center_id="center-9", resource="cad_incidents"),
        ]
        backfill = waiting.begin(*incidents(8), center_id="center-8", kind="backfill", start=START)
        nothing = waiting.begin(center_id="quiet")

    assert commits(ask) == before + 2, "the first, and all the others together"
    assert first.result().new == 1
    for number, summary in enumerate((one.result() for one in events), 1):
        assert (summary.records, summary.new, summary.quarantined) == (number + 1, number, 1)
        assert summary.newest_updated_at == instant(number - 1)
        assert summary.oldest_created_at == START
    assert [one.result().new for one in cads] == [7, 9]
    assert backfill.result().new == 8
    assert (nothing.result().records, nothing.result().watermark) == (0, None)
    assert ask("SELECT center_id, count(*) FROM incidents GROUP BY ALL ORDER BY ALL") == [
        *((f"center-{number}", number) for number in (1, 2, 3, 8)),
        ("first", 1),
    ]
    assert ask("SELECT center_id, count(*) FROM incident_versions GROUP BY ALL ORDER BY ALL") == [
        *((f"center-{number}", number) for number in (1, 2, 3, 8)),
        ("first", 1),
    ]
    assert ask("SELECT center_id, count(*) FROM quarantine GROUP BY ALL ORDER BY ALL") == [
        (f"center-{number}", 1) for number in (1, 2, 3)
    ]
    assert ask(
        "SELECT center_id, resource, kind, window_end, records, run_id FROM coverage ORDER BY ALL"
    ) == [
        *(
            ("center-1", *of, "run of center-1")
            for of in (
                ("cad_incidents", "ingest", END, 7),
                ("incident_events", "ingest", instant(1), 2),
            )
        ),
        ("center-2", "incident_events", "ingest", instant(2), 3, "run of center-2"),
        ("center-3", "incident_events", "ingest", instant(3), 4, "run of center-3"),
        ("center-8", "incident_events", "backfill", END, 8, "run of center-8"),
        ("center-9", "cad_incidents", "ingest", END, 9, "run of center-9"),
        ("first", "incident_events", "ingest", END, 1, "run of first"),
        ("quiet", "incident_events", "ingest", END, 0, "run of quiet"),
    ]
    watermarks = dict(
        ask("SELECT center_id || ' ' || resource, watermark_at <= now() FROM watermarks ORDER BY ALL")
    )
    assert set(watermarks) == {
        "center-1 cad_incidents", "center-1 incident_events", "center-2 incident_events",
        "center-3 incident_events", "center-9 cad_incidents", "first incident_events",
    }  # fmt: skip
    assert ask("SELECT center_id, run_id FROM runs WHERE run_id <> 'run of ' || center_id") == []
    assert ask("SELECT center_id, run_id FROM raw_pages WHERE run_id <> 'run of ' || center_id") == []
    assert ask("SELECT count(*) FROM runs") == ask("SELECT count(*) FROM raw_pages") == [(8,)]


@pytest.mark.usefixtures("lake")
def test_what_is_wrong_with_one_is_its_own_affair(lake_dir: Path, ask: Ask) -> None:
    add = Staging.add

    def spoil(self: Staging, pages: Any) -> None:
        add(self, pages)
        if pages.records["center_id"].to_pylist() == ["bad"]:
            rows = self.staged.waiting[0]
            column = rows.schema.get_field_index("created_at")
            self.staged.waiting = [rows.set_column(column, "created_at", pa.array(["no time"]))]

    with mock.patch.object(Staging, "add", spoil), held_up(lake_dir) as waiting:
        begun = {
            center_id: waiting.begin(incident(), center_id=center_id)
            for center_id in ("first", "good", "bad", "better")
        }

    with pytest.raises(LakeError, match="could not be read or written"):
        begun.pop("bad").result()
    assert [one.result().new for one in begun.values()] == [1, 1, 1]
    assert ask("SELECT center_id FROM incidents ORDER BY ALL") == [("better",), ("first",), ("good",)]
    assert ask("SELECT center_id FROM runs WHERE center_id = 'bad'") == []


@pytest.mark.usefixtures("lake")
def test_two_loads_of_one_listing_are_landed_one_after_the_other(lake_dir: Path, ask: Ask) -> None:
    groups: list[list[str]] = []
    land = loads.land_loads

    def note(connection: Any, group: Sequence[Load]) -> list[LoadSummary]:
        groups.append([load.cell.center_id for load in group])
        return land(connection, group)

    with mock.patch("dispatchlake.lake.lake.land_loads", note), held_up(lake_dir) as waiting:
        waiting.begin(incident(), center_id="first")
        twice = [waiting.begin(incident("i1", updated=second), center_id="same") for second in (5, 3)]
        waiting.begin(incident(), center_id="other")

    assert sorted(len(group) for group in groups) == [1, 1, 2]
    assert all(len(set(group)) == len(group) for group in groups)
    assert sum(one.result().new for one in twice) == 1
    assert ask("SELECT updated_at FROM incidents WHERE center_id = 'same'") == [(instant(5),)]
    assert len(ask("FROM incident_versions WHERE center_id = 'same'")) == 2


def test_a_load_that_was_read_before_an_erasure_fails_alone(lake: Lake, lake_dir: Path, ask: Ask) -> None:
    with held_up(lake_dir) as waiting:
        first = waiting.begin(incident(), center_id="first")
        before = [waiting.begin(incident(), center_id=f"before-{number}") for number in range(2)]
        ledger.write(lake_dir, ledger.read(lake_dir).with_cutoff("elsewhere", START))
        after = [waiting.begin(incident(), center_id=f"after-{number}") for number in range(2)]

    for one in (first, *before):
        with pytest.raises(CatalogBusy, match="Calls were erased while this was read"):
            one.result()
    assert [one.result().new for one in after] == [1, 1]
    assert ask("SELECT center_id FROM incidents ORDER BY ALL") == [("after-0",), ("after-1",)]


@pytest.fixture
def interruption() -> Iterator[int]:
    """A signal that interrupts the main thread, as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("lake")
def test_a_load_that_is_interrupted_while_it_waits_is_landed_by_nobody(
    lake_dir: Path, ask: Ask, interruption: int
) -> None:
    """What it has staged is dropped: landed by another all the same, it would be told complete without it."""
    main, turns = threading.get_ident(), group_commit(lake_dir)

    def interrupt_once_it_waits() -> None:
        wait_until(lambda: len(turns._waiting) == 1)
        signal.pthread_kill(main, interruption)

    with held_up(lake_dir) as waiting, Lake.open(lake_dir, lock_wait_s=60) as lake:
        first = waiting.begin(incident(), center_id="first")
        threading.Thread(target=interrupt_once_it_waits).start()
        with pytest.raises(KeyboardInterrupt):
            lake.load([page(incident(), center_id="interrupted")], cell=cell("interrupted"), run_id="run")
        assert turns._waiting == []
        other = waiting.begin(incident(), center_id="other")

    assert [first.result().new, other.result().new] == [1, 1]
    assert ask("SELECT center_id FROM coverage ORDER BY ALL") == [("first",), ("other",)]
    assert turns._outcomes == {}


def test_a_load_that_is_interrupted_while_another_lands_it_waits_for_that(interruption: int) -> None:
    main, turns = threading.get_ident(), GroupCommit()
    landed: list[str] = []

    def land(group: Sequence[Load]) -> list[LoadSummary]:
        signal.pthread_kill(main, interruption)
        time.sleep(0.2)  # long enough for who would not wait
        landed.extend(load.cell.center_id for load in group)
        return [mock.Mock() for _ in group]

    def land_both() -> None:
        with turns._turn:
            wait_until(lambda: bool(turns._waiting))
            turns._land_group(turns._take(a_load("leader")), land)

    with ThreadPoolExecutor(1) as pool:
        leading = pool.submit(land_both)
        wait_until(turns._turn.locked)
        with pytest.raises(KeyboardInterrupt):
            turns.land(a_load("interrupted"), land)
        assert landed == ["leader", "interrupted"]
        leading.result()
    assert [load.cell.center_id for load in turns._outcomes] == ["leader"]


@pytest.mark.usefixtures("lake")
def test_what_was_landed_by_a_thread_that_is_then_interrupted_is_not_landed_twice(
    lake_dir: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed: list[int] = []

    def interrupt(_self: KnownWatermarks, summaries: Sequence[LoadSummary]) -> None:
        """Asked after each commit."""
        landed.append(len(summaries))
        if len(summaries) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(KnownWatermarks, "note", interrupt)
    with held_up(lake_dir) as waiting:
        waiting.begin(incident(), center_id="first")
        others = [waiting.begin(incident(), center_id=f"center-{number}") for number in range(2)]

    errors = [one.exception(timeout=60) for one in others]
    assert sorted(type(one).__name__ for one in errors) == ["CatalogBusy", "KeyboardInterrupt"]
    assert landed == [1, 2]
    assert ask(
        "SELECT max(pages), max(runs) FROM (SELECT count(*) AS pages FROM raw_pages GROUP BY raw_id), "
        "(SELECT count(*) AS runs FROM runs GROUP BY center_id)"
    ) == [(1, 1)]


def a_load(center_id: str) -> Load:
    """A load of nothing, that no lake is needed for."""
    staging = Staging(mock.Mock(side_effect=AssertionError), record_type_of(cell().resource))
    return Load(cell(center_id), "run", staging, [], ledger.NO_FILE, START, timedelta(), None, 0)


@pytest.mark.usefixtures("lake")
def test_who_waited_too_long_for_the_lock_is_told_with_all_that_waited_with_it(lake_dir: Path) -> None:
    with held_up(lake_dir) as waiting:
        begun = [
            waiting.begin(incident(), center_id=f"center-{number}", lock_wait_s=2.0) for number in range(5)
        ]
        for one in begun:
            with pytest.raises(CatalogBusy, match="Another writer has held the lake"):
                one.result(timeout=30)
