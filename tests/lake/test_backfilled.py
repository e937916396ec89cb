"""Coverage of backfills: several windows in one commit, counted, and failures that are forgotten in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatchlake.lake import Cell, Failure, LoadSummary
from dispatchlake.windows import Window
from tests.lake.pages import Center, cell, incident, instant

HOUR_S = 3600.0


def windows(*hours: int) -> list[Window]:
    """Return the hours so many after the start."""
    return [Window(instant(hour * HOUR_S), instant((hour + 1) * HOUR_S)) for hour in hours]


def spanning(center: Center, asked: list[Window]) -> Cell:
    span = cell(center.center_id, start=asked[0].start, end=asked[-1].end, kind="backfill")
    return replace(span, windows=tuple(asked))


def load(center: Center, *hours: int, records: list[dict[str, Any]], run_id: str = "run") -> LoadSummary:
    asked = windows(*hours)
    return center.lake.load([center.page(*records)], cell=spanning(center, asked), run_id=run_id)


def fail(center: Center, *hours: int, error: str = "It was down.") -> None:
    asked = windows(*hours)
    failure = Failure(error)
    center.lake.record_failure(spanning(center, asked), failure, run_id="run", started_at=datetime.now(UTC))


def coverage(center: Center) -> list[tuple[Any, ...]]:
    return center.ask(
        f"""SELECT kind, state, epoch(window_start - '{instant(0)}'::TIMESTAMPTZ) // {HOUR_S} AS hour,
        records, attempts, last_error FROM coverage ORDER BY ALL"""
    )


def at(hour: float, name: str) -> dict[str, Any]:
    return incident(name, updated=hour * HOUR_S)


def test_one_reading_fills_several_windows_and_counts_each(center: Center) -> None:
    records = [at(0, "a"), at(0.999, "b"), at(1, "c"), at(3.5, "d"), at(9, "later")]

    summary = load(center, 0, 1, 3, records=records)

    assert summary.records == summary.new == 5, "what lies beside the windows lands too"
    assert summary.window_records == (2, 1, 1)
    assert coverage(center) == [
        ("backfill", "complete", hour, count, 1, None) for hour, count in ((0, 2), (1, 1), (3, 1))
    ]


def test_a_window_without_a_record_is_complete_too(center: Center) -> None:
    assert load(center, 0, 1, records=[]).window_records == (0, 0)
    assert [row[1] for row in coverage(center)] == ["complete", "complete"]


def test_a_record_set_aside_is_in_no_window_and_stops_none(center: Center) -> None:
    summary = load(center, 0, records=[at(0, "a"), {"id": "odd"}])

    assert summary.quarantined == 1
    assert summary.window_records == (1,)


def test_reading_the_same_again_changes_nothing_but_who_read_it(center: Center) -> None:
    load(center, 0, 1, records=[at(0, "a")])
    before = coverage(center)

    again = load(center, 0, 1, records=[at(0, "a")], run_id="again")

    assert (again.new, again.changed) == (0, 0)
    assert coverage(center) == before
    assert center.ask("SELECT DISTINCT run_id FROM coverage") == [("again",)]


def test_each_window_of_a_failed_reading_is_failed_and_its_tries_are_counted(center: Center) -> None:
    fail(center, 0, 1)
    fail(center, 1, 2, error="Still down.")

    assert coverage(center) == [
        ("backfill", "failed", 0, 0, 1, "It was down."),
        ("backfill", "failed", 1, 0, 2, "Still down."),
        ("backfill", "failed", 2, 0, 1, "Still down."),
    ]


def test_a_failure_leaves_complete_what_was_and_a_success_forgets_it(center: Center) -> None:
    load(center, 0, records=[])
    fail(center, 0)
    assert [row[1] for row in coverage(center)] == ["complete", "failed"]

    load(center, 0, records=[])
    assert [row[1] for row in coverage(center)] == ["complete"]


def test_a_longer_window_forgets_the_failures_within_it_and_no_others(center: Center) -> None:
    fail(center, 0, 1, 2)
    whole = Window(instant(0), instant(2 * HOUR_S))

    center.lake.load([center.page()], cell=spanning(center, [whole]), run_id="run")

    assert [(row[1], row[2]) for row in coverage(center)] == [("complete", 0), ("failed", 2)]


@pytest.mark.parametrize(("start", "left"), [(None, [3]), (1 * HOUR_S, [0, 3])])
def test_a_live_reading_forgets_the_failures_within_what_it_has_read(
    center: Center, start: float | None, left: list[int]
) -> None:
    fail(center, 0, 1, 2, 3)

    center.load_pages([], start=None if start is None else instant(start), end=instant(3 * HOUR_S))

    assert [row[2] for row in coverage(center) if row[1] == "failed"] == left


def test_a_backfill_of_many_windows_leaves_watermark_and_complete_through_alone(center: Center) -> None:
    center.load(incident("live", updated=5))
    before = center.ask("SELECT * FROM watermarks"), center.ask("FROM complete_through")

    load(center, *range(20), records=[at(19, "later")])

    assert (center.ask("SELECT * FROM watermarks"), center.ask("FROM complete_through")) == before


def test_coverage_is_read_back_by_listing(center: Center) -> None:
    load(center, 0, records=[])
    fail(center, 1)
    center.load(incident("live"))

    found = center.lake.coverage([center.center_id])

    assert set(found) == {(center.center_id, "incident_events")}
    rows = found[center.center_id, "incident_events"]
    assert {(row.kind, row.state, row.window) for row in rows} >= {
        ("backfill", "complete", windows(0)[0]),
    }
    assert all(row.updated_at.tzinfo for row in rows)
    assert center.lake.coverage([]) == {}
