"""How one page of a listing goes wrong: in its records, or in how the next page is named."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from sandbox.config import CenterConfig, Fault, PagingForm
from sandbox.listing import START_CURSOR, Answer, page_number, page_size, requested_page

_ONE_PAGE: frozenset[PagingForm] = frozenset({"array", "page_ignored"})
_COUNTED: frozenset[PagingForm] = frozenset({"pagy", "pagy_old", "pagy_countless", "page_unnamed", "offset"})
"""Forms in which no page names the next: the reader counts."""

_ENDED_BY_AN_EMPTY_PAGE: frozenset[PagingForm] = frozenset({"pagy_countless", "page_unnamed", "offset"})


def refuse_what_cannot_happen(fault: Fault, form: PagingForm) -> None:
    """Raise ValueError for a fault that a listing of this form cannot have."""
    if fault.kind in {"repeated_page", "empty_page"} and form in _ONE_PAGE:
        raise ValueError(f"{fault.kind}: a listing of the form {form} has one page")
    if fault.kind == "empty_page" and form in _ENDED_BY_AN_EMPTY_PAGE:
        raise ValueError(f"empty_page: a listing of the form {form} ends with one")


def query_to_answer(config: CenterConfig, query: Mapping[str, str], fault: Fault | None) -> dict[str, str]:
    """Return the query that is answered: of the page before, where a page is repeated and none is named."""
    if fault is None or fault.kind != "repeated_page" or config.paging not in _COUNTED:
        return dict(query)
    page = max(1, requested_page(config, query) - 1)
    if config.paging == "offset":
        return {**query, "offset": str((page - 1) * page_size(config, query))}
    return {**query, "page": str(page_number(config, page))}


def spoil(found: Answer, fault: Fault, config: CenterConfig, query: Mapping[str, str], url: str) -> None:
    """Change an answer as the fault has it; `url` is the listing's, for links to its pages."""
    page = page_number(config, requested_page(config, query))
    if fault.kind == "next_foreign":
        _name_next(found, f"{url}?{urlencode({**query, 'page': page + 1})}")
    elif fault.kind == "repeated_page":
        _name_again(found, config.paging, query, url, page)
    elif fault.kind == "duplicate_rows":
        found.records = [version for version in found.records for _ in range(2)]
    elif fault.kind == "reordered_rows":
        found.records = found.records[::-1]


def _name_again(found: Answer, form: PagingForm, query: Mapping[str, str], url: str, page: int) -> None:
    """Name the page just asked for as the next one, in the form's own way."""
    if form == "cursor":
        found.envelope = {"next_cursor": query.get("cursor") or START_CURSOR, "has_more": True}
    elif form == "meta_page" and found.envelope:
        found.envelope["meta"]["next_page"] = page
    elif form == "kaminari":
        found.headers["X-Next-Page"] = str(page)
    elif form in {"link", "next_url"}:
        _name_next(found, f"{url}?{urlencode(query)}" if query else url)


def _name_next(found: Answer, link: str) -> None:
    if found.envelope and "links" in found.envelope:
        found.envelope["links"]["next"] = link
    else:
        found.headers["Link"] = f'<{link}>; rel="next"'
