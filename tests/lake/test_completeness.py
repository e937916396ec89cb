"""How far one may count, which hours are gaps, and what is wrong with records that could be typed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest

from dispatchlake.lake import CenterFacts
from dispatchlake.lake.views.quality import CHECKS
from tests.lake.deliveries import caller_location, land_at, location_updated, media, note_created
from tests.lake.pages import END, START, Center, cell, instant, stamp

HOUR = 3600
DAY = 24 * HOUR
WEEK = 7 * DAY


def put(center: Center, created: Iterable[float], **of: Any) -> None:
    """Land an incident for each second after START at which one is to be created; `of` is the cell's."""
    records = [
        {"id": f"i{number}", "created_at": stamp(at), "updated_at": stamp(at)}
        for number, at in enumerate(created)
    ]
    center.lake.load([center.page(*records)], cell=cell(center.center_id, **of), run_id="run")


def weekly(weeks: int, an_hour: int) -> list[float]:
    """Return so many moments in the first hour of each of some weeks."""
    return [week * WEEK + number for week in range(weeks) for number in range(an_hour)]


def hours(
    center: Center, columns: str = "hour_start_at, records", where: str = "true"
) -> list[tuple[Any, ...]]:
    return center.ask(f"SELECT {columns} FROM completeness WHERE {where} ORDER BY hour_start_at")


def test_every_hour_until_complete_through_is_there_also_those_without_records(center: Center) -> None:
    put(center, [0, 10, 3 * HOUR], end=instant(5 * HOUR + 600))

    assert hours(center, "records, is_complete") == [
        (2, True), (0, True), (0, True), (1, True), (0, True), (0, False),
    ]  # fmt: skip
    assert hours(center, "DISTINCT complete_through, complete_since") == [(instant(5 * HOUR + 600), None)]


def test_an_hour_in_which_much_is_usual_and_little_came_is_a_gap(center: Center) -> None:
    moments = [*weekly(6, 10), *(6 * WEEK + number for number in range(1)), *weekly(8, 10)[-10:]]
    put(center, moments, end=instant(7 * WEEK + DAY))

    first_hours = f"epoch(hour_start_at) % {WEEK} = epoch('{START}'::TIMESTAMPTZ) % {WEEK}"

    assert hours(center, "records, expected, is_gap", first_hours) == [
        (10, None, False), (10, None, False), (10, None, False), (10, 10, False), (10, 10, False),
        (10, 10, False), (1, 10, True), (10, 10, False),
    ]  # fmt: skip
    assert hours(center, "records", "is_gap") == [(1,)]


def test_an_hour_that_was_not_read_is_no_gap(center: Center) -> None:
    put(center, weekly(6, 10), end=instant(5 * WEEK + DAY))
    center.load({"id": "later", "created_at": stamp(9 * WEEK), "updated_at": stamp(9 * WEEK)})

    assert hours(center, "records", "is_gap") == []
    assert hours(center, "is_complete", f"hour_start_at = '{instant(9 * WEEK)}'") == [(False,)]


def test_hours_are_compared_by_the_clock_across_its_change(center: Center) -> None:
    """Ten calls at noon of every Sunday, by the clock that is set forward on 10 March."""
    center.lake.remember_centers([CenterFacts(center.center_id, "A center", "America/Chicago")])
    noons = [
        datetime.fromisoformat(f"2024-{day} 12:00:00{'-06:00' if day < '03-10' else '-05:00'}")
        for day in ("02-11", "02-18", "02-25", "03-03", "03-10", "03-17")
    ]
    put(
        center,
        [(noon - START).total_seconds() + number for noon in noons for number in range(10)],
        end=noons[-1] + timedelta(hours=2),
    )

    found = hours(center, "local_hour::VARCHAR, records, expected", "hour(local_hour) = 12 AND records > 0")

    assert [row[0] for row in found] == [
        "2024-02-11 12:00:00", "2024-02-18 12:00:00", "2024-02-25 12:00:00", "2024-03-03 12:00:00",
        "2024-03-10 12:00:00", "2024-03-17 12:00:00",
    ]  # fmt: skip
    assert [row[2] for row in found] == [None, None, None, 10, 10, 10]
    spring = hours(center, "hour(local_hour)", "local_hour::DATE = '2024-03-10'")
    assert len(spring) == 23
    assert hours(center, "records", "is_gap") == []


