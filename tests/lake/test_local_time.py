"""Local time in views: by the center's clock, on days of 23 and 25 hours too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake import CenterFacts
from tests.examples import examples
from tests.lake.pages import Center

NewCenter = Callable[[], Center]
CHICAGO = "America/Chicago"
SPRING, AUTUMN = date(2024, 3, 10), date(2024, 11, 3)
ZONES = [
    CHICAGO,
    "America/Phoenix",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Europe/London",
    "Australia/Lord_Howe",
    "UTC",
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(text: str) -> datetime:
    """Return what a clock shows, without a zone."""
    return datetime.fromisoformat(text)


def put(center: Center, moments: Iterable[datetime], zone: str = CHICAGO, **fields: Any) -> None:
    """Land a CAD incident created at each moment, at a center of that time zone."""
    center.lake.remember_centers([CenterFacts(center.center_id, "A center", zone)])
    records = [
        {"id": f"c{number}", "created_at": stamp(moment), "updated_at": stamp(moment), **fields}
        for number, moment in enumerate(moments)
    ]
    center.load(*records, resource="cad_incidents")


def stamp(moment: datetime) -> str:
    return f"{moment:%F %T.%f} UTC"


def hourly(day: date, hours: int) -> list[datetime]:
    """Return an instant in each hour around a UTC day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=6)
    return [start + timedelta(hours=hour, minutes=40) for hour in range(hours)]


def by_hour(center: Center) -> list[tuple[Any, ...]]:
    return center.ask(
        "SELECT local_hour, hour_start_at, incidents FROM volume_by_hour ORDER BY hour_start_at"
    )


def test_the_day_on_which_the_clock_is_set_forward_has_23_hours(center: Center) -> None:
    put(center, hourly(SPRING, 48))

    hours = [row[0] for row in by_hour(center) if row[0].date() == SPRING]

    assert [hour.hour for hour in hours] == [0, 1, *range(3, 24)]
    assert center.ask(f"SELECT sum(incidents) FROM volume_by_type WHERE local_date = '{SPRING}'") == [(23,)]


def test_the_day_on_which_it_is_set_back_has_25_and_the_hour_that_comes_twice_is_two_rows(
    center: Center,
) -> None:
    put(center, hourly(AUTUMN, 48))

    rows = [row for row in by_hour(center) if row[0].date() == AUTUMN]

    assert [row[0].hour for row in rows] == [0, 1, 1, *range(2, 24)]
    assert [row[1] for row in rows[1:3]] == [at("2024-11-03 06:00"), at("2024-11-03 07:00")]
    assert all(row[2] == 1 for row in rows)
    assert center.ask(f"SELECT sum(incidents) FROM volume_by_type WHERE local_date = '{AUTUMN}'") == [(25,)]


def test_a_center_nobody_has_told_of_counts_as_utc(center: Center) -> None:
    moment = at("2024-07-01 23:59:59")
    center.load(
        {"id": "c1", "created_at": stamp(moment), "updated_at": stamp(moment)}, resource="cad_incidents"
    )

    assert center.ask("SELECT local_created_at FROM response_times") == [(moment.replace(tzinfo=None),)]
    assert by_hour(center) == [(clock("2024-07-01 23:00"), at("2024-07-01 23:00"), 1)]


@examples(10)
@given(
    zone=st.sampled_from(ZONES),
    moments=st.lists(
        st.datetimes(clock("2023-01-01"), clock("2025-01-01")).map(lambda moment: moment.replace(tzinfo=UTC)),
        min_size=1,
        max_size=20,
    ),
)
def test_any_instants_in_any_zone_are_counted_where_python_says(
    new_center: NewCenter, zone: str, moments: list[datetime]
) -> None:
    center = new_center()
    edges = [
        at("2024-03-10 08:00"),
        at("2024-11-03 06:59:59"),
        at("2024-10-27 01:00"),
        at("2024-04-06 15:00"),
        at("1969-07-01 10:20"),
    ]
    moments = [*moments, *edges]
    put(center, moments, zone, incident_type="FIRE")
    local = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in moments]

    assert Counter(dict(center.ask("SELECT local_date, incidents FROM volume_by_type"))) == Counter(
        moment.date() for moment in local
    )
    counted: Counter[datetime] = Counter()
    for local_hour, _, incidents in by_hour(center):
        counted[local_hour] += incidents
    assert counted == Counter(moment.replace(minute=0, second=0, microsecond=0) for moment in local)
    assert center.ask("SELECT local_created_at FROM response_times ORDER BY ALL") == sorted(
        (moment,) for moment in local
    )


