"""Watermark, coverage and runs: where to go on, what was read, and what each run brought."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake import CenterFacts, Failure, Lake, opened
from dispatchlake.lake.reading import connect
from dispatchlake.model import Page
from tests.examples import examples
from tests.lake.pages import CENTER, END, Center, cell, incident, instant, load
from tests.lake.test_merge import NewCenter

HOUR = timedelta(hours=1)


def watermark(center: Center) -> datetime | None:
    return center.lake.watermark(center.center_id, "incident_events")


def land(
    center: Center, updated: float | None = None, *, answered: float | None = None, **of: Any
) -> datetime | None:
    """Land one record changed then, or none, answered then by the source's clock; return the watermark."""
    records = [] if updated is None else [incident(f"i{updated}", updated=updated)]
    answered_at = None if answered is None else instant(answered)
    return center.load_pages([center.page(*records, answered_at=answered_at)], **of).watermark


def fail(center: Center, error: str = "It was down.", run_id: str = "run", **of: Any) -> None:
    center.lake.record_failure(
        cell(center.center_id, **of), Failure(error), run_id=run_id, started_at=datetime.now(UTC)
    )


def coverage(center: Center) -> list[tuple[Any, ...]]:
    return center.ask(
        "SELECT kind, state, window_start, window_end, attempts, last_error FROM coverage ORDER BY ALL"
    )


def complete_through(center: Center) -> list[tuple[Any, ...]]:
    return center.ask("SELECT resource, complete_through FROM complete_through ORDER BY ALL")


# --- watermark --------------------------------------------------------------------------------------


def test_there_is_no_watermark_before_the_first_record(center: Center) -> None:
    assert watermark(center) is None
    land(center)
    assert watermark(center) is None
    assert coverage(center) == [("ingest", "complete", None, END, 1, None)]


def test_the_watermark_stays_behind_the_newest_change_by_as_long_as_reading_took(center: Center) -> None:
    """What changed while we read may have been missed; the next run reads from where this one began."""
    reading_s = 0.3

    def slowly() -> Iterator[Page]:
        yield center.page(incident("i1", updated=100))
        time.sleep(reading_s)
        yield center.page(incident("i2", updated=50), sequence=2)

    summary = center.load_pages(slowly())

    assert summary.watermark is not None
    assert summary.watermark == watermark(center)
    assert instant(100 - 60) < summary.watermark <= instant(100 - reading_s)
    assert center.ask("SELECT watermark_at FROM watermarks") == [(summary.watermark,)]