def test_what_backfills_have_read_joins_the_live_span_only_without_a_gap(center: Center) -> None:
    put(center, [5 * DAY], start=instant(5 * DAY), end=instant(6 * DAY))
    put(center, [DAY], start=instant(DAY), end=instant(2 * DAY), kind="backfill")

    def is_complete(at: float) -> Any:
        ((answer,),) = center.ask(
            f"SELECT is_complete('{center.center_id}', 'incident_events', TIMESTAMPTZ '{instant(at)}')"
        )
        return answer

    assert not is_complete(DAY + 1)
    assert not is_complete(5 * DAY - 1)
    assert is_complete(5 * DAY)
    assert is_complete(6 * DAY)
    assert not is_complete(6 * DAY + 1)
    assert hours(center, "DISTINCT complete_since") == [(instant(5 * DAY),)]

    put(center, [], start=instant(2 * DAY), end=instant(5 * DAY), kind="backfill")

    assert is_complete(DAY + 1)
    assert hours(center, "DISTINCT complete_since") == [(instant(DAY),)]


def test_complete_rows_leave_out_what_lies_beyond(center: Center) -> None:
    put(center, [0, HOUR, 3 * HOUR], start=instant(HOUR), end=instant(2 * HOUR))

    assert center.ask("SELECT incident_id FROM complete_incidents()") == [("i1",)]
    assert center.ask("SELECT incident_id FROM complete_cad_incidents()") == []


def test_a_question_beyond_what_is_complete_is_refused(center: Center) -> None:
    put(center, [0], end=instant(HOUR))

    def count(table: str, listing: str, at: float) -> list[tuple[Any, ...]]:
        moment = f"require_complete('{center.center_id}', '{listing}', TIMESTAMPTZ '{instant(at)}')"
        return center.ask(f"SELECT count(*) FROM {table} WHERE created_at < {moment}")

    assert count("incidents", "incident_events", HOUR) == [(1,)]
    with pytest.raises(duckdb.InvalidInputException, match=f"center {center.center_id} has not been read"):
        count("incidents", "incident_events", HOUR + 1)
    with pytest.raises(duckdb.InvalidInputException, match="has not been read whole"):
        count("cad_incidents", "cad_incidents", HOUR)


def failed(center: Center, table: str) -> dict[str, int]:
    rows = center.ask(
        f"SELECT check_name, failed FROM data_quality WHERE table_name = '{table}' AND failed > 0"
    )
    return dict(rows)


def cad(identity: str, **fields: Any) -> dict[str, Any]:
    """Return a CAD incident with which nothing is wrong, but for what is said."""
    sound = {
        "created_at": stamp(0), "updated_at": stamp(60), "cad_partner_incident_id": f"24-{identity}",
        "incident_type": "FIRE", "lat": 39.7, "lng": -104.9, "received_at": stamp(0),
        "dispatched_at": stamp(10),
    }  # fmt: skip
    return {"id": identity, **sound, **fields}


CAD_FAULTS: dict[str, dict[str, Any]] = {
    "no_cad_number": {"cad_partner_incident_id": None},
    "no_incident_type": {"incident_type": " ".strip()},
    "no_coordinates": {"lat": None, "address": "1 Main St"},
    "zero_coordinates": {"lat": 0, "lng": 0},
    "no_call_received_at": {"received_at": None},
    "times_out_of_order": {"dispatched_at": stamp(-1)},
    "updated_before_created": {"updated_at": stamp(-60)},
    "created_in_the_future": {"created_at": f"{END + timedelta(hours=2):%F %T} UTC",
                              "updated_at": f"{END + timedelta(hours=3):%F %T} UTC"},
    "date_that_stands_for_none": {"received_at": "1970-01-01 00:00:00 UTC"},
}  # fmt: skip


@pytest.mark.parametrize(("check", "fault"), CAD_FAULTS.items(), ids=CAD_FAULTS)
def test_each_fault_fails_its_check_and_no_other(center: Center, check: str, fault: dict[str, Any]) -> None:
    center.load(cad("sound"), cad("faulty", **fault), resource="cad_incidents")

    assert failed(center, "cad_incidents") == {check: 1}


@pytest.mark.parametrize(
    "times",
    [
        {"dispatched_at": None, "on_scene_at": stamp(-1)},
        {"dispatched_at": None, "on_scene_at": None, "closed_at": stamp(-1)},
        {"dispatched_at": stamp(-2), "on_scene_at": stamp(-1)},
        {"dispatched_at": stamp(50), "on_scene_at": None, "closed_at": stamp(40)},
        {"received_at": None, "dispatched_at": stamp(50), "on_scene_at": stamp(10), "closed_at": stamp(20)},
    ],
    ids=["beyond a missing one", "beyond two", "beyond a moved one", "closed first", "no call received"],
)
def test_a_time_is_out_of_order_before_any_that_it_should_follow(
    center: Center, times: dict[str, Any]
) -> None:
    center.load(cad("faulty", **times), resource="cad_incidents")

    assert failed(center, "cad_incidents").get("times_out_of_order") == 1


