"""One page of a listing: which records, in which form, and how the rest is named."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox.center import Center
from sandbox.config import ResourceName
from sandbox.datasets import Version


@dataclass(slots=True)
class Answer:
    """A page before it is written: `body` is a bare list or an envelope that holds it under `records_key`."""

    records: list[Version]
    envelope: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    next_query: dict[str, str] | None = None


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of the query, or the default where it is none."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def requested_page(query: Mapping[str, str]) -> int:
    """Return the number of the page a request asks for, as the server counts them; 1 without any."""
    if "offset" in query:
        return 1 + number(query, "offset", 0) // max(1, number(query, "limit", 1))
    if "cursor" in query:
        return int(_decode_cursor(query["cursor"]).get("page", 1))
    return max(1, number(query, "page", 1))


def filtered(
    center: Center, resource: ResourceName, query: Mapping[str, str], now: datetime
) -> list[Version]:
    """Return the records the filters let through; a filter the server does not know changes nothing."""
    shown = center.shown(resource, now)
    config = center.config
    if config.filters == "ignored":
        return shown
    name = "updated_at" if config.filters == "effective" else "created_at"
    since, until = (_bound(query.get(param)) for param in (config.since_param, config.until_param))
    if since is not None:
        shown = [version for version in shown if version.record[name] >= since]
    if until is not None:
        shown = [version for version in shown if version.record[name] <= until]
    return shown


def answer(
    center: Center, resource: ResourceName, url: str, query: Mapping[str, str], now: datetime
) -> Answer:
    """Return the page a request asks for, in the center's paging form.

    Args:
        center: Whose listing.
        resource: Which listing.
        url: Scheme, host and path of the request, for links.
        query: The request's query.
        now: The center's time.
    """
    records = filtered(center, resource, query, now)
    config = center.config
    if config.paging in {"array", "page_ignored"}:
        return Answer(records)
    size = max(
        1, min(number(query, "per_page", number(query, "limit", config.page_size)), config.page_size_cap)
    )
    if config.paging == "offset":
        start = number(query, "offset", 0)
        return Answer(records[start : start + size])
    if config.paging == "cursor":
        return _by_cursor(center, records, query, size)
    page = requested_page(query)
    found = Answer(records[(page - 1) * size : page * size])
    if page * size < len(records):
        found.next_query = {**query, "page": str(page + 1)}
    _name_pages(found, config.paging, url, page=page, size=size, total=len(records))
    return found


_COUNT_HEADERS = {
    "pagy": ("current-page", "page-limit", "total-pages", "total-count"),
    "pagy_old": ("Current-Page", "Page-Items", "Total-Pages", "Total-Count"),
    "pagy_countless": ("current-page", "page-limit"),
    "kaminari": ("X-Page", "X-Per-Page", "X-Total-Pages", "X-Total"),
}
"""Names of the headers with the page's number and size, and how many pages and records there are."""


def _name_pages(found: Answer, form: str, url: str, *, page: int, size: int, total: int) -> None:
    link = f"{url}?{urlencode(found.next_query)}" if found.next_query else None
    following = page + 1 if found.next_query else None
    if form == "link" and link:
        found.headers["Link"] = f'<{link}>; rel="next"'
    elif form == "next_url":
        found.envelope = {"links": {"next": link}}
    elif form == "meta_page":
        found.envelope = {"meta": {"current_page": page, "next_page": following, "total_count": total}}
    elif form in _COUNT_HEADERS:
        counts = (page, size, max(1, -(-total // size)), total)
        found.headers |= dict(zip(_COUNT_HEADERS[form], map(str, counts), strict=False))
        if form == "kaminari":
            found.headers["X-Next-Page"] = str(following or "")


def _by_cursor(center: Center, records: Sequence[Version], query: Mapping[str, str], size: int) -> Answer:
    """Continue after the last record seen, wherever it stands by now: what a cursor is for."""
    page = 1
    if "cursor" in query:
        cursor = _decode_cursor(query["cursor"])
        page = int(cursor["page"])
        keys = [_cursor_key(center, version) for version in records]
        last = (cursor["value"], cursor["id"])
        records = [
            version
            for version, key in zip(records, keys, strict=True)
            if (key < last if center.is_descending else key > last)
        ]
    found = Answer(list(records[:size]))
    has_more = len(records) > size
    token = None
    if has_more:
        value, record_id = _cursor_key(center, found.records[-1])
        content = json.dumps({"value": value, "id": record_id, "page": page + 1})
        token = base64.urlsafe_b64encode(content.encode()).decode()
        found.next_query = {**query, "cursor": token}
    found.envelope = {"next_cursor": token, "has_more": has_more}
    return found


def _cursor_key(center: Center, version: Version) -> tuple[str, str]:
    value, record_id = center.sort_key(version)
    return (value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value, record_id)


def _decode_cursor(text: str) -> dict[str, Any]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(text.encode()))
    except ValueError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"value": "", "id": "", "page": 1}


def _bound(text: str | None) -> datetime | None:
    """Return a filter's instant; what cannot be read filters nothing, as a lenient server has it."""
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
