"""Records that are erased, told apart from others: cut out of a page before it is archived or typed.

The same judgement when a page comes and when one that is archived is gone through. A record is a call's if it
has the incident's id as its own or as `incident_id`, or the id of a CAD incident that was part of the call as
its own; and it is too old if it was created before the center's cut-off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.column_records import decode_columns
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.ledger import Forgotten, SubjectKind
from dispatchlake.lake.record_types import CAD_INCIDENTS
from dispatchlake.lake.timestamps import parse_instants
from dispatchlake.model import ITEM, RESOURCES, BodyAsReceived, Page, Resource
from dispatchlake.payload import PayloadError, cut_records, decode_json, values_of

RETENTION = "retention"
"""Instead of an erasure's id, where a record is too old."""


def without_forgotten(page: Page, resource: Resource, forgotten: Forgotten) -> Page:
    """Return a page without the records that are not taken; the very same one if it has none."""
    found = find_forgotten(page.records, resource, forgotten)
    if not found:
        return page
    return replace(
        page,
        records=[record for number, record in enumerate(page.records) if number not in found],
        body=_without_records(page.body, resource, found),
        received=as_received(page.body, found.values()),
    )


def delivery_without_forgotten(delivery: ArchivedPage, forgotten: Forgotten) -> ArchivedPage:
    """Return a delivery, or a page of one record, with an empty body if what it tells of is not taken."""
    because = _judge_of(delivery.page.resource)(delivery.page.body, forgotten)
    if because is None:
        return delivery
    received = as_received(delivery.page.body, [because])
    return ArchivedPage(delivery.raw_id, replace(delivery.page, body=b"", received=received))


def _judge_of(name: str) -> Callable[[bytes, Forgotten], str | None]:
    """Return what says whether a body is taken that is no page of a listing."""
    if name in DISCRIMINATORS:
        return forgotten_delivery
    return forgotten_item if name.endswith(ITEM) else lambda _body, _forgotten: None


def as_received(body: bytes, because: Any) -> BodyAsReceived:
    """Return what is kept of a body that something is cut out of."""
    return BodyAsReceived(hashlib.sha256(body).hexdigest(), len(body), tuple(sorted(set(because))))


def cut_body(body: bytes, resource: Resource | str, forgotten: Forgotten) -> tuple[bytes, set[str]]:
    """Return an archived body without what is not taken, and which erasures that fell under; it may be none.

    Args:
        body: As archived.
        resource: The listing it is a page of, or the name of the webhook it was delivered to.
        forgotten: What is not taken.
    """
    if isinstance(resource, str):
        because = _judge_of(resource)(body, forgotten)
        return (body, set()) if because is None else (b"", {because})
    try:
        records = decode_columns(body, resource).records
    except PayloadError:  # a page that was never understood holds nothing that is
        return (body, set()) if forgotten.takes_undated else (b"", {RETENTION})
    found = find_forgotten(records, resource, forgotten)
    return (_without_records(body, resource, found), set(found.values())) if found else (body, set())


def _without_records(body: bytes, resource: Resource, positions: Collection[int]) -> bytes:
    """Return a body without the records at some positions; an empty one if they cannot be told apart in it.

    One that is nested too deeply can be read and not be cut: better no body than one with what is erased.
    """
    try:
        return cut_records(body, resource.records_key, positions)
    except PayloadError:
        return b""


def find_forgotten(records: Sequence[Any], resource: Resource, forgotten: Forgotten) -> dict[int, str]:
    """Return the places of records that are not taken, and the erasure that each falls under."""
    created = values_of(records, resource.created_field)
    found: dict[int, str] = dict.fromkeys(_too_old(created, forgotten), RETENTION)
    own: SubjectKind = "cad_incident" if resource.name == CAD_INCIDENTS.resource else "incident"
    ids_of: dict[SubjectKind, list[Any]] = {own: values_of(records, resource.id_field)}
    if own == "cad_incident":
        ids_of["incident"] = values_of(records, "incident_id")
    for number in list(found):
        is_held = any(_is_held(forgotten, kind, ids[number]) for kind, ids in ids_of.items())
        if is_held or _is_young(forgotten, own, ids_of[own][number]):
            del found[number]
    for kind in [own] if forgotten.knows_calls else reversed(ids_of):  # its own id is said last, and counts
        for number, identity in enumerate(ids_of[kind]):
            if (because := _because_of(forgotten, kind, identity)) is not None:
                found[number] = because
    return found


