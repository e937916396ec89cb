"""Calls that are to be erased: everything that can be known of one, among others that stay."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from dispatchlake.lake import Lake
from tests.lake.deliveries import (
    caller_location,
    incident_metadata,
    land,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import CENTER, cell, incident, incidents, load, page

SHARED_PHONE = "+13035550100"


class Call:
    """One call: its ids, and what betrays it."""

    def __init__(self, number: int = 0) -> None:
        self.incident_id = str(uuid.UUID(int=0xFFFFFFFF << 96 | number))
        self.cad_id = f"cad-of-call-{number}"
        self.phone = f"+1303555019{number}"
        self.address = f"471{number} North Nowhere Boulevard"
        self.note = (
            f"the caller hides in house {number} behind the mill; " + "and so on, " * 900 + f"end {number}"
        )
        self.of = f"-of-call-{number}"
        self.number = f"P-2024-00001{number}"
        self.texts = [
            self.incident_id, self.cad_id, self.phone, self.note[:36], self.address, f"location{self.of}",
            f"note{self.of}", f"media{self.of}", f"https://media.example.net/x{self.of}", self.number,
        ]  # fmt: skip

    def versions(self) -> list[dict[str, Any]]:
        return [
            incident(self.incident_id, updated=second, caller_phone_number=self.phone, accuracy_m=second)
            for second in range(3)
        ]

    def cad(self) -> list[dict[str, Any]]:
        """Return its CAD incident before and after it was linked."""
        shell = incident(self.cad_id, address=self.address, cad_partner_incident_id=self.number)
        return [shell, {**shell, **incident(self.cad_id, updated=5), "incident_id": self.incident_id}]

    def events(self) -> list[dict[str, Any]]:
        of = {"incident_id": self.incident_id}
        return [
            incident_metadata(self.incident_id, updated=2, caller_phone_number=self.phone, accuracy_m=2),
            incident_metadata(self.incident_id, updated=7, caller_phone_number=self.phone),
            caller_location(f"location{self.of}", **of),
            media(id=f"media{self.of}", media_type="photo", url=f"{self.texts[8]}?sig=abc", **of),
            note_created(f"note{self.of}", note=self.note, cad_partner_incident_id=self.number, **of),
            location_updated(3, **of),
            {"type": "merged", "id": self.incident_id, "into": "another"},
        ]


def grow(lake: Lake, call: Call, *, center_id: str = CENTER) -> None:
    """Land the call among others: in files and in the catalog, on pages of many records and of one, twice."""
    versions, cad = call.versions(), call.cad()
    spoilt = {**versions[0], "created_at": "yesterday"}
    lake.load(
        [
            page(versions[0], *incidents(120, caller_phone_number=SHARED_PHONE), center_id=center_id),
            page(spoilt, incident("i7", updated=900), center_id=center_id, sequence=2),
        ],
        cell=cell(center_id),
        run_id="first",
    )
    load(lake, *incidents(3, "small-"), versions[1], versions[0], center_id=center_id)
    load(lake, versions[2], center_id=center_id)
    load(
        lake,
        cad[0],
        incident("other-cad", address="1 Main Street"),
        center_id=center_id,
        resource="cad_incidents",
    )
    load(lake, cad[1], center_id=center_id, resource="cad_incidents")
    others = [caller_location("l1"), note_created("n1", note="nothing of it"), {"type": "new", "id": "x"}]
    land(lake, *others, *call.events(), b'{"cut off": "' + call.incident_id.encode(), center_id=center_id)
    shown = {"incident": {"id": call.incident_id, "media": [{"id": f"media{call.of}", "url": call.texts[8]}]}}
    item = replace(
        page(center_id=center_id), resource="incident_events:item", body=json.dumps(shown).encode()
    )
    lake.archive(item, run_id="asked")
