"""The records the benchmark serves: made up, in the vendor's shape, the same each time.

A record is a function of its center, its number and how often it has changed, so that a lake built in SQL
(`large_lake`) can hold the records that a server then serves as changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EDITION = 1
"""Of the records and how they are kept: raised with a change to either, so that they are made again."""

STARTS_AT = datetime(2024, 1, 1, tzinfo=UTC)
INCIDENT_TYPES = (
    "ALARM",
    "MEDICAL EMERGENCY",
    "TRAFFIC COLLISION",
    "WELFARE CHECK",
    "STRUCTURE FIRE",
    "NOISE COMPLAINT",
)
AGENCY_TYPES = ("police", "fire", "ems")
STREETS = ("EXAMPLE ST", "SAMPLE AVE", "SYNTHETIC BLVD", "MADEUP LN", "NOWHERE RD")


@dataclass(frozen=True, slots=True)
class RowKey:
    """What a landed row is compared by: one of every type that records have; None where one has none.

    Attributes:
        updated_us: Microseconds since 1970, UTC.
        dispatched_us: The same.
        lat: Degrees.
        units: Joined by commas.
        label: Incident type, or the caller's number where the resource has no type.
    """

    center_id: str
    record_id: str
    updated_us: int
    dispatched_us: int | None
    lat: float | None
    alarm_level: int | None
    is_audio_live: bool | None
    units: str | None
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One record as JSON, and what it is compared by once landed."""

    body: str
    key: RowKey


def record_id(center_id: str, number: int) -> str:
    """Return a record's id: the MD5 of center and number, written as a UUID (DuckDB can do the same)."""
    text = hashlib.md5(f"{center_id}|{number}".encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def iter_rows(
    resource: str, center_id: str, numbers: range, *, spacing_s: int = 60, revision: int = 0
) -> Iterator[Row]:
    """Yield the records of one center.

    Args:
        resource: `cad_incidents` (about 490 bytes each) or `incident_events` (about 300).
        center_id: Part of every id.
        numbers: Which; number n is created n times `spacing_s` after `STARTS_AT`.
        spacing_s: Seconds from one record to the next.
        revision: How often they have changed; each change is half an hour after the one before.
    """
    make = _cad_incident if resource == "cad_incidents" else _incident
    for number in numbers:
        yield make(center_id, number, STARTS_AT + timedelta(seconds=number * spacing_s), revision)


def _cad_incident(center_id: str, number: int, created_at: datetime, revision: int) -> Row:
    identity = record_id(center_id, number)
    chance = int(identity[:8], 16)
    dispatched_at = created_at + timedelta(seconds=20 + chance % 600)
    closed_at = dispatched_at + timedelta(seconds=300 + chance % 3600)
    updated_at = closed_at + timedelta(minutes=30 * revision)
    incident_type = INCIDENT_TYPES[chance % len(INCIDENT_TYPES)]
    lat, lng = 39.5 + chance % 300_000 / 1e6, -105 + chance // 7 % 300_000 / 1e6
    created, dispatched = _text(created_at), _text(dispatched_at)
    units = (f"E{chance % 60:03}", f"M{chance // 3 % 40:03}")
    body = (
        f'{{"id":"{identity}","cad_partner_incident_id":"{created_at.year % 100}-{number:07}",'
        f'"agency_type":"{AGENCY_TYPES[chance % 3]}","incident_type":"{incident_type}",'
        f'"priority":"{chance % 4 + 1}","alarm_level":{chance % 3},'
        f'"address":"{chance % 99 + 1}00 Block of {STREETS[chance % len(STREETS)]}","city":"Exampleton",'
        f'"lat":{lat:.6f},"lng":{lng:.6f},"units":["{units[0]}","{units[1]}"],'
        f'"received_at":"{created}","dispatched_at":"{dispatched}","closed_at":"{_text(closed_at)}",'
        f'"created_at":"{created}","updated_at":"{_text(updated_at)}"}}'
    )
    key = RowKey(
        center_id=center_id,
        record_id=identity,
        updated_us=_us(updated_at),
        dispatched_us=_us(dispatched_at),
        lat=float(f"{lat:.6f}"),
        alarm_level=chance % 3,
        is_audio_live=None,
        units=",".join(units),
        label=incident_type,
    )
    return Row(body, key)


def _incident(center_id: str, number: int, created_at: datetime, revision: int) -> Row:
    identity = record_id(center_id, number)
    chance = int(identity[:8], 16)
    ended_at = created_at + timedelta(seconds=40 + chance % 440)
    updated_at = ended_at + timedelta(minutes=30 * revision)
    caller = f"+130355501{chance % 100:02}"
    body = (
        f'{{"id":"{identity}","caller_phone_number":"{caller}","is_audio_live":false,'
        f'"audio_call_ended_at":"{_text(ended_at)}",'
        f'"chatroom_url":"https://portal.example.com/chatrooms/{identity[:8]}",'
        f'"created_at":"{_text(created_at)}","updated_at":"{_text(updated_at)}"}}'
    )
    key = RowKey(
        center_id=center_id,
        record_id=identity,
        updated_us=_us(updated_at),
        dispatched_us=None,
        lat=None,
        alarm_level=None,
        is_audio_live=False,
        units=None,
        label=caller,
    )
    return Row(body, key)


def _text(instant: datetime) -> str:
    """Return an instant as Rails writes it in JSON."""
    return f"{instant.isoformat()[:19]}.000Z"


def _us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000  # whole seconds, all of them
