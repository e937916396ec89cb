"""New, changed and unchanged records: the newest of each is current, and every version is kept once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatchlake.lake import LoadSummary, archive
from tests.lake.pages import END, Center, incident, incidents, instant, stamp

Current = Callable[[], list[tuple[Any, ...]]]
NewCenter = Callable[[], Center]

RECORD_TABLES = ("incidents", "incident_versions")


@pytest.fixture
def current(center: Center) -> Current:
    """Id, phone and stamps of the current rows."""
    return lambda: center.ask(
        "SELECT incident_id, caller_phone_number, updated_at, created_at FROM incidents ORDER BY ALL"
    )


def counts(summary: LoadSummary) -> tuple[int, int, int, int]:
    return summary.new, summary.changed, summary.unchanged, summary.quarantined


def test_a_new_record_is_current_and_a_version(center: Center, current: Current) -> None:
    summary = center.load(incident("i1", updated=5, caller_phone_number="a"))

    assert counts(summary) == (1, 0, 0, 0)
    assert current() == [("i1", "a", instant(5), instant(0))]
    assert center.ask("SELECT * FROM incidents") == center.ask("SELECT * FROM incident_versions")


def test_a_changed_record_replaces_the_current_row_and_adds_a_version(
    center: Center, current: Current
) -> None:
    center.load(incident("i1", updated=5, caller_phone_number="a"))

    summary = center.load(incident("i1", updated=6, caller_phone_number="b"))

    assert counts(summary) == (0, 1, 0, 0)
    assert current() == [("i1", "b", instant(6), instant(0))]
    assert center.ask("SELECT caller_phone_number FROM incident_versions ORDER BY updated_at") == [
        ("a",),
        ("b",),
    ]


@pytest.mark.parametrize("count", [3, 150], ids=["kept in the catalog", "kept in files"])
def test_an_unchanged_record_writes_nothing(center: Center, count: int) -> None:
    records = incidents(count)
    center.load(*records)
    before, files = newest_snapshot(center), files_of(center)

    summary = center.load(*reversed(records))

    assert counts(summary) == (0, 0, count, 0)
    after = newest_snapshot(center)
    assert after > before, "the page, the coverage and the run are written"
    for table in RECORD_TABLES:
        assert center.ask(f"FROM lake.table_changes('{table}', {before + 1}, {after})") == []
    assert files_of(center) == files


def newest_snapshot(center: Center) -> int:
    ((snapshot,),) = center.ask("SELECT max(snapshot_id) FROM lake.snapshots()")
    return int(snapshot)


def files_of(center: Center) -> list[str]:
    return [
        row[0]
        for table in RECORD_TABLES
        for row in center.ask(f"SELECT data_file FROM ducklake_list_files('lake', '{table}') ORDER BY ALL")
    ]


def test_the_same_record_twice_in_one_load_is_one(center: Center, current: Current) -> None:
    record = incident("i1", caller_phone_number="a")

    summary = center.load_pages([center.page(record, record), center.page(record, sequence=2)])

    assert counts(summary) == (1, 0, 2, 0)
    assert len(current()) == 1
    assert center.ask("SELECT count(*) FROM incident_versions") == [(1,)]


def test_a_version_keeps_the_page_and_time_it_was_first_read(center: Center) -> None:
    record = incident("i1")
    center.load_pages(
        [center.page(record, sequence=1), center.page(record, sequence=2, received_at=END + timedelta(1))]
    )
    center.load_pages([center.page(record, sequence=3, received_at=END + timedelta(2))])

    rows = center.ask(
        """SELECT sequence, v.received_at, v.source
        FROM incident_versions AS v JOIN raw_pages USING (center_id, raw_id)"""
    )

    assert rows == [(1, END, "rest")]


def test_two_versions_of_one_load_are_both_kept_and_the_newer_is_current(
    center: Center, current: Current
) -> None:
    summary = center.load(
        incident("i1", updated=9, caller_phone_number="new"),
        incident("i1", updated=3, caller_phone_number="old"),
    )

    assert counts(summary) == (1, 1, 0, 0)
    assert current() == [("i1", "new", instant(9), instant(0))]
    assert center.ask("SELECT count(*) FROM incident_versions") == [(2,)]


def test_an_older_version_that_comes_late_is_history_only(center: Center, current: Current) -> None:
    center.load(incident("i1", updated=9, caller_phone_number="new"))

    summary = center.load(incident("i1", updated=3, caller_phone_number="old"))

    assert counts(summary) == (0, 1, 0, 0)
    assert current() == [("i1", "new", instant(9), instant(0))]
    assert center.ask("SELECT caller_phone_number FROM incident_versions ORDER BY updated_at") == [
        ("old",),
        ("new",),
    ]


@pytest.mark.parametrize("loads", [1, 2], ids=["in one load", "in two loads"])
@pytest.mark.parametrize("ended_first", [True, False])
def test_of_two_versions_in_one_second_the_one_whose_call_ended_is_current(
    center: Center, current: Current, ended_first: bool, loads: int
) -> None:
    ended = incident("i1", caller_phone_number="ended", audio_call_ended_at=stamp(0))
    live = incident("i1", caller_phone_number="live")
    order = [ended, live] if ended_first else [live, ended]

    for records in [order] if loads == 1 else [[record] for record in order]:
        center.load(*records)

    assert [row[1] for row in current()] == ["ended"]


@pytest.mark.parametrize("apart_by", ["record", "batch", "load"])
@pytest.mark.parametrize("ended_at", [None, stamp(0)], ids=["live", "ended"])
def test_of_two_alike_in_one_second_the_one_received_last_is_current(
    center: Center,
    current: Current,
    monkeypatch: pytest.MonkeyPatch,
    ended_at: str | None,
    apart_by: str,
) -> None:
    monkeypatch.setattr(archive, "MAX_PAGES", 1)
    order = [incident("i1", caller_phone_number=name, audio_call_ended_at=ended_at) for name in "zab"]

    loads = {
        "record": [[order]],
        "batch": [[[record] for record in order]],
        "load": [[[record]] for record in order],
    }
    for pages in loads[apart_by]:
        center.load_pages([center.page(*records) for records in pages])
    center.load(order[0])  # known by now: reading it again does not make it the last one received

    assert [row[1] for row in current()] == ["b"]


def test_a_cad_incident_that_was_closed_wins_a_tie(center: Center) -> None:
    center.load(incident("c1", closed_at=stamp(0)), resource="cad_incidents")
    center.load(incident("c1", disposition="open"), resource="cad_incidents")

    assert center.ask("SELECT disposition, closed_at FROM cad_incidents") == [(None, instant(0))]
    assert center.ask("SELECT count(*) FROM cad_incident_versions") == [(2,)]


@pytest.mark.parametrize("others", [0, 150], ids=["inlined", "in files"])
@pytest.mark.parametrize("days", [-400, 400], ids=["back", "forth"])
def test_a_corrected_created_at_does_not_double_the_incident(
    center: Center, current: Current, days: int, others: int
) -> None:
    """The corrected stamp lies in another partition, out of the time range the merge looks at first."""
    center.load(incident("i1", updated=1), *incidents(others, prefix="other"))
    corrected = timedelta(days=days).total_seconds()

    summary = center.load(incident("i1", updated=2, created=corrected), incident("new", updated=2))

    assert counts(summary) == (1, 1, 0, 0)
    assert [row for row in current() if row[0] == "i1"] == [("i1", None, instant(2), instant(corrected))]
    assert center.ask("SELECT count(*), count(DISTINCT incident_id) FROM incidents") == [(others + 2,) * 2]


def test_a_created_at_corrected_to_and_fro_within_one_load_is_one_incident(
    center: Center, current: Current
) -> None:
    year_s = timedelta(days=365).total_seconds()
    center.load(incident("i1", updated=1))

    center.load(
        incident("i1", updated=2, created=year_s),
        incident("i1", updated=3, created=-year_s),
        incident("i1", updated=4),
    )
    center.load(incident("i1", updated=3, created=2 * year_s))

    assert current() == [("i1", None, instant(4), instant(0))]
    assert center.ask("SELECT count(*) FROM incident_versions") == [(5,)]


def test_a_late_older_version_with_another_created_at_changes_nothing_current(
    center: Center, current: Current
) -> None:
    center.load(incident("i1", updated=9))

    center.load(incident("i1", updated=3, created=-(10**8)))

    assert current() == [("i1", None, instant(9), instant(0))]


def test_the_same_id_in_two_centers_is_two_incidents(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()

    one.load(incident("i1", caller_phone_number="a"))
    other.load(incident("i1", caller_phone_number="b"))
    other.load(incident("i1", updated=1, caller_phone_number="c"))

    assert one.ask("SELECT caller_phone_number FROM incidents") == [("a",)]
    assert other.ask("SELECT caller_phone_number FROM incidents") == [("c",)]


def test_the_same_id_in_two_resources_is_two_records(center: Center) -> None:
    center.load(incident("x"), resource="incident_events")
    center.load(incident("x"), resource="cad_incidents")

    assert center.ask("SELECT incident_id FROM incidents") == center.ask(
        "SELECT cad_incident_id FROM cad_incidents"
    )


def test_ids_differ_by_every_character(center: Center) -> None:
    ids = [
        "a",
        "A",
        "a ",
        " a",
        "a'",
        "ä",
        "a\u0308",
        "1",
        "01",
        "%",
        "_",
        "\\",
        '"',
        "a\nb",
        "😀",
        "x" * 5000,
    ]

    summary = center.load(*map(incident, ids))
    again = center.load(*map(incident, ids))

    assert (summary.new, again.unchanged) == (len(ids), len(ids))
    assert {row[0] for row in center.ask("SELECT incident_id FROM incidents")} == set(ids)


def test_no_records_at_all_is_a_load_too(center: Center) -> None:
    summary = center.load()

    assert (summary.pages, summary.records, counts(summary)) == (1, 0, (0, 0, 0, 0))
    assert (summary.oldest_created_at, summary.newest_updated_at, summary.watermark) == (None, None, None)
    assert center.ask("SELECT count(*) FROM raw_pages") == [(1,)]


def test_a_record_set_aside_is_kept_once_with_its_page_and_place(center: Center) -> None:
    bad = incident("i2", is_audio_live="yes")

    first = center.load(incident("i1"), bad, incident("i3"), bad)
    again = center.load(bad, bad)

    assert counts(first) == (2, 0, 0, 2)
    assert counts(again) == (0, 0, 0, 2)
    rows = center.ask(
        """SELECT resource, reason, record::JSON->>'id', position, body_bytes > 0, q.received_at
        FROM quarantine AS q JOIN raw_pages USING (center_id, resource, raw_id)"""
    )
    assert rows == [("incident_events", "is_audio_live: not a boolean", "i2", 1, True, END)]
    assert {row[0] for row in center.ask("SELECT incident_id FROM incidents")} == {"i1", "i3"}


def test_the_same_record_set_aside_at_two_centers_is_two(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()

    one.load("no object")
    other.load("no object")

    ids = one.ask("SELECT quarantine_id FROM quarantine"), other.ask("SELECT quarantine_id FROM quarantine")
    assert len(ids[0]) == len(ids[1]) == 1
    assert ids[0] != ids[1]


def test_a_summary_tells_counts_bytes_and_the_span_of_stamps(center: Center) -> None:
    pages = [
        center.page(incident("i1", created=-50, updated=10), "no object"),
        center.page(incident("i2", created=-5, updated=90), sequence=2),
    ]

    summary = center.load_pages(pages)

    assert (summary.center_id, summary.resource) == (center.center_id, "incident_events")
    assert (summary.pages, summary.records) == (2, 3)
    assert summary.body_bytes == sum(len(each.body) for each in pages)
    assert (summary.oldest_created_at, summary.newest_updated_at) == (instant(-50), instant(90))
    assert summary.seconds >= 0


def test_stamps_are_instants_of_utc_in_the_lake(center: Center) -> None:
    center.load(incident("i1") | {"updated_at": "2024-03-10T02:30:00.123456-07:00"})

    ((text, value),) = center.ask("SELECT updated_at::VARCHAR, updated_at FROM incidents")

    assert text == "2024-03-10 09:30:00.123456+00"
    assert value == datetime.fromisoformat("2024-03-10T02:30:00.123456-07:00")
