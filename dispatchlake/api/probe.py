"""What a listing can do, found out with a few requests: how it pages, and which filter works.

The vendor documents neither, and a server may ignore a parameter it does not know. Only what is seen to work
counts. What it means for a center's configuration is `dispatchlake.check`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal

import httpx

from dispatchlake.api.client import CenterClient, Fetched
from dispatchlake.api.paging import Next, UnnamedRest, next_request
from dispatchlake.errors import RequestRejected
from dispatchlake.model import Resource
from dispatchlake.windows import Window

SINCE_PARAMS = ("updated_since", "updated_after", "updated_at_gteq", "modified_since", "since")
"""Names that servers give to a lower bound on the time of change."""

UNTIL_PARAMS = ("updated_before", "updated_until", "updated_at_lteq", "modified_before", "until")
"""Names that servers give to an upper bound on the time of change."""

FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)

FEW = 2
"""Records a page that is asked for to see a listing page at all."""

MAX_PAGES_READ = 5
"""Pages of a filtered listing that are looked through for one record."""


@dataclass(frozen=True, slots=True)
class PagingProbe:
    """How a listing continues.

    Attributes:
        named_by: What its pages name the next one by, or "" where they name none.
        silent_style: The style that brings further records although no page names them, or None.
        first_page: What the first page is called, where pages have numbers.
        is_full: Whether the first page held all that was asked for, and nothing further could be found.
    """

    named_by: str
    silent_style: Literal["page", "offset"] | None
    first_page: Literal[0, 1]
    is_full: bool


@dataclass(frozen=True, slots=True)
class FilterProbe:
    """Which parameter filters, and on what.

    Attributes:
        param: The first parameter that filters at all, or None.
        is_on_change: Whether it was seen to work on the time of change; None where no record could show it.
        refused: Parameters that the server refused instead of ignoring.
    """

    param: str | None
    is_on_change: bool | None
    refused: tuple[str, ...]


def fetch_first(client: CenterClient, resource: Resource) -> Fetched:
    """Fetch the first page of a listing, without any filter."""
    plain = resource.model_copy(update={"since_param": None, "until_param": None})
    return client.fetch(plain, client.first_url(plain, Window(None, FAR_FUTURE)))


def probe_paging(client: CenterClient, resource: Resource, first: Fetched) -> PagingProbe:
    """Find out how a listing of at least a few records continues after its first page."""
    paging = resource.paging
    few = _fetch_few(client, resource, first)
    first_page = paging.first_page
    if named_by := _named_by(resource, few) or _named_by(resource, first):
        if _is_counted_from_first(resource, few):
            first_page = _find_first_page(client, resource, few)
        return PagingProbe(named_by, None, first_page, is_full=False)
    known = _ids(resource, few)
    first_page = _find_first_page(client, resource, few)
    further: tuple[tuple[Literal["page", "offset"], str, int], ...] = (
        ("page", paging.page_param, first_page + 1),
        ("offset", paging.offset_param, len(few.payload.records)),
    )
    for style, param, position in further:
        try:
            other = client.fetch(resource, few.url.copy_set_param(param, position))
        except RequestRejected:
            continue
        if _ids(resource, other) - known:
            return PagingProbe("", style, first_page if style == "page" else paging.first_page, is_full=False)
    is_full = bool(paging.size_param) and len(first.payload.records) >= paging.page_size
    return PagingProbe("", None, paging.first_page, is_full)


def probe_first_page(client: CenterClient, resource: Resource, first: Fetched) -> Literal[0, 1]:
    """Find out what a listing of at least a few records, whose pages have numbers, calls its first page."""
    return _find_first_page(client, resource, _fetch_few(client, resource, first))


def probe_filter(
    client: CenterClient, resource: Resource, changed: tuple[str, datetime] | None
) -> FilterProbe:
    """Look for a lower bound on the time of change.

    A bound in the far future must bring nothing; one at the moment a record changed must bring that record,
    which was created before. A filter on the time of creation fails the second.

    Args:
        client: Of the center.
        resource: With the paging it is to be read with.
        changed: Id of a record that changed after it was created, and when; None where there is none.
    """
    refused: list[str] = []
    for param in dict.fromkeys([*filter(None, [resource.since_param]), *SINCE_PARAMS]):
        filtered = resource.model_copy(update={"since_param": param, "until_param": None})
        try:
            if _some_ids(client, filtered, FAR_FUTURE):
                continue  # ignored
        except RequestRejected:
            refused.append(param)
            continue
        if changed is None:
            return FilterProbe(param, None, tuple(refused))
        identity, since = changed
        return FilterProbe(param, identity in _some_ids(client, filtered, since), tuple(refused))
    return FilterProbe(None, None, tuple(refused))


def probe_until(client: CenterClient, resource: Resource, changed: tuple[str, datetime]) -> str | None:
    """Look for an upper bound on the time of change.

    One just before a record changed must leave that record out, which a bound on the time of creation does
    not, and one just after must bring it.

    Args:
        client: Of the center.
        resource: With a lower bound that was seen to work.
        changed: Id of a record that changed after it was created, and when.

    Returns:
        str: The parameter, or None where none was seen to work.
    """
    identity, at = changed
    start = at - timedelta(seconds=2)
    before, after = at - timedelta(milliseconds=1), at + timedelta(seconds=1)
    for param in dict.fromkeys([*filter(None, [resource.until_param]), *UNTIL_PARAMS]):
        bounded = resource.model_copy(update={"until_param": param})
        try:
            if identity not in _ids_within(client, bounded, Window(start, before)) and (
                identity in _ids_within(client, bounded, Window(start, after))
            ):
                return param
        except RequestRejected:
            continue
    return None


def _fetch_few(client: CenterClient, resource: Resource, first: Fetched) -> Fetched:
    param = resource.paging.size_param
    return client.fetch(resource, first.url.copy_set_param(param, FEW)) if param else first


def _find_first_page(client: CenterClient, resource: Resource, few: Fetched) -> Literal[0, 1]:
    """Return what the page is called that comes where none is asked for; as configured where nothing tells.

    It is 0 where page 1 brings others. Records that have come to the front since are none: when the first is
    asked for again, it has them too.
    """
    paging, known = resource.paging, _ids(resource, few)
    try:
        found = _ids(resource, client.fetch(resource, few.url.copy_set_param(paging.page_param, 1)))
    except RequestRejected:
        return paging.first_page
    if not found:
        return paging.first_page
    if found <= known or found <= known | _ids(resource, client.fetch(resource, few.url)):
        return 1
    return 0


def _is_counted_from_first(resource: Resource, few: Fetched) -> bool:
    """Say whether pages are so named that the second one's number depends on what the first is called."""
    following = set()
    for first_page in (0, 1):
        paging = resource.paging.model_copy(update={"first_page": first_page})
        found = _next_of(resource.model_copy(update={"paging": paging}), few)
        following.add(found and str(found.url))
    return len(following) > 1


def _named_by(resource: Resource, fetched: Fetched) -> str:
    found = _next_of(resource, fetched)
    if found is None or found.url is None:
        return ""
    if fetched.response.links:
        return "a Link header"
    if not fetched.payload.envelope:
        return "page numbers in its headers"
    return "a page number or link in its body" if found.is_positional else "a cursor or link in its body"


def _next_of(resource: Resource, fetched: Fetched) -> Next | None:
    try:
        return next_request(resource.paging, fetched.url, fetched.response, fetched.payload, is_first=False)
    except (UnnamedRest, httpx.InvalidURL):
        return None


def _some_ids(client: CenterClient, resource: Resource, since: datetime) -> set[str]:
    return _ids_within(client, resource, Window(since, since.replace(year=since.year + 100)))


def _ids_within(client: CenterClient, resource: Resource, window: Window) -> set[str]:
    pages = islice(client.iter_pages(resource, window), MAX_PAGES_READ)
    return {str(r.get(resource.id_field)) for page in pages for r in page.records if isinstance(r, dict)}


def _ids(resource: Resource, fetched: Fetched) -> set[str]:
    return {str(r.get(resource.id_field)) for r in fetched.payload.records if isinstance(r, dict)}