def test_durations_are_null_where_a_time_is_missing_out_of_order_or_stands_for_none(center: Center) -> None:
    day = "2024-07-01"
    times = {
        "whole": {"received_at": f"{day} 10:00:00 UTC", "dispatched_at": f"{day} 10:01:30.5 UTC",
                  "on_scene_at": f"{day} 10:09:00 UTC", "closed_at": f"{day} 11:00:00 UTC"},
        "out of order": {"received_at": f"{day} 10:00:00 UTC", "dispatched_at": f"{day} 09:59:59 UTC",
                         "on_scene_at": f"{day} 10:10:00 UTC"},
        "stands for none": {"received_at": "1970-01-01 00:00:00 UTC", "dispatched_at": f"{day} 10:00:00 UTC"},
        "missing": {},
    }  # fmt: skip
    records = [
        {"id": name, "created_at": f"{day} 10:00:00 UTC", "updated_at": f"{day} 12:00:00 UTC", **sent}
        for name, sent in times.items()
    ]
    center.load(*records, resource="cad_incidents")

    rows = center.ask(
        """SELECT cad_incident_id, call_to_dispatch_s, dispatch_to_on_scene_s, call_to_on_scene_s,
            call_to_close_s
        FROM response_times"""
    )

    assert {row[0]: row[1:] for row in rows} == {
        "whole": (90.5, 449.5, 540.0, 3600.0),
        "out of order": (None, 601.0, 600.0, None),
        "stands for none": (None, None, None, None),
        "missing": (None, None, None, None),
    }


def test_percentiles_are_of_the_span_asked_for_and_leave_nulls_out(center: Center) -> None:
    def cad(number: int, day: int, dispatched_s: int | None) -> dict[str, Any]:
        start = datetime(2024, 7, day, 10, tzinfo=UTC)
        sent = None if dispatched_s is None else stamp(start + timedelta(seconds=dispatched_s))
        times = dict.fromkeys(("created_at", "updated_at", "received_at"), stamp(start))
        return {
            "id": f"c{day}-{number}",
            **times,
            "dispatched_at": sent,
            "agency_type": "fire",
            "priority": "1",
        }

    center.load(
        *(cad(number, 1, number) for number in range(101)), cad(999, 1, None), cad(1, 2, 5000),
        resource="cad_incidents",
    )  # fmt: skip

    (row,) = center.ask(
        f"""SELECT agency_type, priority, measure, cad_incidents, p50_s, p75_s, p90_s, p99_s
        FROM response_percentiles('2024-07-01 00:00:00 UTC', '2024-07-02 00:00:00 UTC')
        WHERE center_id = '{center.center_id}'"""
    )

    assert row == ("fire", "1", "call_to_dispatch_s", 101, 50, 75, 90, 99)


def test_an_address_that_was_called_from_twice_is_found_however_it_is_written(center: Center) -> None:
    def cad(identity: str, hour: int, address: str | None, city: str | None = "Exampleton") -> dict[str, Any]:
        moment = stamp(datetime(2024, 7, 1, hour, tzinfo=UTC))
        return {"id": identity, "created_at": moment, "updated_at": moment, "address": address, "city": city}

    center.lake.remember_centers([CenterFacts(center.center_id, "A center", CHICAGO)])
    center.load(
        cad("a", 5, "1  Main St"), cad("b", 9, "1 MAIN ST "), cad("c", 7, "1 Main St"),
        cad("d", 5, "2 Main St"), cad("e", 5, "1 Main St", "Otherton"), cad("f", 5, None), cad("g", 5, None),
        cad("h", 5, " "), cad("i", 5, " "),
        resource="cad_incidents",
    )  # fmt: skip

    assert center.ask("SELECT * EXCLUDE (center_id) FROM repeat_locations") == [
        ("1 MAIN ST", "EXAMPLETON", 3, at("2024-07-01 05:00"), at("2024-07-01 09:00"),
         clock("2024-07-01 00:00"), clock("2024-07-01 04:00"))
    ]  # fmt: skip


def test_a_call_lasts_from_its_creation_to_its_end(center: Center) -> None:
    def call(identity: str, ended: str | None) -> dict[str, Any]:
        moment = "2024-07-01 10:00:00 UTC"
        return {"id": identity, "created_at": moment, "updated_at": moment, "audio_call_ended_at": ended}

    center.load(call("a", "2024-07-01 10:02:00 UTC"), call("b", None), call("c", "2024-07-01 09:00:00 UTC"))

    assert center.ask("SELECT incident_id, duration_s FROM call_durations ORDER BY 1") == [
        ("a", 120.0), ("b", None), ("c", None),
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_every_hour_starts_where_its_local_hour_does(new_center: NewCenter, zone: str) -> None:
    center = new_center()
    put(center, hourly(SPRING, 60), zone)

    for local_hour, start_at, _ in by_hour(center):
        local = start_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if zone != "Australia/Lord_Howe":  # whose clock is set by half an hour
            assert local == local_hour
