"""What a center sends and has sent: its targets, its sendings, and what must come of them in the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import count
from typing import Any

from sandbox.sending import Sending
from sandbox.timestamps import canonical
from sandbox.webhook_config import SendingConfig, WebhooksConfig
from sandbox.webhook_events import Event
from sandbox.webhook_plan import Delivery

TABLES: Mapping[str, str] = {
    "caller_location": "caller_locations",
    "media": "media",
    "note_created": "cad_notes",
    "location_updated": "cad_locations",
}
"""Where the events that belong to an incident must be found."""

_QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")


class Outbox:
    """A center's webhooks, and every delivery of them since the sandbox started."""

    def __init__(self) -> None:
        self.webhooks = WebhooksConfig(targets={})
        self._sendings: list[tuple[Sending, asyncio.Task[None]]] = []
        self._numbers = count()

    def begin(self, config: SendingConfig, deliveries: list[Delivery]) -> Sending:
        """Begin to send, beside what is under way; returns at once."""
        sending = Sending(config, deliveries, lambda: self.webhooks, self._numbers)
        self._sendings.append((sending, asyncio.create_task(sending.run())))
        return sending

    def stop(self) -> None:
        """Stop every sending; what was sent stays known."""
        for _sending, task in self._sendings:
            task.cancel()

    def standing(self) -> list[dict[str, Any]]:
        """Return how each sending stands, the oldest first.

        Raises:
            RuntimeError: One broke on a mistake of ours.
        """
        found = []
        for sending, task in self._sendings:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise RuntimeError("a sending broke") from error
            found.append(sending.as_json() | {"is_done": task.done()})
        return found

    def _deliveries(self) -> Iterable[Delivery]:
        return (delivery for sending, _task in self._sendings for delivery in sending.deliveries)

    def bodies(self) -> dict[str, dict[str, Any]]:
        """Return each distinct body that was tried, by its SHA-256: how often acknowledged, and unknown.

        A receiver that loses nothing has it at least `acknowledged` times, and never more often than
        `acknowledged` and `unknown` together.
        """
        found: dict[str, dict[str, Any]] = {}
        for delivery in self._deliveries():
            if not delivery.attempts:
                continue
            one = found.setdefault(
                hashlib.sha256(delivery.body).hexdigest(),
                {"kind": delivery.kind, "acknowledged": 0, "unknown": 0},
            )
            one["acknowledged"] += delivery.acknowledged is not None
            one["unknown"] += delivery.unknown
        return found

    def links(self) -> Iterable[str]:
        """Return every link to a media file that was sent so far, with its query."""
        for delivery in self._deliveries():
            if delivery.attempts and delivery.event is not None and delivery.event.name == "media":
                yield delivery.event.content["url"]

    def truth(self) -> dict[str, Any]:
        """Return what the lake must hold once everything that was acknowledged has landed."""
        acknowledged = sorted(
            (one for one in self._deliveries() if one.acknowledged is not None),
            key=lambda one: one.acknowledged or 0,
        )
        events = [one.event for one in acknowledged if one.event is not None]
        tables: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("incident_versions", *TABLES.values())
        }
        for event in _distinct(events):
            tables[TABLES.get(event.name, "incident_versions")].append(canonical(_kept(event)))
        not_understood = {one.body for one in acknowledged if one.event is None}
        return {
            "incidents": [canonical(_kept(event)) for event in _newest(events)],
            **tables,
            "not_understood": sorted(hashlib.sha256(body).hexdigest() for body in not_understood),
        }


def _kept(event: Event) -> dict[str, Any]:
    """Return an event's content without what must not be kept: the query of a link lets anyone in."""
    return {
        name: _QUERY.sub(r"\1", value) if isinstance(value, str) else value
        for name, value in event.content.items()
    }


def _distinct(events: Iterable[Event]) -> Iterable[Event]:
    """Return the first of all events with the same content."""
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(json.dumps(canonical(_kept(event)), sort_keys=True), event)
    return first.values()


def _newest(events: Iterable[Event]) -> Iterable[Event]:
    """Return each incident's newest version: by `updated_at`, then the ended one, then the one received last.

    A content that is received again is not received later: it was known.
    """
    newest: dict[str, Event] = {}
    for event in _distinct(event for event in events if not event.is_child):
        held = newest.get(event.incident_id)
        if held is None or _order(event) >= _order(held):
            newest[event.incident_id] = event
    return newest.values()


def _order(event: Event) -> tuple[datetime, bool]:
    return event.content["updated_at"], event.content.get("audio_call_ended_at") is not None