def forgotten_delivery(body: bytes, forgotten: Forgotten) -> str | None:
    """Return the erasure that a delivery falls under, or None."""
    try:
        content = decode_json(body)
    except PayloadError:
        content = None
    if type(content) is not dict:
        return None if forgotten.takes_undated else RETENTION
    for name in ("incident_id", "id"):
        if (because := _because_of(forgotten, "incident", content.get(name))) is not None:
            return because
    if any(_is_held(forgotten, "incident", content.get(name)) for name in ("incident_id", "id")):
        return None
    if forgotten.knows_calls and (content.get("incident_id") or content.get("type") == "incident_metadata"):
        return None
    is_old = bool(_too_old([content.get("created_at")], forgotten))
    return RETENTION if is_old and not _is_young(forgotten, "incident", content.get("incident_id")) else None


def forgotten_item(body: bytes, forgotten: Forgotten) -> str | None:
    """Return the erasure that a page of one incident falls under, or None; its form is not documented.

    So it is the incident's if its id stands anywhere in it, and as old as the outermost record in it that
    says an age: what hangs on a call, and other calls it tells of, may be older.
    """
    try:
        level = [decode_json(body)]
    except PayloadError:
        return None
    is_held, oldest = False, None
    while level:
        records = [value for value in level if isinstance(value, dict)]
        if oldest is None:
            ages = _instants([record.get("created_at") for record in records])
            oldest = min(filter(None, ages), default=None)
        deeper: list[Any] = [one for record in records for one in record.values()]
        for value in level:
            if isinstance(value, list):
                deeper += value
            elif (because := _because_of(forgotten, "incident", value)) is not None:
                return because
            else:
                is_held |= _is_held(forgotten, "incident", value)
        level = deeper
    return RETENTION if not is_held and _is_too_old(oldest, forgotten) else None


def _because_of(forgotten: Forgotten, kind: SubjectKind, identity: object) -> str | None:
    text = _text(identity)
    return None if text is None else forgotten.because_of(kind, text)


def _is_held(forgotten: Forgotten, kind: SubjectKind, identity: object) -> bool:
    text = _text(identity)
    return text is not None and forgotten.is_held(kind, text)


def _is_young(forgotten: Forgotten, kind: SubjectKind, identity: object) -> bool:
    text = _text(identity)
    return text is not None and forgotten.is_young(kind, text)


def _text(identity: object) -> str | None:
    """Return an id as the tables have it: a server that sends numbers is taken at its word."""
    if type(identity) is int:
        return str(identity)
    return identity if type(identity) is str else None


def _too_old(created: Sequence[Any], forgotten: Forgotten) -> list[int]:
    """Return the places of those times of creation that are before the cut-off, or say no age."""
    if forgotten.cutoff is None:
        return []
    ages = _instants(created)
    return [number for number, created_at in enumerate(ages) if _is_too_old(created_at, forgotten)]


def _is_too_old(created_at: datetime | None, forgotten: Forgotten) -> bool:
    if forgotten.cutoff is None:
        return False
    return created_at < forgotten.cutoff if created_at is not None else not forgotten.takes_undated


def _instants(created: Sequence[Any]) -> list[datetime | None]:
    texts = pa.array([_writable(value) for value in created], pa.string())
    instants: list[datetime | None] = parse_instants(texts).to_pylist()
    return instants


def _writable(value: object) -> str | None:
    """Return a text that Arrow takes; a lone surrogate is in no time."""
    return value if type(value) is str and value.isascii() else None


def listing_of(name: str, center_id: str, resources: Any) -> Resource | str:
    """Return how pages of a name are read: as a listing, as configured or as declared, or as deliveries."""
    if name in DISCRIMINATORS:
        return name
    listing = resources.get((center_id, name)) or RESOURCES.get(name)
    return name if listing is None else listing
