"""Deliveries built by hand: what the vendor pushes, without a receiver."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from dispatchlake.lake import ArchivedPage, Lake
from dispatchlake.landed import LandedDeliveries
from dispatchlake.model import Page
from tests.lake.pages import CENTER, END, Center, stamp

INCIDENT_EVENTS, CAD = "webhook:incident-events", "webhook:cad"


def incident_metadata(
    identity: str = "i1", updated: float = 0, created: float = 0, **fields: Any
) -> dict[str, Any]:
    """Return an event in the vendor's words."""
    return {
        "type": "incident_metadata",
        "id": identity,
        "created_at": stamp(created),
        "updated_at": stamp(updated),
        **fields,
    }


def caller_location(identity: str = "l1", captured: float = 0, **fields: Any) -> dict[str, Any]:
    """Return an event in the vendor's words."""
    return {
        "type": "caller_location",
        "id": identity,
        "incident_id": "i1",
        "lat": 39.7421,
        "lng": -104.9915,
        "created_at": stamp(captured),
        **fields,
    }


def media(**fields: Any) -> dict[str, Any]:
    """Return an event as the vendor may word it."""
    return {"type": "media", "incident_id": "i1", **fields}


def note_created(identity: str = "n1", **fields: Any) -> dict[str, Any]:
    """Return an event in the vendor's words."""
    return {
        "event_type": "note_created",
        "id": identity,
        "incident_id": "i1",
        "created_at": stamp(0),
        **fields,
    }


def location_updated(moved: float = 0, **fields: Any) -> dict[str, Any]:
    """Return an event in the vendor's words."""
    return {"event_type": "location_updated", "incident_id": "i1", "created_at": stamp(moved), **fields}


def delivery(
    content: Any,
    *,
    center_id: str = CENTER,
    resource: str = "",
    received_at: datetime = END,
    raw_id: str = "",
) -> ArchivedPage:
    """Return a delivery of an event, or of a body as anybody might send it, at its family's URL."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    is_cad = isinstance(content, dict) and "event_type" in content
    resource = resource or (CAD if is_cad else INCIDENT_EVENTS)
    page = Page(
        center_id=center_id,
        resource=resource,
        sequence=1,
        url_path=f"/webhooks/{center_id}/{resource.removeprefix('webhook:')}",
        query={},
        status=200,
        headers={"content-type": "application/json"},
        requested_at=received_at,
        received_at=received_at,
        body=body,
        records=[],
    )
    return ArchivedPage(raw_id or str(uuid.uuid4()), page)


def land(lake: Lake, *contents: Any, center_id: str = CENTER) -> LandedDeliveries:
    """Land these as one batch, received a microsecond after each other."""
    return lake.land(
        [
            delivery(content, center_id=center_id, received_at=END + timedelta(microseconds=number))
            for number, content in enumerate(contents)
        ],
        run_id="landing",
    )


def land_at(center: Center, *contents: Any) -> LandedDeliveries:
    """Land these as one batch of a center."""
    return land(center.lake, *contents, center_id=center.center_id)
