"""The records the sandbox serves: real dispatch calls in the vendor's shape, and made-up ones for load.

A record is known by its versions, each with the instant from which the API shows it. What the sources lack is
made up here, from a hash of the call's key and so the same each time: caller numbers (always 555-01xx), how
long a call lasts, how late a CAD incident is linked, and when San Diego's dispositions came.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

SAMPLES = Path(__file__).parent / "samples"
_NAMESPACE = uuid.UUID("5f0c4a3e-31a7-4c59-9a35-0d6b8b7f1c11")
_TIME_ZONES = {
    "houston-tx": "America/Chicago",
    "san-francisco-ca": "America/Los_Angeles",
    "san-diego-ca": "America/Los_Angeles",
}
_AREA_CODES = {"houston-tx": "713", "san-francisco-ca": "415", "san-diego-ca": "619"}

LINKED_LATE = 0.05
"""Share of CAD incidents that begin as a shell: known to the CAD before the telephone side is."""


@dataclass(frozen=True, slots=True)
class Version:
    """One content of one record, shown from `visible_at` until the next version's.

    `record` has the vendor's field names; every value under `..._at` is an aware UTC datetime or None.
    """

    record_id: str
    visible_at: datetime
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Versions by resource name, each list sorted by `visible_at`."""

    name: str
    time_zone: str
    versions: Mapping[str, Sequence[Version]]

    @property
    def ends_at(self) -> datetime | None:
        """Return when the last version appears; None for a dataset without any."""
        return max((found[-1].visible_at for found in self.versions.values() if found), default=None)


