"""What becomes of a delivery: its row, or its place in quarantine; in the archive it is always."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from dispatchlake.lake import Lake, Selection, typed_pages
from dispatchlake.lake.custody import verify
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.record_types import EVENT_TYPES
from dispatchlake.lake.selected_pages import REPLAYABLE
from dispatchlake.model import ArchivedName
from dispatchlake.spool import DeliveryKind
from tests.lake.conftest import Ask
from tests.lake.deliveries import (
    CAD,
    INCIDENT_EVENTS,
    caller_location,
    delivery,
    incident_metadata,
    land,
    land_at,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import END, Center, incident, instant, load, stamp

SIGNED = "https://media.example.net/a.jpg?X-Amz-Signature=SECRET"
OPEN = "https://media.example.net/a.jpg"


def test_both_families_of_webhooks_are_known_by_the_names_they_are_archived_under() -> None:
    assert set(DISCRIMINATORS) == {f"webhook:{kind}" for kind in DeliveryKind}


def test_all_that_is_archived_can_be_asked_for_when_replaying() -> None:
    assert get_args(ArchivedName) == REPLAYABLE


def test_an_incident_lands_as_by_rest(center: Center) -> None:
    content = incident_metadata(
        caller_phone_number="+13035550142", is_audio_live=False, audio_call_ended_at=stamp(9), updated=9
    )

    landed = land_at(center, content)

    assert (landed.deliveries, landed.new, landed.changed, landed.quarantined) == (1, 1, 0, 0)
    for table in ("incidents", "incident_versions"):
        assert center.ask(
            f"""SELECT incident_id, caller_phone_number, is_audio_live, audio_call_ended_at, extra, source
            FROM {table}"""
        ) == [("i1", "+13035550142", False, instant(9), None, "webhook")]


def test_a_location_lands_with_what_it_says(center: Center) -> None:
    land_at(center, caller_location(class_of_service="WPH2", source="ali", uncertainty=12))

    assert center.ask(
        """SELECT location_id, incident_id, lat, lng, class_of_service, location_source, created_at, extra,
            source
        FROM caller_locations"""
    ) == [("l1", "i1", 39.7421, -104.9915, "WPH2", "ali", instant(0), '{"uncertainty":12}', "webhook")]


def test_a_note_lands_with_its_metadata_as_json(center: Center) -> None:
    land_at(
        center,
        note_created(subtype="insight_summary", note="Smoke.", metadata={"confidence": 0.88}),
        note_created("n2", metadata=["anything"]),
        note_created("n3", cad_partner_incident_id="25-004417"),
    )

    assert center.ask(
        """SELECT note_id, cad_partner_incident_id, subtype, note, metadata, extra
        FROM cad_notes ORDER BY note_id"""
    ) == [
        ("n1", None, "insight_summary", "Smoke.", '{"confidence":0.88}', None),
        ("n2", None, None, None, '["anything"]', None),
        ("n3", "25-004417", None, None, None, None),
    ]


def test_a_location_without_an_id_is_known_by_its_content(center: Center) -> None:
    land_at(
        center, location_updated(lat=1.5, lng=2), location_updated(lat=1.5, lng=2), location_updated(lat=3)
    )

    rows = center.ask("SELECT location_id = version_hash, lat, lng FROM cad_locations ORDER BY lat")
    assert rows == [(True, 1.5, 2.0), (True, 3.0, None)]


@pytest.mark.parametrize("resource", DISCRIMINATORS)
@pytest.mark.parametrize("content", [caller_location(), note_created()], ids=["of incident events", "of CAD"])
def test_an_event_sent_to_the_other_familys_url_is_read_too(
    center: Center, content: dict[str, Any], resource: str
) -> None:
    center.lake.land([delivery(content, center_id=center.center_id, resource=resource)], run_id="landing")

    assert center.ask("SELECT location_id FROM caller_locations UNION SELECT note_id FROM cad_notes") == [
        (content["id"],)
    ]


def test_the_name_of_the_event_is_no_part_of_the_version(center: Center) -> None:
    """And so the same content has one version, whoever brought it."""
    center.load(incident(caller_phone_number="+13035550142"))

    landed = land_at(center, incident_metadata(caller_phone_number="+13035550142"))

    assert (landed.new, landed.changed) == (0, 0)
    assert center.ask("SELECT source FROM incident_versions") == [("rest",)]
    assert center.ask("SELECT source FROM incidents") == [("rest",)]


# --- what is no event we know -------------------------------------------------------------------------------

REASONS: list[tuple[Any, str]] = [
    (b"\x89PNG", "the body is not JSON"),
    (b"", "the body is not JSON"),
    ([incident_metadata()], "the body is not an object"),
    ("incident_metadata", "the body is not an object"),
    ({"id": "i1"}, "type: missing"),
    ({"type": None, "id": "i1"}, "type: not a text"),
    ({"type": "incident_merged", "id": "i1"}, "type: an event that this version does not know"),
    ({"event_type": "unit_assigned"}, "event_type: an event that this version does not know"),
    (incident_metadata("") | {"id": None}, "id: missing"),
    (incident_metadata(created_at="2024-03-01 00:00:00"), "created_at: not a time with a zone"),
    (caller_location(""), "id: missing"),
    (caller_location(incident_id=None), "incident_id: missing"),
    (caller_location(lat="39.7"), "lat: not a number"),
    (note_created(incident_id=""), "incident_id: missing"),
    (note_created(note={"text": "Smoke."}), "note: not a text"),
    (location_updated(incident_id=None), "incident_id: missing"),
]


@pytest.mark.parametrize(("content", "reason"), REASONS)
def test_what_cannot_be_understood_is_kept_and_set_aside_with_a_reason(
    center: Center, content: Any, reason: str
) -> None:
    landed = land_at(center, content, caller_location("beside"))

    assert (landed.deliveries, landed.quarantined) == (2, 1)
    ((found, resource, position, body),) = center.ask(
        """SELECT reason, resource, position, body
        FROM quarantine JOIN raw_pages USING (center_id, raw_id, resource)"""
    )
    assert found.startswith(reason)
    assert (resource, position) == (CAD if "event_type" in str(content) else INCIDENT_EVENTS, 0)
    assert body == (content if isinstance(content, bytes) else json.dumps(content).encode())
    assert center.ask("SELECT location_id FROM caller_locations") == [("beside",)]


def test_bodies_that_are_no_json_are_told_apart_and_not_quoted(center: Center) -> None:
    landed = land_at(center, b"caller 555-0142", b"caller 555-0143")

    assert landed.quarantined == 2
    records = [json.loads(record) for (record,) in center.ask("SELECT record FROM quarantine")]
    assert len(records) == 2
    assert all(record["body_bytes"] == 15 and len(record["body_sha256"]) == 64 for record in records)


def test_what_came_twice_is_set_aside_once_and_archived_twice(center: Center) -> None:
    land_at(center, {"type": "new"})
    land_at(center, {"type": "new"})

    assert center.ask("SELECT count(*) FROM quarantine") == [(1,)]
    assert center.ask("SELECT count(*) FROM raw_pages") == [(2,)]


def test_a_fault_of_ours_keeps_no_other_delivery_from_landing(
    center: Center, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_at_one(body: bytes, resource: str) -> Any:
        if b"5550142" in body:
            raise ZeroDivisionError(body)
        return read_event(body, resource)

    read_event = typed_pages.read_event
    bad = incident_metadata("bad", caller_phone_number="+13035550142")
    with monkeypatch.context() as patch:
        patch.setattr(typed_pages, "read_event", fail_at_one)
        landed = land_at(center, incident_metadata("good"), bad, caller_location())

    assert (landed.deliveries, landed.new, landed.quarantined) == (3, 2, 1)
    assert center.ask("SELECT reason FROM quarantine") == [("this version fails at it (ZeroDivisionError)",)]
    assert "5550142" not in caplog.text

    center.lake.replay(Selection((center.center_id,), only_quarantined=True))

    assert center.ask("SELECT incident_id FROM incidents ORDER BY ALL") == [("bad",), ("good",)]
    assert center.ask("SELECT count(*) FROM quarantine") == [(0,)]


# --- versions and revisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "table", "key"),
    [
        (caller_location, "caller_locations", "location_id"),
        (lambda **fields: media(id="m1", **fields), "media", "media_id"),
        (note_created, "cad_notes", "note_id"),
        (lambda **fields: location_updated(id="l1", **fields), "cad_locations", "location_id"),
    ],
    ids=["locations", "media", "notes", "CAD locations"],
)
def test_a_revision_is_a_further_row_and_a_repetition_is_none(
    center: Center, make: Callable[..., Any], table: str, key: str
) -> None:
    land_at(center, make(), make(zone="north"))
    landed = land_at(center, make(zone="north"), make())

    assert landed.new == 0
    assert center.ask(
        f"SELECT count(*), count(DISTINCT {key}), count(DISTINCT version_hash) FROM {table}"
    ) == [(2, 1, 2)]


def test_one_second_has_one_winner_the_one_that_is_further_along(center: Center) -> None:
    ended = incident_metadata(audio_call_ended_at=stamp(0), is_audio_live=False)
    for contents in ((ended, incident_metadata()), (incident_metadata(is_audio_live=True),)):
        land_at(center, *contents)

        assert center.ask("SELECT audio_call_ended_at FROM incidents") == [(instant(0),)]
    assert center.ask("SELECT count(*) FROM incident_versions") == [(3,)]


def test_of_equals_in_one_second_the_one_received_last_is_current(center: Center) -> None:
    phones = ["+13035550140", "+13035550141", "+13035550142"]
    land_at(center, *(incident_metadata(caller_phone_number=phone) for phone in phones[:2]))
    land_at(center, incident_metadata(caller_phone_number=phones[2]))

    assert center.ask("SELECT caller_phone_number FROM incidents") == [(phones[2],)]


def test_an_older_version_that_comes_late_is_a_version_and_not_current(center: Center) -> None:
    land_at(center, incident_metadata(updated=60), incident_metadata(updated=10))
    land_at(center, incident_metadata(updated=30))

    assert center.ask("SELECT updated_at FROM incidents") == [(instant(60),)]
    assert center.ask("SELECT count(*) FROM incident_versions") == [(3,)]


def test_a_child_may_come_before_its_incident_or_without_one(center: Center) -> None:
    land_at(center, caller_location(), note_created())
    assert center.ask("SELECT count(*) FROM incidents") == [(0,)]

    land_at(center, incident_metadata())

    assert center.ask(
        """SELECT incident_id, location_id, note_id FROM incidents
        JOIN caller_locations USING (center_id, incident_id) JOIN cad_notes USING (center_id, incident_id)"""
    ) == [("i1", "l1", "n1")]


def test_two_centers_of_one_batch_share_nothing_even_with_equal_ids(new_center: Callable[[], Center]) -> None:
    one, other = new_center(), new_center()
    contents = [incident_metadata(), caller_location(), note_created(), {"type": "new"}]
    deliveries = [
        delivery(content, center_id=center.center_id, received_at=END + timedelta(microseconds=number))
        for number, content in enumerate(contents)
        for center in (one, other)
    ]

    landed = one.lake.land(deliveries, run_id="landing")

    assert (landed.new, landed.quarantined) == (6, 2)
    for center in (one, other):
        for table in ("incidents", "incident_versions", "caller_locations", "cad_notes", "quarantine"):
            assert center.ask(f"SELECT count(*) FROM {table}") == [(1,)], table
        assert center.ask("SELECT max(chain_position), count(*) FROM raw_pages") == [(4, 4)]


def test_media_of_which_nothing_is_said_land_beside_others(center: Center) -> None:
    landed = land_at(center, {"type": "media"}, media(url=OPEN), {"type": "media"})

    assert landed.new == 2, "two of which nothing is said are one"
    assert center.ask("SELECT incident_id, url FROM media ORDER BY ALL") == [("i1", OPEN), (None, None)]


# --- queries of URLs ----------------------------------------------------------------------------------------


def test_media_are_known_by_id_or_by_what_they_are_without_the_query(center: Center) -> None:
    land_at(center, media(url=SIGNED, media_type="photo"), media(id="m1", url=SIGNED))
    land_at(center, media(url=SIGNED.replace("SECRET", "OTHER"), media_type="photo"))

    rows = center.ask("SELECT media_id = version_hash, media_id = 'm1', kind, url FROM media ORDER BY ALL")
    assert rows == [(False, True, None, OPEN), (True, False, "photo", OPEN)]


def test_no_query_of_a_url_is_in_clear_anywhere_but_in_the_archived_body(center: Center) -> None:
    land_at(
        center,
        incident_metadata(chatroom_url=SIGNED, media=[{"url": SIGNED}]),
        caller_location(map={"tile": SIGNED}),
        media(url=SIGNED, thumbnail=SIGNED),
        note_created(subtype="media_link", note=f"see {SIGNED} now", metadata={"link": SIGNED}, more=SIGNED),
        location_updated(map=SIGNED),
        {"type": "new", "url": SIGNED},
        note_created("n2", note=[SIGNED]),
    )
    center.load(incident("by-rest", media=[{"url": SIGNED}]))

    for (table,) in center.ask(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND table_name <> 'raw_pages'"
    ):
        if table != "migrations":
            assert "SECRET" not in str(center.ask(f"FROM {table}")), table
    assert center.ask("SELECT note FROM cad_notes") == [(f"see {OPEN} now",)]
    assert center.ask("SELECT chatroom_url, extra FROM incidents WHERE incident_id = 'i1'") == [
        (OPEN, f'{{"media":[{{"url":"{OPEN}"}}]}}')
    ]
    headers = center.ask("SELECT * EXCLUDE (body) FROM raw_pages")
    assert "SECRET" not in str(headers)
    (kept,) = center.ask("SELECT count(*) FROM raw_pages WHERE decode(body) LIKE '%SECRET%'")
    assert kept == (8,)


# --- once ---------------------------------------------------------------------------------------------------


def test_a_delivery_lands_once_however_often_it_is_brought(center: Center) -> None:
    brought = [
        delivery(content, center_id=center.center_id, received_at=END + timedelta(seconds=number))
        for number, content in enumerate([incident_metadata(), caller_location(), {"type": "new"}, b"?"])
    ]

    counts = [
        center.lake.land(some, run_id="landing").deliveries
        for some in (brought[:2], brought, brought, brought[3:])
    ]

    assert counts == [2, 2, 0, 0]
    assert center.ask("SELECT count(*), count(DISTINCT raw_id) FROM raw_pages") == [(4, 4)]
    assert center.ask("SELECT count(*) FROM quarantine") == [(2,)]


BYTES = bytes(range(256)) + b"'\"\\"
"""Any byte there is, and what SQL and JSON quote with."""


def test_any_bytes_are_archived_as_they_are_and_verify(lake: Lake, lake_dir: Path, ask: Ask) -> None:
    land(lake, BYTES, b"", BYTES[::-1])

    assert [body for (body,) in ask("SELECT body FROM raw_pages ORDER BY chain_position")] == [
        BYTES,
        b"",
        BYTES[::-1],
    ]
    assert [custody.broken for custody in verify(lake_dir)] == [None]


def test_a_text_of_ten_megabytes_lands_whole(center: Center) -> None:
    land_at(center, note_created(note="x" * 10 * 2**20))

    assert center.ask("SELECT length(note) FROM cad_notes") == [(10 * 2**20,)]


def test_a_body_of_a_million_values_is_set_aside_and_blocks_nothing(center: Center) -> None:
    """DuckDB takes a JSON value apart in memory: one of so many would fail every landing for ever."""
    landed = land_at(center, caller_location(trace=[0] * 10**6), caller_location("beside"))

    assert (landed.new, landed.quarantined) == (1, 1)
    assert center.ask("SELECT reason FROM quarantine") == [("the body has more than 500,000 values",)]
    assert center.ask("SELECT max(body_bytes) > 2_000_000 FROM raw_pages") == [(True,)]


def test_deliveries_and_pages_make_one_chain_of_custody(lake: Lake, lake_dir: Path, ask: Ask) -> None:
    land(lake, incident_metadata(), b"?")
    load(lake, incident("i2"))
    land(lake, caller_location())

    (custody,) = verify(lake_dir)

    assert (custody.pages, custody.broken) == (4, None)
    assert ask("SELECT resource FROM raw_pages ORDER BY chain_position") == [
        (INCIDENT_EVENTS,),
        (INCIDENT_EVENTS,),
        ("incident_events",),
        (INCIDENT_EVENTS,),
    ]


def test_every_table_of_events_has_a_documented_event() -> None:
    assert set(EVENT_TYPES) == {
        "incident_metadata",
        "caller_location",
        "media",
        "note_created",
        "location_updated",
    }
