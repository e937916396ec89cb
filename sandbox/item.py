"""One incident with its media, as the vendor's API may show it: no such answer is documented."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox.center import Center
from sandbox.media import MediaStore
from sandbox.timestamps import render
from sandbox.webhook_events import media_of


def answer_item(center: Center, incident_id: str, elapsed_s: float, media: MediaStore) -> Response:
    """Return the newest version of an incident, or what there is instead; links are remembered to expire."""
    form = center.config.item
    if form == "not_allowed":
        return Response(status_code=405, headers={"Allow": "POST"})
    now = center.now(elapsed_s)
    versions = [one for one in center.versions_until("incident_events", now) if one.record_id == incident_id]
    if form == "absent" or not versions:
        return JSONResponse({"status": 404, "error": "Not Found"}, status_code=404)
    record = dict(versions[-1].record)
    told = [
        {name: value for name, value in one.content.items() if name not in {"type", "incident_id"}}
        for one in media_of(incident_id, versions, now)
    ]
    if form != "without_media":
        media.handed_out |= {one["url"].rpartition("=")[2] for one in told}
    timestamps = center.config.timestamp_form
    rendered = render(record, timestamps)
    shown = [render(one, timestamps) for one in told]
    content: dict[str, Any] = rendered
    if form == "media":
        content = rendered | {"media": shown}
    elif form == "nested":
        content = {"data": {"attributes": rendered, "included": [{"attachment": one} for one in shown]}}
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, media_type="application/json")