def test_what_a_machine_sleeps_through_while_it_reads_counts_as_reading(
    center: Center, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux stops its plain monotonic clock meanwhile; the center goes on."""
    asked = time.clock_gettime

    def suspended() -> Iterator[Page]:
        yield center.page(incident("i1", updated=7300))
        monkeypatch.setattr(
            time, "clock_gettime", lambda clock: asked(clock) + 7200 * (clock == time.CLOCK_BOOTTIME)
        )
        yield center.page(incident("i2", updated=50), sequence=2)

    summary = center.load_pages(suspended())

    assert summary.watermark is not None
    assert instant(0) < summary.watermark <= instant(100)


def test_the_watermark_never_goes_back(center: Center) -> None:
    land(center, 1000)
    before = watermark(center)

    land(center, 10)
    assert watermark(center) == before
    land(center)
    assert watermark(center) == before

    land(center, 2000)
    after = watermark(center)
    assert before is not None
    assert after is not None
    assert after > before
    assert center.ask("SELECT count(*) FROM watermarks") == [(1,)]


def test_a_record_dated_in_the_future_moves_the_watermark_to_the_windows_end_at_most(center: Center) -> None:
    year_s = 365 * 86_400.0

    land(center, year_s)

    assert watermark(center) == END


def test_a_record_dated_in_the_future_counts_as_of_now_by_the_sources_clock(center: Center) -> None:
    """Our clock is a day fast: until then nothing would be asked for."""
    land(center, 100)

    land(center, 50_000, answered=200)

    moved = watermark(center)
    assert moved is not None
    assert instant(200 - 60) < moved <= instant(200)


def test_a_watermark_ahead_of_the_sources_clock_goes_back_to_what_was_read(center: Center) -> None:
    land(center, 100)
    land(center, 200)
    read_until = watermark(center)
    land(center, 365 * 86_400.0)
    assert watermark(center) == END

    again = land(center, 365 * 86_400.0, answered=300, start=END - HOUR, end=END + HOUR)

    assert again == watermark(center)
    assert read_until is not None
    assert again is not None
    assert read_until - timedelta(minutes=1) < again <= read_until
    further = land(center, 400, answered=500, start=again)
    assert further is not None
    assert again < further <= instant(400)
    assert center.ask("SELECT watermark_at FROM watermarks") == [(further,)]


def test_a_watermark_goes_back_no_further_than_to_when_it_was_read_whatever_came_then(center: Center) -> None:
    """What came then was dated in the future as well, of which some is past by now."""
    read_at = datetime.now(UTC)
    at = (read_at - instant(0)).total_seconds()
    land(center, at + 1800, answered=at, end=read_at)
    land(center, at + 86_400, end=read_at + timedelta(days=2))

    later = read_at + timedelta(days=1)
    again = land(center, answered=at + 7200, start=later, end=later + HOUR)

    assert again is not None
    assert read_at - timedelta(minutes=1) < again <= datetime.now(UTC)


def test_where_nothing_tells_until_when_was_read_all_is_read_anew(center: Center) -> None:
    """Also where another run lands meanwhile, that had begun at the watermark as it was."""
    land(center, 365 * 86_400.0)
    assert watermark(center) == END
    ahead = {"start": END - HOUR, "end": END + HOUR}

    anew = land(center, answered=300, **ahead)

    assert anew == watermark(center) == datetime(1970, 1, 1, tzinfo=UTC)
    assert land(center, 365 * 86_400.0, answered=400, **ahead) == anew
    further = land(center, 365 * 86_400.0, answered=500, start=anew)
    assert further is not None
    assert instant(500 - 60) < further <= instant(500)


@pytest.mark.parametrize("answered", [None, 300])
def test_a_source_that_does_not_say_or_is_not_behind_takes_no_watermark_back(
    center: Center, answered: float | None
) -> None:
    land(center, 200)
    before = watermark(center)

    land(center, 100, answered=answered)

    assert watermark(center) == before


def test_a_reading_that_began_after_the_watermark_leaves_it_alone(center: Center) -> None:
    """Another process may know one that was ahead, and has gone back since."""
    land(center, 100)
    before = watermark(center)

    land(center, 5000, start=instant(4000))

    assert watermark(center) == before


def test_a_backfill_leaves_the_watermark_alone(center: Center) -> None:
    land(center, 5000, kind="backfill")
    assert watermark(center) is None

    land(center, 1000)
    before = watermark(center)
    land(center, 6000, kind="backfill")
    assert watermark(center) == before


@pytest.mark.parametrize(
    "stamp", ["0001-01-01 00:00:00 UTC", "1899-12-30T00:00:00Z", "1900-01-01 00:00:00 UTC"]
)
def test_a_date_that_stands_for_none_is_no_watermark(center: Center, stamp: str) -> None:
    center.load(incident("i1") | {"updated_at": stamp})

    assert center.ask("SELECT count(*) FROM incidents") == [(1,)]
    assert watermark(center) is None


def test_each_center_and_resource_has_a_watermark_of_its_own(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()

    one.load(incident("i1", updated=100))
    other.load(incident("i1", updated=5000))
    one.load(incident("i1", updated=9000), resource="cad_incidents")

    watermarks = [
        one.lake.watermark(one.center_id, "incident_events"),
        other.lake.watermark(other.center_id, "incident_events"),
        one.lake.watermark(one.center_id, "cad_incidents"),
    ]
    assert all(w is not None for w in watermarks)
    assert watermarks == sorted(watermarks)  # type: ignore[type-var]  # none is None
    assert len(set(watermarks)) == 3


def watermark_of(lake: Lake) -> datetime | None:
    return lake.watermark(CENTER, "incident_events")


def another_process(lake_dir: Path) -> Lake:
    """Open the lake with a DuckDB of its own, which knows nothing of what this one knows."""
    return Lake.open(lake_dir, memory_limit_mb=96)


def test_a_watermark_that_another_process_made_is_found(lake: Lake, lake_dir: Path) -> None:
    assert watermark_of(lake) is None

    with another_process(lake_dir) as other:
        load(other, incident("i1", updated=60))

        assert watermark_of(lake) == watermark_of(other) is not None


def test_where_another_process_has_come_further_nothing_goes_back(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident("i1", updated=60))
    known = watermark_of(lake)
    with another_process(lake_dir) as other:
        load(other, incident("i2", updated=6000))
        further = watermark_of(other)
    assert known is not None
    assert further is not None
    assert known < further
    assert watermark_of(lake) == known, "read again from there, which brings nothing new"

    load(lake, incident("i3", updated=70))

    assert watermark_of(lake) == further
    with another_process(lake_dir) as other:
        assert watermark_of(other) == further


def test_cells_that_bring_nothing_of_their_own_ask_the_lake_once_between_them(
    lake: Lake, lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = [CenterFacts(CENTER, "Houston", "America/Chicago")]
    lake.remember_centers(facts)
    load(lake, incident("i1", updated=60))
    cells = 16
    sessions: list[str] = []
    begin = opened.another_session

    def counted(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        sessions.append(threading.current_thread().name)
        return begin(connection)

    monkeypatch.setattr(opened, "another_session", counted)
    together = threading.Barrier(cells)

    def begin_cell(_: int) -> datetime | None:
        with Lake.open(lake_dir, memory_limit_mb=96) as one:  # in a DuckDB of which nothing is known yet
            together.wait()
            one.remember_centers(facts)
            found = watermark_of(one)
            together.wait()
            return found

    with ThreadPoolExecutor(cells) as pool:
        found = set(pool.map(begin_cell, range(cells)))

    assert found == {watermark_of(lake)}
    assert 1 <= len(sessions) <= 2, "one thread may ask for centers and another one for watermarks"


def test_what_is_known_of_a_lake_is_forgotten_when_it_is_closed(
    lake: Lake, lake_dir: Path, tmp_path: Path
) -> None:
    """A lake may be put in its place meanwhile that is older: its watermarks count."""
    lake.remember_centers([CenterFacts(CENTER, "Houston", "America/Chicago")])
    load(lake, incident("i1", updated=60))
    older = watermark_of(lake)
    with Lake.open(lake_dir) as same:
        lake.close()
        assert watermark_of(same) == older, "somebody has it open still"
    shutil.copytree(lake_dir, tmp_path / "older")
    with Lake.open(lake_dir) as newer:
        load(newer, incident("i2", updated=6000))
        newer.remember_centers([CenterFacts(CENTER, "Houston", "America/Denver")])
        assert watermark_of(newer) != older
    shutil.rmtree(lake_dir)
    (tmp_path / "older").rename(lake_dir)

    with Lake.open(lake_dir) as restored, connect(lake_dir) as reader:
        restored.remember_centers([CenterFacts(CENTER, "Houston", "America/Denver")])

        assert watermark_of(restored) == older
        assert reader.sql("SELECT time_zone FROM centers").fetchall() == [("America/Denver",)]


@examples(4)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000), st.booleans()), max_size=4))
def test_a_watermark_only_moves_forward_and_never_past_what_was_read(
    new_center: NewCenter, loads: list[tuple[int, int, bool]]
) -> None:
    center = new_center()
    before: datetime | None = None

    for updated, end, is_backfill in loads:
        land(center, updated, end=instant(end), kind="backfill" if is_backfill else "ingest")
        after = watermark(center)
        if is_backfill:
            assert after == before
        elif before is not None:
            assert after is not None
            assert after >= before
        if after != before:
            assert after is not None
            assert after <= min(instant(updated), instant(end))
        before = after


# --- coverage ---------------------------------------------------------------------------------------


def test_live_readings_grow_one_row(center: Center) -> None:
    land(center, end=END)
    land(center, start=END - HOUR, end=END + HOUR)
    land(center, start=END, end=END + 3 * HOUR)

    assert coverage(center) == [("ingest", "complete", None, END + 3 * HOUR, 1, None)]
    assert complete_through(center) == [("incident_events", END + 3 * HOUR)]


def test_a_live_reading_since_a_day_begins_there_until_an_earlier_one_is_read(center: Center) -> None:
    land(center, start=END - HOUR, end=END)
    assert coverage(center) == [("ingest", "complete", END - HOUR, END, 1, None)]

    land(center, start=END - 9 * HOUR, end=END - HOUR)
    assert coverage(center) == [("ingest", "complete", END - 9 * HOUR, END, 1, None)]

    land(center, end=END - 2 * HOUR)
    assert coverage(center) == [("ingest", "complete", None, END, 1, None)]


def test_a_reading_that_leaves_a_gap_claims_nothing_and_the_next_one_fills_it(center: Center) -> None:
    """`ingest --since` a day after the last run: what changed in between has not been read."""
    land(center, 1000, end=END)
    before = watermark(center)

    land(center, 200_000, start=END + HOUR, end=END + 2 * HOUR)

    assert complete_through(center) == [("incident_events", END)]
    assert watermark(center) == before
    assert coverage(center) == [
        ("backfill", "complete", END + HOUR, END + 2 * HOUR, 1, None),
        ("ingest", "complete", None, END, 1, None),
    ]

    land(center, start=before, end=END + 3 * HOUR)
    assert complete_through(center) == [("incident_events", END + 3 * HOUR)]


def test_a_failure_is_recorded_counted_and_forgotten_after_a_success(center: Center) -> None:
    land(center, end=END)
    fail(center, "First.", start=END - HOUR, end=END + HOUR)
    fail(center, "Second.", start=END - HOUR, end=END + 2 * HOUR)

    assert coverage(center) == [
        ("ingest", "complete", None, END, 1, None),
        ("ingest", "failed", END - HOUR, END + 2 * HOUR, 2, "Second."),
    ]
    assert complete_through(center) == [("incident_events", END)], "a failure completes nothing"

    land(center, start=END - HOUR, end=END + 3 * HOUR)
    assert coverage(center) == [("ingest", "complete", None, END + 3 * HOUR, 1, None)]

    fail(center, "Third.", start=END, end=END + 4 * HOUR)
    assert coverage(center)[1][4:] == (1, "Third."), "attempts are counted since the last success"


def test_a_center_that_never_could_be_read_has_a_failure_and_nothing_complete(center: Center) -> None:
    fail(center)

    assert coverage(center) == [("ingest", "failed", None, END, 1, "It was down.")]
    assert complete_through(center) == []


def test_each_window_of_a_backfill_has_a_row_of_its_own(center: Center) -> None:
    windows: list[dict[str, Any]] = [{"start": END + n * HOUR, "end": END + (n + 1) * HOUR} for n in range(3)]
    land(center, **windows[0], kind="backfill")
    fail(center, **windows[1], kind="backfill")
    fail(center, **windows[1], kind="backfill")
    fail(center, **windows[2], kind="backfill")
    land(center, **windows[2], kind="backfill")
    land(center, **windows[0], kind="backfill")

    assert coverage(center) == [
        ("backfill", "complete", END, END + HOUR, 1, None),
        ("backfill", "complete", END + 2 * HOUR, END + 3 * HOUR, 1, None),
        ("backfill", "failed", END + HOUR, END + 2 * HOUR, 2, "It was down."),
    ]
    assert complete_through(center) == [], "only the live reading is complete through a time"


def test_a_backfill_that_fails_over_a_window_it_had_read_leaves_it_complete(center: Center) -> None:
    window: dict[str, Any] = {"start": END, "end": END + HOUR, "kind": "backfill"}
    land(center, **window)
    fail(center, **window)

    assert [row[:2] for row in coverage(center)] == [("backfill", "complete"), ("backfill", "failed")]

    land(center, **window)
    assert [row[:2] for row in coverage(center)] == [("backfill", "complete")]


def test_coverage_of_one_center_and_resource_is_not_anothers(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()
    one.load(incident())
    fail(one, resource="cad_incidents")
    fail(other)

    one.load(incident(), resource="cad_incidents")

    assert one.ask("SELECT resource, state FROM coverage ORDER BY ALL") == [
        ("cad_incidents", "complete"),
        ("incident_events", "complete"),
    ]
    assert other.ask("SELECT resource, state FROM coverage") == [("incident_events", "failed")]


def test_coverage_tells_how_many_records_the_last_run_read(center: Center) -> None:
    center.load(incident("i1"), incident("i2"), "no object")
    center.load_pages([center.page(incident("i1"))], run_id="last")

    assert center.ask("SELECT records, run_id, updated_at <= now() FROM coverage") == [(1, "last", True)]


# --- runs -------------------------------------------------------------------------------------------


def test_a_run_that_landed_has_a_row_of_what_it_brought(center: Center) -> None:
    center.load(incident("i1"), incident("i2"))
    before = datetime.now(UTC)

    summary = center.load_pages(
        [
            center.page(incident("i1"), incident("i2", updated=5), incident("i3", created=-9), "no object"),
            center.page(sequence=2),
        ],
        run_id="second",
    )

    rows = center.ask(
        """SELECT * EXCLUDE (center_id, started_at, seconds) FROM runs
        WHERE run_id = 'second'"""
    )
    assert rows == [
        ("second", "incident_events", "landed", None, 2, 4, 1, 1, 1, 1, instant(-9), instant(5),
         "ingest", None, 0, None)
    ]  # fmt: skip
    ((started_at, seconds),) = center.ask("SELECT started_at, seconds FROM runs WHERE run_id = 'second'")
    assert before <= started_at <= datetime.now(UTC)
    assert seconds == summary.seconds >= 0


def test_a_run_that_failed_has_a_row_with_its_reason(center: Center) -> None:
    started_at = datetime.now(UTC) - timedelta(seconds=30)

    center.lake.record_failure(
        cell(center.center_id),
        Failure("The center's gone.", "CenterUnavailable", logins=2),
        run_id="bad",
        started_at=started_at,
    )

    assert center.ask("SELECT * EXCLUDE (center_id, seconds) FROM runs") == [
        (
            "bad",
            "incident_events",
            "failed",
            "The center's gone.",
            *[None] * 8,
            started_at,
            "ingest",
            "CenterUnavailable",
            2,
            None,
        )
    ]
    ((seconds,),) = center.ask("SELECT seconds FROM runs")
    assert seconds >= 30


def test_every_try_of_a_run_has_a_row(center: Center) -> None:
    fail(center, "First.")
    fail(center, "Second.")
    land(center, 1)

    assert center.ask("SELECT run_id, state, error FROM runs ORDER BY started_at, state") == [
        ("run", "failed", "First."),
        ("run", "failed", "Second."),
        ("run", "landed", None),
    ]
