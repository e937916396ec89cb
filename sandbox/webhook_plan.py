"""Which deliveries a sending makes, in which order: a center's events, and what goes wrong with them.

What goes wrong is decided incident by incident from the seed, so it is the same each time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sandbox.timestamps import render
from sandbox.webhook_config import SendingConfig, WebhookKind
from sandbox.webhook_events import Event, made_up_id, signed

FARTHEST = 50
"""How many places a displaced delivery is moved at most; a duplicate comes up to four times as many later."""

OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "incident_metadata": ("audio_call_ended_at", "chatroom_url"),
    "caller_location": ("class_of_service", "source"),
    "media": ("id", "media_type", "content_type"),
    "note_created": ("subtype", "metadata", "cad_partner_incident_id", "created_at"),
    "location_updated": ("cad_partner_incident_id",),
}
"""Fields that the documentation does not call required."""

UNKNOWN_FIELDS = {"x_triage": {"level": 2, "flags": ["ü", None, 0.5]}, "x_previous_id": None}


@dataclass(slots=True, eq=False)
class Delivery:
    """One delivery, and what became of it.

    Attributes:
        event: What it tells; None where nobody can know, so that it must be kept and set aside.
        follows: The delivery that must be acknowledged before this one is sent: of two versions that nothing
            else tells apart, the one received later is the newer.
        is_forged: Whether it is tried with a wrong token first.
        acknowledged: Its number among the center's deliveries that were answered 200; None if it was not.
        unknown: Attempts that were sent whole and not answered, or with a 5xx: they may have been kept.
    """

    kind: WebhookKind
    body: bytes = field(repr=False)
    event: Event | None
    follows: Delivery | None = None
    is_forged: bool = False
    attempts: int = 0
    acknowledged: int | None = None
    unknown: int = 0
    is_given_up: bool = False


@dataclass(slots=True)
class _Planned:
    """What is to be sent, before its place is known."""

    at: datetime
    kind: WebhookKind
    event: Event | None
    body: bytes


def plan(incidents: Iterable[tuple[str, list[Event]]], config: SendingConfig) -> list[Delivery]:
    """Return every delivery of a sending, in the order of their first attempts.

    Args:
        incidents: Each with its events, its own first.
        config: What goes wrong.
    """
    planned: list[_Planned] = []
    for number, (incident_id, events) in enumerate(incidents):
        if number == config.incidents_at_most:
            break
        chance = random.Random(f"{config.seed}|{incident_id}")
        planned += _of_incident(incident_id, events, config, chance)
    planned += _large(planned, config)
    planned.sort(key=lambda one: one.at)
    chance = random.Random(f"{config.seed}|order")
    deliveries = [
        Delivery(
            one.kind,
            one.body,
            one.event,
            is_forged=chance.random() < config.wrong_token,
        )
        for one in _in_disorder(planned, config, chance)
    ]
    _chain_what_only_receipt_tells_apart(deliveries)
    return deliveries


def _of_incident(
    incident_id: str, events: list[Event], config: SendingConfig, chance: random.Random
) -> Iterator[_Planned]:
    began_at = events[0].at
    if chance.random() < config.same_second:
        events = events + list(_within_the_second(events))
    are_children_first = chance.random() < config.children_first
    if are_children_first:  # what has equal times is sent in this order
        events = sorted(events, key=lambda event: not event.is_child)
    for original in events:
        event = _spoiled(original, config, chance)
        at = min(event.at, began_at) if are_children_first and event.is_child else event.at
        told = [event]
        if event.name in _REVISED and chance.random() < config.revised:
            told.append(replace(event, content={**event.content, **_REVISED[event.name](event.content)}))
        for one in told:
            yield _Planned(at, one.kind, one, _body(one, config))
    if chance.random() < config.unknown_types:
        yield _Planned(
            began_at, "incident-events", None, _unknown_type(incident_id, "type", "incident_merged")
        )
        yield _Planned(began_at, "cad", None, _unknown_type(incident_id, "event_type", "unit_status"))
    if chance.random() < config.unfit:
        kind, body = _unfit(events[0], config, chance)
        yield _Planned(began_at, kind, None, body)


def _within_the_second(events: list[Event]) -> Iterator[Event]:
    """Yield updates that have the `updated_at` of the last: one that must win, one that must not."""
    last = [event for event in events if not event.is_child][-1]
    page = str(last.content.get("chatroom_url", ""))
    yield replace(last, content={**last.content, "chatroom_url": f"{page}/corrected"})
    live = {"is_audio_live": True, "audio_call_ended_at": None, "chatroom_url": f"{page}/late"}
    yield replace(last, content={**last.content, **live})


def _spoiled(event: Event, config: SendingConfig, chance: random.Random) -> Event:
    content = dict(event.content)
    if chance.random() < config.missing_optional:
        content.pop(chance.choice(OPTIONAL[event.name]), None)
    if chance.random() < config.unknown_fields:
        content |= UNKNOWN_FIELDS
    if event.name == "note_created" and chance.random() < config.unknown_subtypes:
        content["subtype"] = "translated_summary"
    return replace(event, content=content)


_REVISED: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "caller_location": lambda content: {"lat": round(content["lat"] + 0.0001, 6)},
    "note_created": lambda content: {"note": f"{content['note']} (corrected)"},
}


def _unknown_type(incident_id: str, discriminator: str, name: str) -> bytes:
    return _json({discriminator: name, "id": made_up_id(incident_id, name), "incident_id": incident_id})


def _unfit(event: Event, config: SendingConfig, chance: random.Random) -> tuple[WebhookKind, bytes]:
    """Return a delivery that nobody can understand; each is another, for it holds the incident's id."""
    whole = render(event.content, config.timestamp_form)
    text = _json(whole)
    bodies = (
        text[: len(text) // 2],
        _json([whole]),
        _json(event.incident_id),
        b"<html><body>" + event.incident_id.encode() + b"</body></html>",
        text + b"}",
        b"\xff\xfe" + text,
        b"[" * 5000 + event.incident_id.encode(),
        _json({name: value for name, value in whole.items() if name != "id"}),
        _json({name: value for name, value in whole.items() if name != "type"}),
        _json(render(event.content, "no_zone")),
        b"",
    )
    return chance.choice(("incident-events", "cad")), chance.choice(bodies)


def _large(planned: list[_Planned], config: SendingConfig) -> Iterator[_Planned]:
    """Yield notes so long that the body has exactly the length asked for."""
    events = (one.event for one in planned if one.event is not None)
    notes = (event for event in events if event.name == "note_created")
    for number, event in zip(range(config.large), notes, strict=False):
        content = {**event.content, "id": made_up_id(event.incident_id, f"large|{number}"), "note": ""}
        room = config.large_bytes - len(_body(replace(event, content=content), config))
        content["note"] = ("Long text. " * (room // 11 + 1))[:room]
        note = replace(event, content=content)
        yield _Planned(event.at, event.kind, note, _body(note, config))


def _in_disorder(planned: list[_Planned], config: SendingConfig, chance: random.Random) -> Iterable[_Planned]:
    """Return what is to be sent with some of it moved, and some of it a second time."""
    placed: list[tuple[float, int, _Planned]] = []
    for index, one in enumerate(planned):
        moved = chance.uniform(-FARTHEST, FARTHEST) if chance.random() < config.displaced else 0.0
        placed.append((index + moved, len(placed), one))
        if chance.random() < config.duplicated:
            later = index + chance.uniform(0, 4 * FARTHEST)
            placed.append((later, len(placed), _again(one, config, chance)))
    placed.sort(key=lambda place: place[:2])
    return (one for _position, _number, one in placed)


def _again(one: _Planned, config: SendingConfig, chance: random.Random) -> _Planned:
    """Return a delivery for the second time: media have a fresh link by then."""
    if one.event is None or one.event.name != "media":
        return one
    content = {**one.event.content, "url": signed(one.event.content["url"], chance)}
    event = replace(one.event, content=content)
    return replace(one, event=event, body=_body(event, config))


def _chain_what_only_receipt_tells_apart(deliveries: list[Delivery]) -> None:
    """Let each version follow the one before it that has the same `updated_at` and is as ended as it is."""
    firsts: dict[tuple[str, datetime, bool], dict[bytes, Delivery]] = {}
    for delivery in deliveries:
        event = delivery.event
        if event is None or event.is_child:
            continue
        has_ended = event.content.get("audio_call_ended_at") is not None
        contents = firsts.setdefault((event.incident_id, event.content["updated_at"], has_ended), {})
        earlier = list(contents)
        if delivery.body in contents:
            earlier = earlier[: earlier.index(delivery.body)]
        else:
            contents[delivery.body] = delivery
        delivery.follows = contents[earlier[-1]] if earlier else None


def _body(event: Event, config: SendingConfig) -> bytes:
    return _json(render(event.content, config.timestamp_form))


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
