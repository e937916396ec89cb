"""One page of a listing: which records, in which form, and how the rest is named."""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox.center import Center
from sandbox.config import CenterConfig, ResourceName
from sandbox.datasets import Version


@dataclass(slots=True)
class Answer:
    """A page before it is written: `body` is a bare list or an envelope that holds it under `records_key`."""

    records: list[Version]
    envelope: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of the query, or the default where it is none."""
    text = query.get(name, "")
    return int(text[:12]) if text.isascii() and text.isdigit() else default


def requested_page(config: CenterConfig, query: Mapping[str, str]) -> int:
    """Return which page a request asks for, the first being 1 whatever its number; 1 without any."""
    if config.paging == "offset":
        # Rounded up: a reader who asks for one record again is on the next page all the same.
        return 1 - -number(query, "offset", 0) // page_size(config, query)
    if config.paging == "cursor":
        cursor = _decode_cursor(query.get("cursor", ""))
        return cursor.page if cursor else 1
    return max(1, number(query, "page", config.first_page) + 1 - config.first_page)


def page_number(config: CenterConfig, page: int) -> int:
    """Return what the server calls a page, of which the first is 1."""
    return page - 1 + config.first_page


def page_size(config: CenterConfig, query: Mapping[str, str]) -> int:
    """Return how many records a page holds: what is asked for, up to the cap."""
    asked = number(query, "per_page", number(query, "limit", config.page_size))
    return max(1, min(asked, config.page_size_cap))


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
    center: Center,
    resource: ResourceName,
    url: str,
    query: Mapping[str, str],
    now: datetime,
    *,
    is_empty: bool = False,
) -> Answer:
    """Return the page a request asks for, in the center's paging form.

    Args:
        center: Whose listing.
        resource: Which listing.
        url: Scheme, host and path of the request, for links.
        query: The request's query.
        now: The center's time.
        is_empty: Put in a page without records here; what was to be on it comes on the next.

    Raises:
        ValueError: The cursor is none of ours.
    """
    records = filtered(center, resource, query, now)
    config = center.config
    if config.paging in {"array", "page_ignored"}:
        return Answer(records)
    size = page_size(config, query)
    if config.paging == "offset":
        start = number(query, "offset", 0)
        return Answer(records[start : start + size])
    if config.paging == "cursor":
        return _by_cursor(center, records, query, size, is_empty=is_empty)
    page = requested_page(config, query)
    if page == 1:
        center.empty_page.pop(resource, None)  # a reading begins
    if is_empty:
        center.empty_page[resource] = page
    empty = center.empty_page.get(resource)
    # How many of the pages up to this one hold records.
    full = page if empty is None or page < empty else page - 1
    found = Answer([] if page == empty else records[(full - 1) * size : full * size])
    named = page_number(config, page)
    counts = (named, size, max(1, -(-len(records) // size)) + (empty is not None), len(records))
    next_url = f"{url}?{urlencode({**query, 'page': named + 1})}"
    _name_pages(found, config.paging, counts, next_url, has_more=full * size < len(records))
    return found


_COUNT_HEADERS = {
    "pagy": ("current-page", "page-limit", "total-pages", "total-count"),
    "pagy_old": ("Current-Page", "Page-Items", "Total-Pages", "Total-Count"),
    "pagy_countless": ("current-page", "page-limit"),
    "kaminari": ("X-Page", "X-Per-Page", "X-Total-Pages", "X-Total"),
}
"""Names of the headers with the page's number and size, and how many pages and records there are."""


def _name_pages(
    found: Answer, form: str, counts: tuple[int, int, int, int], next_url: str, *, has_more: bool
) -> None:
    page, _size, _pages, total = counts
    following = page + 1 if has_more else None
    if form == "link" and has_more:
        found.headers["Link"] = f'<{next_url}>; rel="next"'
    elif form == "next_url":
        found.envelope = {"links": {"next": next_url if has_more else None}}
    elif form == "meta_page":
        found.envelope = {"meta": {"current_page": page, "next_page": following, "total_count": total}}
    elif form in _COUNT_HEADERS:
        found.headers |= dict(zip(_COUNT_HEADERS[form], map(str, counts), strict=False))
        if form == "kaminari":
            found.headers["X-Next-Page"] = str(following or "")


def _by_cursor(
    center: Center, records: Sequence[Version], query: Mapping[str, str], size: int, *, is_empty: bool
) -> Answer:
    """Continue after the last record seen, wherever it stands by now: what a cursor is for."""
    cursor = _decode_cursor(query.get("cursor") or START_CURSOR)
    if cursor is None:
        raise ValueError("the cursor is invalid")
    if (after := cursor.after) is not None:
        is_behind = operator.lt if center.is_descending else operator.gt
        records = [version for version in records if is_behind(_cursor_key(center, version), after)]
    found = Answer([] if is_empty else list(records[:size]))
    has_more = len(records) > len(found.records)
    last = _cursor_key(center, found.records[-1]) if found.records else cursor.after
    token = _encode_cursor(_Cursor(cursor.page + 1, last)) if has_more else None
    found.envelope = {"next_cursor": token, "has_more": has_more}
    return found


def _cursor_key(center: Center, version: Version) -> tuple[str, str]:
    value, record_id = center.sort_key(version)
    return (value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value, record_id)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Which page comes next, and after which record: none at the start."""

    page: int
    after: tuple[str, str] | None


def _encode_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(json.dumps([cursor.page, cursor.after]).encode()).decode()


def _decode_cursor(text: str) -> _Cursor | None:
    """Return what a cursor says, or None for a text that is none of ours."""
    try:
        page, after = json.loads(base64.urlsafe_b64decode(text.encode()))
        value, record_id = after or ("", "")
    except (ValueError, TypeError):
        return None
    is_ours = isinstance(page, int) and isinstance(value, str) and isinstance(record_id, str)
    return _Cursor(page, (value, record_id) if after else None) if is_ours else None


START_CURSOR = _encode_cursor(_Cursor(1, None))
"""Names the first page, for whoever must name it."""


def _bound(text: str | None) -> datetime | None:
    """Return a filter's instant; what cannot be read filters nothing, as a lenient server has it."""
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
