"""What is known of one incident: its timeline, where its caller is, which CAD incidents belong to it."""

from __future__ import annotations

from typing import Any

import pytest

from dispatchlake.lake import CenterFacts
from tests.lake.deliveries import (
    caller_location,
    incident_metadata,
    land_at,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import Center, instant, stamp

HERE = {"lat": 39.7421, "lng": -104.9915}


def cad(identity: str = "c1", updated: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a CAD incident whose call came at the start."""
    return {"id": identity, "created_at": stamp(0), "updated_at": stamp(updated), **fields}


def put_cad(center: Center, *records: dict[str, Any]) -> None:
    center.load(*records, resource="cad_incidents")


def timeline(center: Center, columns: str = "kind, what, detail") -> list[tuple[Any, ...]]:
    return center.ask(f"SELECT {columns} FROM incident_timeline WHERE incident_id = 'i1'")


def test_the_timeline_has_everything_in_the_order_of_time(center: Center) -> None:
    land_at(
        center,
        incident_metadata("i1", updated=0, caller_phone_number="+13035550142", is_audio_live=True),
        incident_metadata(
            "i1", updated=90, caller_phone_number="+13035550142", is_audio_live=False,
            audio_call_ended_at=stamp(90),
        ),
        caller_location("l1", captured=-5, source="ali", class_of_service="WPH2"),
        note_created("n1", created_at=stamp(50), subtype="insight_summary", note="A tree fell."),
        media(id="m1", created_at=stamp(60), media_type="photo", url="https://media.example.net/a.jpg"),
        location_updated(70, lat=39.75, lng=-104.99, cad_partner_incident_id="24-1"),
        incident_metadata("i2", updated=1),
    )  # fmt: skip
    put_cad(
        center,
        cad("c1", 30, incident_id="i1", cad_partner_incident_id="24-1", priority="2"),
        cad("c2", 30, priority="9"),
    )
    put_cad(
        center,
        cad(
            "c1", 80, incident_id="i1", cad_partner_incident_id="24-1", priority="1", agency_type="fire",
            dispatched_at=stamp(40),
        ),
    )  # fmt: skip

    rows = timeline(center)

    assert [row[:2] for row in rows] == [
        ("location", "ali"),
        ("incident", "created"),
        ("incident", "first version"),
        ("cad_incident", "first version"),
        ("cad_time", "dispatched"),
        ("note", "insight_summary"),
        ("media", "photo"),
        ("cad_location", "location updated"),
        ("cad_incident", "changed"),
        ("incident", "changed"),
    ]
    details = {row[:2]: row[2] for row in rows}
    assert details["location", "ali"] == "39.7421, -104.9915 WPH2"
    assert details["cad_time", "dispatched"] == "fire 24-1"
    assert details["cad_incident", "changed"] == (
        "agency_type: none -> fire; priority: 2 -> 1; dispatched_at: none -> 2024-03-01 00:00:40+00"
    )
    assert details["incident", "changed"] == (
        "is_audio_live: true -> false; audio_call_ended_at: none -> 2024-03-01 00:01:30+00"
    )
    assert details["note", "insight_summary"] == "A tree fell."
    assert timeline(center, "source")[0] == ("webhook",)
    assert all(row[0] for row in timeline(center, "raw_id"))


def test_the_timeline_is_by_the_centers_clock_too(center: Center) -> None:
    center.lake.remember_centers([CenterFacts(center.center_id, "A center", "America/Denver")])
    land_at(center, incident_metadata("i1", updated=0))

    (at, local_at), *_ = timeline(center, "occurred_at, local_occurred_at")

    assert at == instant(0)
    assert f"{local_at}" == "2024-02-29 17:00:00"


def test_a_cad_incident_that_was_linked_once_stays_in_the_timeline(center: Center) -> None:
    land_at(center, incident_metadata("i1"))
    put_cad(center, cad("c1", 10, incident_id="i1", priority="2"))
    put_cad(center, cad("c1", 20, incident_id="i2", priority="1"))

    changes = [row[2] for row in timeline(center) if row[0] == "cad_incident"]

    assert changes == ["incident_id: i1; priority: 2", "incident_id: i1 -> i2; priority: 2 -> 1"]


def best(center: Center, columns: str = "location_id, rule, flags, fixes") -> list[tuple[Any, ...]]:
    return center.ask(f"SELECT {columns} FROM best_location ORDER BY incident_id")


def put_area(center: Center) -> None:
    """Land CAD incidents round one place, one of them far away and one nowhere."""
    places = [(39.74, -104.99), (39.75, -105.0), (39.73, -104.98), (0, 0), (51.5, -0.1)]
    put_cad(center, *(cad(f"c{n}", lat=lat, lng=lng) for n, (lat, lng) in enumerate(places)))


def test_the_newest_fix_that_is_not_a_towers_is_the_best(center: Center) -> None:
    land_at(
        center,
        caller_location("tower", captured=1, class_of_service="WPH1"),
        caller_location("early", captured=20, class_of_service="wph2 ", source="ali"),
        caller_location("late", captured=40, source="device"),
        caller_location("tower-again", captured=60, class_of_service="WRLS"),
        caller_location("spoken", captured=80, source="spoken location"),
    )

    assert best(center) == [("late", "newest fix", [], 5)]
    assert center.ask("SELECT count(*) FROM caller_locations") == [(5,)]


@pytest.mark.parametrize(
    ("class_of_service", "family", "rule"),
    [
        ("WRLS", "wireless_p1", "newest fix, of a tower"),
        ("MOBL", "wireless_p0", "newest fix, of a tower"),
        ("WPH2", "wireless_p2", "newest fix"),
        ("RESD", "wireline", "newest fix"),
        ("VOIP", "voip", "newest fix"),
        ("XYZ!", "unknown", "newest fix"),
        (None, "unknown", "newest fix"),
    ],
)
def test_the_class_of_service_is_of_a_small_family_and_the_rule_says_why(
    center: Center, class_of_service: str | None, family: str, rule: str
) -> None:
    land_at(center, caller_location("l1", class_of_service=class_of_service))

    assert best(center, "service_family, rule") == [(family, rule)]


def test_what_is_flagged_is_taken_only_where_there_is_nothing_else(center: Center) -> None:
    put_area(center)
    land_at(
        center,
        caller_location("good", captured=1, class_of_service="WPH1"),
        caller_location("zero", captured=2, lat=0, lng=0),
        caller_location("zero-alone", captured=2, lat=0, lng=0, incident_id="i2"),
        caller_location("swapped", captured=2, lat=HERE["lng"], lng=HERE["lat"], incident_id="i3"),
        caller_location("far", captured=2, lat=48.85, lng=2.35, incident_id="i4"),
        caller_location("missing", captured=2, lat=None, incident_id="i5"),
        caller_location("nowhere", captured=2, lat=200.5, lng=400.25, incident_id="i6"),
    )

    assert best(center) == [
        ("good", "newest fix, of a tower", [], 2),
        ("zero-alone", "newest of flagged ones", ["zero"], 1),
        ("swapped", "newest of flagged ones", ["swapped"], 1),
        ("far", "newest of flagged ones", ["out of area"], 1),
        ("missing", "newest of flagged ones", ["missing"], 1),
        ("nowhere", "newest of flagged ones", ["out of area"], 1),
    ]


def test_a_swapped_pair_that_could_be_a_place_is_flagged_and_not_mended(center: Center) -> None:
    put_cad(center, *(cad(f"c{n}", lat=38.7, lng=-9.1 + n / 100) for n in range(3)))
    land_at(center, caller_location("swapped", lat=-9.1, lng=38.7))

    assert best(center, "flags, lat, lng") == [(["swapped"], -9.1, 38.7)]


def test_where_no_cad_incident_has_a_place_nothing_is_out_of_area(center: Center) -> None:
    land_at(center, caller_location("l1"))

    assert best(center) == [("l1", "newest fix", [], 1)]


def test_a_location_that_came_again_is_one_fix_and_its_later_content_counts(center: Center) -> None:
    land_at(center, caller_location("l1", lat=39.1), caller_location("l1", lat=39.2))

    assert best(center, "lat, fixes") == [(39.2, 1)]


def links(center: Center) -> list[tuple[Any, ...]]:
    return center.ask(
        """SELECT cad_incident_id, cad_partner_incident_id, incident_id, link_source,
            canonical_cad_partner_incident_id, is_current
        FROM cad_links ORDER BY ALL"""
    )


def test_a_temporary_number_and_the_one_after_it_lead_to_the_same_cad_incident(center: Center) -> None:
    put_cad(center, cad("c1", 0, cad_partner_incident_id="tmp-1"))
    put_cad(center, cad("c1", 10, cad_partner_incident_id="tmp-1", incident_id="i1"))
    put_cad(center, cad("c1", 20, cad_partner_incident_id="24-1", incident_id="i1"))
    land_at(
        center,
        note_created("n1", cad_partner_incident_id="tmp-1", created_at=stamp(5)),
        location_updated(30, cad_partner_incident_id="24-1"),
        note_created("n2", cad_partner_incident_id="elsewhere", created_at=stamp(5)),
        note_created("n3", created_at=stamp(5)),
    )

    assert links(center) == [
        ("c1", "24-1", "i1", "cad_incidents", "24-1", True),
        ("c1", "tmp-1", "i1", "cad_notes", "24-1", False),
        (None, "elsewhere", "i1", "cad_notes", None, False),
    ]
    assert center.ask("SELECT first_linked_at FROM cad_links WHERE cad_partner_incident_id = 'tmp-1'") == [
        (instant(5),)
    ]


def test_a_number_that_was_the_cad_incidents_own_id_is_an_alias_too(center: Center) -> None:
    put_cad(center, cad("tmp-9", 0, cad_partner_incident_id="24-9"))
    land_at(center, note_created("n1", cad_partner_incident_id="tmp-9"))

    assert links(center) == [("tmp-9", "tmp-9", "i1", "cad_notes", "24-9", False)]


def test_a_shell_that_is_not_linked_has_no_link(center: Center) -> None:
    put_cad(center, cad("c1", cad_partner_incident_id="24-1"))

    assert links(center) == []
