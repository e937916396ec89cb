"""Which request fetches the next page: what a response names, or what the center's configuration pins.

Pure: a response in, a request out. Whether to go on at all is `listing`'s business.

Source: the forms a list endpoint may take (Link header of RFC 8288, pagy, kaminari and api-pagination
headers, next links, cursors and page numbers in an envelope). The vendor documents none of them, so nothing
is guessed: a form is followed where the response itself names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from dispatchlake.model import Paging
from dispatchlake.payload import Payload

_CONTAINERS = (
    "links",
    "_links",
    "meta",
    "metadata",
    "pagination",
    "paging",
    "page",
    "page_info",
    "pagy",
    "cursors",
)
_NEXT_KEYS = ("next", "next_url", "next_link", "next_page_url", "next_page")
_CURSOR_KEYS = ("next_cursor", "next_page_token", "after", "end_cursor")
_MORE_KEYS = ("has_more", "has_next", "has_next_page")
_CURRENT_KEYS = ("current_page", "page", "page_number")
_PAGES_KEYS = ("total_pages", "page_count", "pages", "last_page")
_SIZE_KEYS = ("per_page", "page_size", "limit")
_SIZE_PARAMS = ("per_page", "page_size", "limit", "size", "count", "page[size]", "page[limit]")
_TOTAL_KEYS = ("total_count", "total", "total_entries")
_COUNT_KEYS = (*_TOTAL_KEYS, "count")
"""`count` may be of the page alone: good enough to notice that records are missing, not to count pages by."""


_LINK = re.compile(r"""<([^<>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"[^"]*"|[^\s";,]*))?)*)""")
_LINK_PARAMETER = re.compile(r""";\s*([^\s=;,"]+)(?:\s*=\s*(?:"([^"]*)"|([^\s";,]*)))?""")
_LINKS_OF_PAGES = {"first", "prev", "previous", "last"}
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f]")
_MAX_DIGITS = 12
_MAX_POSITION = 10**9
"""A larger number in a link is a moment, in seconds or less."""

_NEXT_HEADERS = ("x-next-page", "next-page")
_CURRENT_HEADERS = ("current-page", "x-page", "x-current-page", "page")
_PAGES_HEADERS = ("total-pages", "x-total-pages")
_SIZE_HEADERS = ("page-limit", "page-items", "x-per-page", "per-page")
_TOTAL_HEADERS = ("total-count", "x-total", "x-total-count", "total")

HEADERS_OF_INTEREST = frozenset(
    {
        *_NEXT_HEADERS,
        *_CURRENT_HEADERS,
        *_PAGES_HEADERS,
        *_SIZE_HEADERS,
        *_TOTAL_HEADERS,
        "content-type",
        "date",
        "etag",
        "last-modified",
        "x-request-id",
    }
)
"""Kept with an archived page. Link is not: it repeats the query."""


class UnnamedRest(ValueError):
    """A response shows that there is more and not where. The text is a clause for a sentence."""


@dataclass(frozen=True, slots=True)
class Next:
    """What a response says of the next page.

    Attributes:
        url: The request for it; None where the response says that there is none.
        is_named: The response named it. Otherwise it is counted on to, and the listing ends where that
            brings nothing new.
        is_positional: It counts positions in the list, which move when the list changes; a cursor does not.
    """

    url: httpx.URL | None = field(repr=False)
    is_named: bool = True
    is_positional: bool = False


_THE_END = Next(None)


def next_request(
    paging: Paging, asked: httpx.URL, response: httpx.Response, payload: Payload, *, is_first: bool
) -> Next | None:
    """Return what continues a listing, or None where nothing is said of it.

    Args:
        paging: How this center's listing is continued.
        asked: The request that `response` answers.
        response: For its headers alone.
        payload: The decoded body.
        is_first: Whether this is the first page: one that is silent must look like the whole listing.

    Raises:
        UnnamedRest: There is more, and no way to it is named.
        httpx.InvalidURL: A link that is none.
    """
    if paging.style == "single":
        return _THE_END
    if paging.style == "page":
        page = _page_asked(paging, asked) + 1
        return _counted(asked, paging.page_param, page) if payload.records else _THE_END
    if paging.style == "offset":
        # One record again: if the list has moved up meanwhile, the first one will be unknown.
        offset = (_integer(asked.params.get(paging.offset_param)) or 0) + max(1, len(payload.records) - 1)
        return _counted(asked, paging.offset_param, offset) if payload.records else _THE_END
    found = (
        _by_link_header(paging, asked, response, payload)
        or _by_envelope(paging, asked, payload)
        or _by_headers(paging, asked, response.headers, payload)
    )
    if found is None and _LINKS_OF_PAGES & _links(response).keys():
        return _THE_END  # links to other pages, and none to a next one
    if found is None and is_first:
        _refuse_silence(paging, asked, response, payload)
    return found


def named_total(response: httpx.Response, payload: Payload) -> int | None:
    """Return how many records the response says the whole listing has, if it does."""
    total = _first_integer(response.headers, _TOTAL_HEADERS)
    for container in _containers(payload.envelope):
        total = _first_integer(container, _COUNT_KEYS) if total is None else total
    return total


def resolve(base: httpx.URL, reference: str) -> httpx.URL:
    """Return the URL that a server names in an answer to `base`, relative or absolute.

    Raises:
        httpx.InvalidURL: It is none, or names no host; or programs may read it differently (backslashes,
            control characters), and where a token goes must not depend on who reads.
    """
    if _AMBIGUOUS.search(reference):
        raise httpx.InvalidURL("a URL with a backslash or a control character")
    try:
        url = base.join(reference)
        _ = url.host  # decoded only when it is asked for: `xn--` is no name
    except ValueError as error:
        raise httpx.InvalidURL(f"no URL ({type(error).__name__})") from None
    if url.is_relative_url:  # "a:" has a scheme, and leads nowhere
        raise httpx.InvalidURL("a URL without a host")
    return url


def _links(response: httpx.Response) -> dict[str, str]:
    """Return the targets of the Link header by relation, in lower case (RFC 8288, 3)."""
    targets: dict[str, str] = {}
    for target, parameters in _LINK.findall(response.headers.get("link", "")):
        for name, quoted, bare in _LINK_PARAMETER.findall(parameters):
            if name.lower() == "rel":
                for relation in (quoted or bare).lower().split():
                    targets.setdefault(relation, target)
                break
    return targets


def _by_link_header(
    paging: Paging, asked: httpx.URL, response: httpx.Response, payload: Payload
) -> Next | None:
    target = _links(response).get("next")
    return None if target is None else _linked(paging, asked, resolve(asked, target), len(payload.records))


def _by_envelope(paging: Paging, asked: httpx.URL, payload: Payload) -> Next | None:
    containers = list(_containers(payload.envelope))
    more = [c[key] for c in containers for key in _MORE_KEYS if isinstance(c.get(key), bool)]
    if more and not any(more):
        return _THE_END
    found = (
        _by_next_key(paging, asked, containers, len(payload.records))
        or _by_cursor_key(paging, asked, containers)
        or _by_counts(paging, asked, containers)
    )
    if any(more) and (found is None or found.url is None):
        raise UnnamedRest("says that there is more, and not where")
    return found


def _by_next_key(
    paging: Paging, asked: httpx.URL, containers: list[Mapping[str, Any]], records: int
) -> Next | None:
    """Find a link, a page number or a cursor under one of the names that servers give to what is next."""
    found = [_target(named) for _key, named in _values(containers, _NEXT_KEYS)]
    for value in found:
        if _says_none(value):
            continue
        if (page := _integer(value)) is not None:
            return _numbered(asked, paging.page_param, page)
        if not isinstance(value, str):
            raise UnnamedRest("names a next page in a form that is not known")
        if not _is_link(value):
            return _cursored(asked, paging.cursor_param, value)
        url = resolve(asked, value)
        if url.params.get(paging.page_param) != "":  # pagy's metadata: a link to no page is its end
            return _linked(paging, asked, url, records)
    return _THE_END if found else None


def _by_cursor_key(paging: Paging, asked: httpx.URL, containers: list[Mapping[str, Any]]) -> Next | None:
    found = list(_values(containers, _CURSOR_KEYS))
    for key, value in found:
        if _says_none(value):
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UnnamedRest("names a cursor in a form that is not known")
        return _cursored(asked, key if key == "after" else paging.cursor_param, str(value))
    return _THE_END if found else None


def _by_counts(paging: Paging, asked: httpx.URL, containers: list[Mapping[str, Any]]) -> Next | None:
    for container in containers:
        current, pages = _first_integer(container, _CURRENT_KEYS), _first_integer(container, _PAGES_KEYS)
        if pages is None and current is not None:
            pages = _page_count(_first_integer(container, _TOTAL_KEYS), _first_integer(container, _SIZE_KEYS))
        if pages is not None:
            return _up_to(paging, asked, current, pages)
    return None


def _target(named: object) -> object:
    """Return what is named as next, also where it is wrapped in an object (HAL, JSON:API)."""
    if isinstance(named, dict):
        return next((named[key] for key in ("href", "url") if key in named), named or None)
    return named


def _says_none(value: object) -> bool:
    return value is None or value is False or value == ""


def _is_link(text: str) -> bool:
    return "?" in text or text.lower().startswith(("http://", "https://", "/"))


def _by_headers(
    paging: Paging, asked: httpx.URL, headers: Mapping[str, str], payload: Payload
) -> Next | None:
    if named := [headers[name].strip() for name in _NEXT_HEADERS if name in headers]:
        page = _integer(named[0])
        if page is None and named[0]:
            raise UnnamedRest("names a next page in a form that is not known")
        return _THE_END if page is None else _numbered(asked, paging.page_param, page)
    current, pages = _first_integer(headers, _CURRENT_HEADERS), _first_integer(headers, _PAGES_HEADERS)
    size = _first_integer(headers, _SIZE_HEADERS)
    if pages is None:
        pages = _page_count(_first_integer(headers, _TOTAL_HEADERS), size)
    if pages is not None:
        return _up_to(paging, asked, current, pages)
    if current is not None and size is not None:
        # Countless mode: pages have numbers, and only an empty one says that they end.
        return _counted(asked, paging.page_param, current + 1) if payload.records else _THE_END
    return None


def _up_to(paging: Paging, asked: httpx.URL, current: int | None, pages: int) -> Next:
    """Return the next of so many pages; which one this is, the request says where the answer does not.

    Counted from 0 they end one sooner: an empty page more is asked for, and none is left out.
    """
    if current is None:
        current = _page_asked(paging, asked)
    return _numbered(asked, paging.page_param, current + 1) if current < pages else _THE_END


def _page_asked(paging: Paging, asked: httpx.URL) -> int:
    page = _integer(asked.params.get(paging.page_param))
    return paging.first_page if page is None else page


def _page_count(total: int | None, size: int | None) -> int | None:
    return -(-total // size) if total is not None and size else None


def _refuse_silence(paging: Paging, asked: httpx.URL, response: httpx.Response, payload: Payload) -> None:
    """Raise UnnamedRest where a first page that says nothing of a next one can hardly be all."""
    count, total = len(payload.records), named_total(response, payload)
    if paging.check_total and total is not None and total > count:
        raise UnnamedRest(f"says that there are {total:,} records, and not where the rest is")
    sizes = [_first_integer(response.headers, _SIZE_HEADERS)]
    sizes += [_first_integer(container, _SIZE_KEYS) for container in _containers(payload.envelope)]
    if count and count in sizes:
        raise UnnamedRest(f"holds {count:,} records, as many as it says a page has, and names no next page")
    if count and paging.size_param and count == _integer(asked.params.get(paging.size_param)):
        raise UnnamedRest(f"holds exactly the {count:,} records that were asked for, and names no next page")


def _linked(paging: Paging, asked: httpx.URL, url: httpx.URL, records: int) -> Next:
    names = {paging.page_param, paging.offset_param, "page", "offset"}
    is_positional = any(_integer(url.params.get(name)) is not None for name in names)
    return Next(url, is_positional=is_positional or _counts_on(paging, asked, url, records))


def _counts_on(paging: Paging, asked: httpx.URL, url: httpx.URL, records: int) -> bool:
    """Say whether a number in a link goes on from the request's by a page, or by the records of one.

    A position has many names and few steps; those of a cursor of digits are of any length. One that happens
    to step like a position is read again where records come twice.
    """
    size_names = {paging.size_param, *_SIZE_PARAMS}
    sizes = {_integer(value) for name, value in url.params.items() if name in size_names}
    steps = {1, records, paging.page_size, *sizes}
    for name, value in url.params.items():
        position, before = _integer(value), asked.params.get(name)
        if name in size_names or position is None or not 0 < position < _MAX_POSITION:
            continue
        # What a first request does not say counts from 0 or from 1.
        starts = (0, 1) if before is None else (_integer(before),)
        if any(start is not None and position > start and position - start in steps for start in starts):
            return True
    return False


def _numbered(asked: httpx.URL, param: str, page: int) -> Next:
    return Next(asked.copy_set_param(param, page), is_positional=True)


def _counted(asked: httpx.URL, param: str, position: int) -> Next:
    return Next(asked.copy_set_param(param, position), is_named=False, is_positional=True)


def _cursored(asked: httpx.URL, param: str, cursor: str) -> Next:
    return Next(asked.copy_set_param(param, cursor))


def _containers(envelope: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the envelope, and the objects in it (and in those) that usually hold paging."""
    yield envelope
    for name in _CONTAINERS:
        if isinstance(found := envelope.get(name), dict):
            yield found
            if isinstance(inner := found.get("cursors"), dict):
                yield inner


def _values(containers: list[Mapping[str, Any]], keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what stands under the keys, by key and then by container; also where it is null."""
    for key in keys:
        yield from ((key, container[key]) for container in containers if key in container)


def _first_integer(mapping: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((n for name in names if (n := _integer(mapping.get(name))) is not None), None)


def _integer(value: object) -> int | None:
    """Return a count that is written as a number or as text; what is longer counts nothing: a cursor."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_MAX_DIGITS:
        return value
    return None
