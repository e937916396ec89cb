"""What happens at a center, told as the vendor's webhooks tell it: one event a delivery, all of them valid.

Times, places and CAD numbers are those of the center's records. Made up, from the incident's id and so the
same each time: how a caller's location gets better, media, notes. Of `media` no field is documented, and of
`caller_location` and `location_updated` not all; those are what the rest of the documentation suggests.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sandbox.datasets import Version
from sandbox.webhook_config import WebhookKind

_NAMESPACE = uuid.UUID("b0b64e62-2c38-4f43-8f4a-4f6f6c1f7a0e")
_METRES_A_DEGREE = 111_320.0

FIXES: tuple[tuple[float, float, str, str | None], ...] = (
    (2, 1500.0, "ali", "WRLS"),
    (9, 350.0, "ali", "WPH1"),
    (24, 60.0, "ali", "WPH2"),
    (40, 12.0, "device", None),
    (75, 5.0, "device", None),
)
"""Better and better: seconds into the call, metres off, source, class of service; the first is worst."""

MEDIA_TYPES = (("photo", "jpg", "image/jpeg"), ("video", "mp4", "video/mp4"), ("audio", "mp3", "audio/mpeg"))


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its content has the vendor's field names, its times in whole seconds, as the vendor's are.

    Attributes:
        at: When it is sent, if nothing goes wrong.
        is_child: Whether it belongs to an incident that another event tells of.
    """

    kind: WebhookKind
    name: str
    incident_id: str
    at: datetime
    content: Mapping[str, Any] = field(repr=False)

    @property
    def is_child(self) -> bool:
        """Say whether it is about something that belongs to an incident."""
        return self.name != "incident_metadata"


def iter_incidents(
    incidents: Iterable[Version], cad_incidents: Iterable[Version]
) -> Iterator[tuple[str, list[Event]]]:
    """Yield each incident's id and its events, the incidents in the order of their first versions.

    Args:
        incidents: Versions of incidents, in the order of appearing.
        cad_incidents: Versions of CAD incidents; an incident has place and number of the last linked to it.
    """
    cad: dict[str, Version] = {}
    for version in cad_incidents:
        linked = version.record.get("incident_id")
        if linked is not None:
            cad[linked] = version
    versions: dict[str, list[Version]] = {}
    for version in incidents:
        versions.setdefault(version.record_id, []).append(version)
    for incident_id, found in versions.items():
        yield incident_id, list(_events(incident_id, found, cad.get(incident_id)))


def _events(incident_id: str, versions: list[Version], cad: Version | None) -> Iterator[Event]:
    for version in versions:
        content = {"type": "incident_metadata", **version.record}
        yield _event("incident-events", incident_id, version.visible_at, content)
    chance = _chance(incident_id)
    began_at = versions[0].visible_at
    media = list(_media(incident_id, began_at, chance))
    yield from media
    if cad is None:
        return
    common = {
        "incident_id": incident_id,
        "cad_partner_incident_id": cad.record.get("cad_partner_incident_id") or cad.record_id,
    }
    yield from _locations(incident_id, began_at, cad.record, common, chance)
    yield from _notes(incident_id, versions, common, media)


def _event(kind: WebhookKind, incident_id: str, at: datetime, content: Mapping[str, Any]) -> Event:
    whole: dict[str, Any] = {
        name: value.replace(microsecond=0) if isinstance(value, datetime) else value
        for name, value in content.items()
    }
    return Event(kind, whole["type" if kind == "incident-events" else "event_type"], incident_id, at, whole)


