"""What a webhook's body tells of: the one place where two dialects become records as REST has them.

The discriminator is called `type` in one family of webhooks and `event_type` in the other. It says what the
record is and is no part of it: the same content has one version, whether REST or a webhook brought it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatchlake.lake.parsing import to_json
from dispatchlake.lake.record_types import EVENT_TYPES, RecordType
from dispatchlake.payload import PayloadError, decode_json

DISCRIMINATORS: Mapping[str, str] = {"webhook:incident-events": "type", "webhook:cad": "event_type"}
"""Field that names the event, by what a delivery is called in `raw_pages.resource`."""

MOST_VALUES = 500_000
"""DuckDB takes JSON apart in memory. A body of more, kept as one value, would fail its batch each time."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what it is, and its record without the name of that."""

    record_type: RecordType
    record: dict[str, Any] = field(repr=False)


class NoEvent(ValueError):
    """A body that tells of nothing we know. The text never quotes it.

    Attributes:
        record: What is kept of it in quarantine, as JSON; its raw page has all.
    """

    def __init__(self, reason: str, record: str) -> None:
        super().__init__(reason)
        self.record = record


def read_event(body: bytes, resource: str) -> Event:
    """Return the event that a delivery's body tells of.

    Args:
        body: As archived.
        resource: `raw_pages.resource` of the delivery; one that came to the other family's URL is read too.

    Raises:
        NoEvent: It is no event that this version knows.
    """
    if len(body) > MOST_VALUES and body.count(b",") + body.count(b":") > MOST_VALUES:
        raise NoEvent(f"the body has more than {MOST_VALUES:,} values", told_of(body))
    try:
        content = decode_json(body)
    except PayloadError as error:
        raise NoEvent(str(error), told_of(body)) from None
    if type(content) is not dict:
        raise NoEvent("the body is not an object", to_json(content))
    names = sorted(DISCRIMINATORS.values(), key=DISCRIMINATORS[resource].__ne__)
    name = next((name for name in names if name in content), None)
    if name is None:
        raise NoEvent(f"{DISCRIMINATORS[resource]}: missing", to_json(content))
    event = content[name]
    if type(event) is not str:
        raise NoEvent(f"{name}: not a text", to_json(content))
    if event not in EVENT_TYPES:
        raise NoEvent(f"{name}: an event that this version does not know", to_json(content))
    record_type = EVENT_TYPES[event]
    record = {key: value for key, value in content.items() if key != name}
    for spec in record_type.fields:
        if spec.kind == "json" and record.get(spec.source) is not None:
            record[spec.source] = to_json(record[spec.source])
    return Event(record_type, record)


def told_of(body: bytes) -> str:
    """Return what tells a body from others where it is no record, as JSON: it may hold anything."""
    return to_json({"body_bytes": len(body), "body_sha256": hashlib.sha256(body).hexdigest()})