class _Dice:
    """Reproducible chance for one call: the same key and question give the same answer."""

    def __init__(self, key: str) -> None:
        self._bytes = hashlib.blake2b(key.encode(), digest_size=32).digest()

    def integer(self, question: int, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included; questions are numbered 0 to 7."""
        drawn = int.from_bytes(self._bytes[4 * question : 4 * question + 4])
        return low + drawn % (high - low + 1)


@lru_cache(maxsize=8)
def load_dataset(name: str) -> Dataset:
    """Return the sample of one dispatch center.

    Raises:
        ValueError: There is no such sample; the text names those there are.
    """
    if name not in _TIME_ZONES:
        raise ValueError(f"there is no dataset {name!r}; known are {', '.join(_TIME_ZONES)}")
    with gzip.open(SAMPLES / f"{name}.jsonl.gz", "rb") as file:
        calls = map(json.loads, file)
        return _dataset(name, _TIME_ZONES[name], (_versions(call, _AREA_CODES[name]) for call in calls))


def synthetic_dataset(
    name: str, *, count: int, starts_at: datetime, span: timedelta, seed: int = 0
) -> Dataset:
    """Return `count` made-up calls spread over a span, each with a few versions; one seed, one dataset."""

    def calls() -> Iterator[dict[str, Any]]:
        for index in range(count):
            dice = _Dice(f"{name}|{seed}|{index}")
            created_at = starts_at + span * index / max(count, 1)
            dispatched_at = created_at + timedelta(seconds=dice.integer(5, 20, 900))
            # A third of a degree round a made-up centre; spans are open-ended so that every run has changes.
            place = {
                "lat": 39.5 + dice.integer(6, 0, 300) / 1000,
                "lng": -105.0 + dice.integer(7, 0, 300) / 1000,
            }
            yield {
                "key": f"{name}|{seed}|{index}",
                "created_at": _text(created_at),
                "first": {
                    "at": _text(created_at),
                    "fields": {
                        "agency_type": ("fire", "police", "ems")[dice.integer(6, 0, 2)],
                        "cad_partner_incident_id": f"{created_at:%y}-{index:06}",
                        "incident_type": ("ALARM", "MEDICAL", "TRAFFIC", "WELFARE CHECK")[
                            dice.integer(7, 0, 3)
                        ],
                        "priority": str(dice.integer(6, 1, 4)),
                        "alarm_level": dice.integer(7, 0, 2),
                        "address": f"{dice.integer(5, 1, 99) * 100} Block of EXAMPLE ST",
                        "units": [],
                        "received_at": _text(created_at - timedelta(seconds=dice.integer(4, 5, 90))),
                        **place,
                    },
                },
                "changes": [
                    {
                        "at": _text(dispatched_at),
                        "fields": {
                            "dispatched_at": _text(dispatched_at),
                            "units": [f"U{dice.integer(4, 1, 60)}"],
                        },
                    }
                ],
            }

    return _dataset(name, "UTC", (_versions(call, "303") for call in calls()))


def inline_dataset(name: str, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> Dataset:
    """Return exactly the versions given: by resource, objects with `visible_at` and `record` (ISO times)."""
    versions: dict[str, list[Version]] = {"incident_events": [], "cad_incidents": []}
    for resource, items in records.items():
        for item in items:
            record = _with_instants(item["record"])
            versions[resource].append(Version(record["id"], _instant(item["visible_at"]), record))
    return Dataset(
        name, "UTC", {name: sorted(v, key=lambda one: one.visible_at) for name, v in versions.items()}
    )


def _dataset(name: str, time_zone: str, pairs: Iterable[tuple[list[Version], list[Version]]]) -> Dataset:
    versions: dict[str, list[Version]] = {"incident_events": [], "cad_incidents": []}
    for incident, cad_incident in pairs:
        versions["incident_events"] += incident
        versions["cad_incidents"] += cad_incident
    for found in versions.values():
        found.sort(key=lambda version: (version.visible_at, version.record_id))
    return Dataset(name, time_zone, versions)


def _versions(call: Mapping[str, Any], area_code: str) -> tuple[list[Version], list[Version]]:
    """Return the versions of the call's incident and of its CAD incident."""
    dice = _Dice(call["key"])
    incident_id = str(uuid.uuid5(_NAMESPACE, f"incident|{call['key']}"))
    return (
        list(_incident_versions(call, incident_id, dice, area_code)),
        _last_of_each_instant(list(_cad_versions(call, incident_id, dice))),
    )


def _last_of_each_instant(versions: list[Version]) -> list[Version]:
    """Drop versions that another of the same instant replaced before anyone could see them."""
    replaced = {id(one) for one, following in pairwise(versions) if following.visible_at <= one.visible_at}
    return [version for version in versions if id(version) not in replaced]


def _incident_versions(
    call: Mapping[str, Any], incident_id: str, dice: _Dice, area_code: str
) -> Iterator[Version]:
    seen_at = _instant(call["first"]["at"])
    ended_at = seen_at + timedelta(seconds=dice.integer(0, 40, 480))
    record = {
        "id": incident_id,
        "caller_phone_number": f"+1{area_code}55501{dice.integer(1, 0, 99):02}",
        "is_audio_live": True,
        "audio_call_ended_at": None,
        "created_at": seen_at,
        "updated_at": seen_at,
        "chatroom_url": f"https://portal.prepared911.com/chatrooms/{incident_id[:8]}",
    }
    yield Version(incident_id, seen_at, record)
    ended = {"is_audio_live": False, "audio_call_ended_at": ended_at, "updated_at": ended_at}
    yield Version(incident_id, ended_at, record | ended)


def _cad_versions(call: Mapping[str, Any], incident_id: str, dice: _Dice) -> Iterator[Version]:
    cad_id = str(uuid.uuid5(_NAMESPACE, f"cad|{call['key']}"))
    seen_at = _instant(call["first"]["at"])
    changes = [(_instant(c["at"]) if c["at"] else None, c["fields"]) for c in call["changes"]]
    dated = [
        (at or seen_at + timedelta(seconds=dice.integer(2, 300, 5400)), fields) for at, fields in changes
    ]
    is_shell = dice.integer(3, 0, 999) < 1000 * LINKED_LATE
    if is_shell:
        dated.append((seen_at + timedelta(seconds=dice.integer(4, 5, 120)), {"incident_id": incident_id}))
    record = {
        "id": cad_id,
        "incident_id": None if is_shell else incident_id,
        **_with_instants(call["first"]["fields"]),
        "created_at": _instant(call["created_at"]),
        "updated_at": seen_at,
    }
    yield Version(cad_id, seen_at, record)
    for at, fields in sorted(dated, key=lambda change: change[0]):
        record = record | _with_instants(fields) | {"updated_at": at}
        yield Version(cad_id, at, record)


def _with_instants(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _instant(value) if name.endswith("_at") and value is not None else value
        for name, value in fields.items()
    }


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _text(instant: datetime) -> str:
    return instant.isoformat()