def _locations(
    incident_id: str,
    began_at: datetime,
    place: Mapping[str, Any],
    common: Mapping[str, Any],
    chance: random.Random,
) -> Iterator[Event]:
    """Yield the caller's locations, and what the CAD is told of those that are better than the first."""
    lat, lng = place.get("lat"), place.get("lng")
    if lat is None or lng is None:
        return
    for number, (after_s, off_m, source, class_of_service) in enumerate(
        FIXES[: chance.randint(2, len(FIXES))]
    ):
        bearing = chance.uniform(0, 2 * math.pi)
        at = began_at + timedelta(seconds=after_s)
        fix = {
            "lat": round(lat + off_m * math.cos(bearing) / _METRES_A_DEGREE, 6),
            "lng": round(
                lng + off_m * math.sin(bearing) / (_METRES_A_DEGREE * math.cos(math.radians(lat))), 6
            ),
        }
        content = {
            "type": "caller_location",
            "id": made_up_id(incident_id, f"location|{number}"),
            "incident_id": incident_id,
            **fix,
            "created_at": at,
            "source": source,
        }
        if class_of_service:
            content["class_of_service"] = class_of_service
        yield _event("incident-events", incident_id, at, content)
        if number:
            moved = {"event_type": "location_updated", **common, "created_at": at, **fix}
            yield _event("cad", incident_id, at, moved)


def _media(incident_id: str, began_at: datetime, chance: random.Random) -> Iterator[Event]:
    for number in range(chance.choice((0, 0, 0, 1, 2))):
        media_id = made_up_id(incident_id, f"media|{number}")
        kind, suffix, content_type = chance.choice(MEDIA_TYPES)
        at = began_at + timedelta(seconds=chance.randint(20, 300))
        content = {
            "type": "media",
            "id": media_id,
            "incident_id": incident_id,
            "media_type": kind,
            "content_type": content_type,
            "url": signed(f"https://media.example.net/{incident_id}/{media_id}.{suffix}", chance),
            "created_at": at,
        }
        yield _event("incident-events", incident_id, at, content)


def media_of(incident_id: str, versions: list[Version], now: datetime) -> list[Event]:
    """Return the media of an incident that there are by now, each with a fresh link."""
    events = _media(incident_id, versions[0].visible_at, _chance(incident_id))
    fresh = random.SystemRandom()
    return [
        replace(one, content={**one.content, "url": signed(one.content["url"], fresh)})
        for one in events
        if one.at <= now
    ]


def _chance(incident_id: str) -> random.Random:
    return random.Random(f"happens|{incident_id}")


def signed(url: str, chance: random.Random) -> str:
    """Return a URL with a fresh query, as a store that hands out links for a few minutes has it."""
    bare = url.partition("?")[0]
    salt = f"{chance.getrandbits(64):016x}%2Fus-east-1%2Fs3"
    signed_with = signature(urlsplit(bare).path, salt)
    return f"{bare}?X-Amz-Credential={salt}&X-Amz-Expires=300&X-Amz-Signature={signed_with}"


def signature(path: str, salt: str) -> str:
    """Return what makes a link open a file: nobody can guess it who has not been given the link."""
    return hmac.new(_NAMESPACE.bytes, f"{path}|{salt}".encode(), hashlib.sha256).hexdigest()


def _notes(
    incident_id: str, versions: list[Version], common: Mapping[str, Any], media: list[Event]
) -> Iterator[Event]:
    last = versions[-1]
    number = f"{common['cad_partner_incident_id']}"
    notes: list[tuple[datetime, str | None, str, dict[str, Any]]] = [
        (last.visible_at, "insight_summary", f"Made-up summary of {number}.", {"confidence": 0.88}),
        (versions[0].visible_at, "incident_link", str(last.record.get("chatroom_url", "")), {}),
        (last.visible_at, "responder_link", f"https://portal.prepared911.com/onscene/{incident_id[:8]}", {}),
    ]
    notes += [(event.at, "media_link", event.content["url"], {}) for event in media]
    for index, (at, subtype, text, metadata) in enumerate(notes):
        content = {
            "event_type": "note_created",
            "id": made_up_id(incident_id, f"note|{index}"),
            **common,
            "created_at": at,
            "subtype": subtype,
            "note": text,
            "metadata": metadata,
        }
        yield _event("cad", incident_id, at, content)


def made_up_id(incident_id: str, what: str) -> str:
    """Return the id of something that belongs to an incident: the same each time."""
    return str(uuid.uuid5(_NAMESPACE, f"{incident_id}|{what}"))
