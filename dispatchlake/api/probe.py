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
from dispatchlake.api.paging import UnnamedRest, next_request
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
        is_full: Whether the first page held all that was asked for, and nothing further could be found.
    """

    named_by: str
    silent_style: Literal["page", "offset"] | None
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
    few = first
    if paging.size_param:
        few = client.fetch(resource, first.url.copy_set_param(paging.size_param, FEW))
    if named_by := _named_by(resource, few) or _named_by(resource, first):
        return PagingProbe(named_by, None, is_full=False)
    known = _ids(resource, few)
    further: tuple[tuple[Literal["page", "offset"], str, int], ...] = (
        ("page", paging.page_param, 2),
        ("offset", paging.offset_param, len(few.payload.records)),
    )
    for style, param, position in further:
        try:
            other = client.fetch(resource, few.url.copy_set_param(param, position))
        except RequestRejected:
            continue
        if _ids(resource, other) - known:
            return PagingProbe("", style, is_full=False)
    is_full = bool(paging.size_param) and len(first.payload.records) >= paging.page_size
    return PagingProbe("", None, is_full)


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


def _named_by(resource: Resource, fetched: Fetched) -> str:
    try:
        found = next_request(resource.paging, fetched.url, fetched.response, fetched.payload, is_first=False)
    except (UnnamedRest, httpx.InvalidURL):
        return ""
    if found is None or found.url is None:
        return ""
    if fetched.response.links:
        return "a Link header"
    if not fetched.payload.envelope:
        return "page numbers in its headers"
    return "a page number or link in its body" if found.is_positional else "a cursor or link in its body"


def _some_ids(client: CenterClient, resource: Resource, since: datetime) -> set[str]:
    return _ids_within(client, resource, Window(since, since.replace(year=since.year + 100)))


def _ids_within(client: CenterClient, resource: Resource, window: Window) -> set[str]:
    pages = islice(client.iter_pages(resource, window), MAX_PAGES_READ)
    return {str(r.get(resource.id_field)) for page in pages for r in page.records if isinstance(r, dict)}


def _ids(resource: Resource, fetched: Fetched) -> set[str]:
    return {str(r.get(resource.id_field)) for r in fetched.payload.records if isinstance(r, dict)}