def test_a_number_used_twice_by_one_kind_of_agency_is_told(center: Center) -> None:
    center.load(
        cad("a", cad_partner_incident_id="24-1", agency_type="fire"),
        cad("b", cad_partner_incident_id="24-1", agency_type="fire"),
        cad("c", cad_partner_incident_id="24-1", agency_type="ems"),
        *(cad(f"d{n}", cad_partner_incident_id="24-2", agency_type="ems") for n in range(3)),
        cad(
            "later",
            cad_partner_incident_id="24-2",
            agency_type="ems",
            created_at=stamp(1800),
            updated_at=stamp(1860),
        ),
        resource="cad_incidents",
    )

    assert failed(center, "cad_incidents") == {"number_used_twice": 5}
    assert center.ask("SELECT records FROM data_quality WHERE check_name = 'number_used_twice'") == [(7,)]


def test_records_without_a_number_are_not_alike(center: Center) -> None:
    center.load(
        *(cad(f"a{n}", cad_partner_incident_id=None) for n in range(3)),
        cad("b", cad_partner_incident_id=""),
        resource="cad_incidents",
    )

    assert failed(center, "cad_incidents") == {"no_cad_number": 4}


def test_a_place_that_is_neither_told_nor_shown_is_missing(center: Center) -> None:
    center.load(cad("a", lat=None, lng=None), resource="cad_incidents")

    assert failed(center, "cad_incidents") == {"no_place": 1, "no_coordinates": 1}


def test_calls_locations_and_media_are_checked_too(center: Center) -> None:
    center.load(
        {"id": "i1", "created_at": stamp(0), "updated_at": stamp(0), "audio_call_ended_at": stamp(-1)}
    )
    land_at(
        center, caller_location("l1", lat=0, lng=0), media(id="m1", incident_id=None, created_at=stamp(0))
    )

    assert failed(center, "incidents") == {"no_phone_number": 1, "call_ends_before_it_begins": 1}
    assert failed(center, "caller_locations") == {"zero_coordinates": 1}
    assert failed(center, "media") == {"no_incident": 1, "no_url": 1}


def test_checks_are_counted_by_the_local_day_and_all_of_them_are_there(center: Center) -> None:
    center.lake.remember_centers([CenterFacts(center.center_id, "A center", "America/Denver")])
    center.load(
        cad("a"), cad("b", created_at=stamp(8 * HOUR), updated_at=stamp(9 * HOUR)), resource="cad_incidents"
    )

    rows = center.ask("SELECT local_date::VARCHAR, check_name, records FROM data_quality ORDER BY ALL")

    checks = sorted(name for table, name in CHECKS if table == "cad_incidents")
    assert rows == [(day, name, 1) for day in ("2024-02-29", "2024-03-01") for name in checks]
    assert center.ask("SELECT count(*) FROM data_quality WHERE failed IS NULL") == [(0,)]


def test_the_macro_says_the_same_of_records_since_a_moment(center: Center) -> None:
    center.load(cad("a"), cad("b", created_at=stamp(DAY), updated_at=stamp(DAY)), resource="cad_incidents")

    def said(source: str, columns: str = "*") -> list[tuple[Any, ...]]:
        where = f"center_id = '{center.center_id}' AND local_date >= '2024-03-02'"
        return center.ask(f"SELECT {columns} FROM {source} WHERE {where} ORDER BY ALL")

    def since(seconds: float) -> str:
        return f"data_quality_since(TIMESTAMPTZ '{instant(seconds)}')"

    assert said("data_quality") == said(since(DAY)) != []
    assert said(since(DAY + 1)) == []


def test_the_macro_counts_what_says_no_time_by_when_it_came(center: Center) -> None:
    land_at(
        center,
        caller_location("l1", created_at=None),
        note_created("n1", created_at=None),
        media(id="m1"),
        location_updated(created_at=None),
    )

    def said(source: str) -> list[tuple[Any, ...]]:
        return center.ask(f"SELECT DISTINCT table_name, records FROM {source} ORDER BY ALL")

    def since(moment: datetime) -> str:
        return f"data_quality_since(TIMESTAMPTZ '{moment}')"

    assert said("data_quality") == [
        (name, 1) for name in ("cad_locations", "cad_notes", "caller_locations", "media")
    ]
    assert said(since(END)) == said("data_quality")
    assert said(since(END + timedelta(hours=1))) == []
