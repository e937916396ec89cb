"""When a listing ends, when part of it must be read again, and when it goes wrong: the guards of one reading.

A listing is read while it changes. A cursor stands that; page numbers and offsets do not:

- A record that was read moves to the end (a list in order of change, oldest first). Everything behind it
  moves up, and the record at the next page's edge is skipped. It shows when the moved record comes again,
  changed: the pages from where it first stood are read once more.
- A record that was not read yet moves to the front (newest first), as a new one does. Everything before its
  place moves down, and the next page begins with what the last one ended with: the front is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from dispatchlake.api.paging import Next, UnnamedRest, named_total, next_request
from dispatchlake.errors import CenterUnavailable, ContractBroken
from dispatchlake.model import Resource
from dispatchlake.payload import Payload

MAX_READINGS = 10
MAX_READINGS_SHORT = 3
"""Readings after which a listing that keeps moving, or stays shorter than it says, is given up."""

MAX_STALE_PAGES = 3
"""So many pages in a row may bring no new id although more are named or counted on to: a burst of new records
can push a whole page of known ones down, and a page may come twice, but not three times."""


class Listing:
    """The state of reading one listing, page by page; `next_url` is what to ask for."""

    def __init__(self, resource: Resource, center_id: str, first_url: httpx.URL) -> None:
        self.next_url: httpx.URL | None = first_url
        self._resource = resource
        self._center_id = center_id
        self._ids = SeenHashes()
        self._versions = SeenHashes()
        self._totals: list[int] = []
        self._page_size = self._without_id = 0
        self._changes = self._changes_then = self._changes_before = 0
        self._readings = self._looks = 0
        self._is_look = self._has_grown = False
        self._begin([])

    def _begin(self, urls_before: list[httpx.URL]) -> None:
        """Begin a reading after the pages that need not be read again."""
        self._urls = urls_before
        self._began_on = len(urls_before) + 1
        self._asked: dict[str, int] = {}
        self._ids_of_this = SeenHashes()
        self._contents = SeenHashes()
        self._last_ids: list[str] | None = None
        self._stale_pages = self._without_id_here = self._returns = self._slips = self._gaps = 0
        self._overlaps = self._is_positional = False
        self._moved_from: int | None = None
        self._idle_from: int | None = None

    def take(self, asked: httpx.URL, response: httpx.Response, payload: Payload) -> None:
        """Take note of a page, and decide what follows.

        Raises:
            ContractBroken: A paging loop, the page cap, or a rest that is not named.
            CenterUnavailable: The list kept changing in every reading.
        """
        self._urls.append(asked)
        is_new, is_known = self._note(payload.records)
        if (total := named_total(response, payload)) is not None:
            self._totals.append(total)
        following = self._following(asked, response, payload)
        self._stale_pages = 0 if is_new else self._stale_pages + 1
        if following is not None and self._is_counted_out(following):
            self._idle_from = None
            following = None
        # A look at the front has seen all that is new there when it comes to what has not changed since.
        is_last = following is None or following.url is None or (self._is_look and is_known)
        if self._idle_from is not None and (is_new or is_last):
            # A page of known records, and then others: it may have come in the place of the one asked for.
            self._slips += 1
            self._has_moved(self._idle_from)
            self._idle_from = None
        if following is None or following.url is None or is_last:
            self._finish()
            return
        self._is_positional = self._is_positional or following.is_positional
        self._guard(following.url)
        self.next_url = following.url

    def _following(self, asked: httpx.URL, response: httpx.Response, payload: Payload) -> Next | None:
        try:
            return next_request(
                self._resource.paging, asked, response, payload, is_first=len(self._urls) == 1
            )
        except UnnamedRest as error:
            raise self._unnamed(str(error)) from None
        except (httpx.InvalidURL, ValueError):
            raise ContractBroken(
                f"{self._where()} names a next page that is no URL.", self._center_id
            ) from None

    def _unnamed(self, what: str) -> ContractBroken:
        return ContractBroken(
            f"{self._where()} {what}. Find out how this center pages (dispatchlake check {self._center_id}) "
            "and pin it: paging.style page or offset, or single if that really is all.",
            self._center_id,
        )

    def _is_counted_out(self, following: Next) -> bool:
        """Say whether counting on has come to an end: nothing new comes, whatever is counted to."""
        if following.is_named or self._stale_pages < MAX_STALE_PAGES:
            return False
        size = self._resource.paging.page_size if self._resource.paging.size_param else None
        if len(self._urls) - self._stale_pages == 1 and len(self._ids) == size:
            raise self._unnamed(
                f"brings the same {size:,} records, as many as were asked for, whatever is counted to"
            )
        return True

    def _note(self, records: list[Any]) -> tuple[bool, bool]:
        """Remember a page; say whether any of it is new to this reading, and any as it was before looks."""
        page = len(self._urls)
        id_field, changed_field = self._resource.id_field, self._resource.changed_field
        ids: list[str] = []
        versions: list[str] = []
        for record in records:
            identity = record.get(id_field) if type(record) is dict else None
            if type(identity) is str or type(identity) is int:
                changed = record.get(changed_field)
                ids.append(str(identity))
                versions.append(f"{identity}|{changed if isinstance(changed, _PLAIN) else None}")
        is_new = self._ids_of_this.add(ids, page) == 0
        version_seen_on = self._versions.add(versions, _LOOK if self._is_look else page)
        is_new_version = version_seen_on == 0
        first_seen_on = self._ids.add(ids, page)
        is_changed = is_new_version & (first_seen_on > 0)
        if is_changed.any():
            self._changes += int(is_changed.sum())
            self._returns += int((is_changed & ~is_new).sum())
            self._has_moved(int(first_seen_on[is_changed].min()))
        if self._last_ids is not None:
            self._note_shift(ids, ~is_new, is_changed)
        is_any_new = bool(is_new.any())
        if self._idle_from is None and len(ids) > self._overlaps and not is_any_new:
            self._idle_from = page
        self._last_ids = ids
        self._page_size = self._page_size or len(self._ids)
        self._overlaps = self._resource.paging.style == "offset" and len(records) == len(ids) > 1
        # What has no id is told apart by its content, and counted apart: two of them may be alike.
        if without_id := len(records) - len(ids):
            self._without_id_here += without_id
            self._without_id = max(self._without_id, self._without_id_here)
            is_any_new |= self._contents.add([_text(records)], page)[0] == 0
        return is_any_new, bool(((version_seen_on > 0) & (version_seen_on < _LOOK)).any())

    def _note_shift(self, ids: list[str], is_known: NDArray[np.bool_], is_changed: NDArray[np.bool_]) -> None:
        """Note whether the list has moved down or up between the last page and this one."""
        again = int(np.argmin(np.append(is_known, False)))  # so many known ones the page begins with
        expected = int(self._overlaps)
        is_tail = self._last_ids is not None and ids[:again] == self._last_ids[len(self._last_ids) - again :]
        is_gap = again < expected
        is_slip = not is_tail or bool((is_known & ~is_changed)[again:].any())
        if is_gap or is_slip:
            self._gaps += is_gap
            self._slips += is_slip
            self._has_moved(len(self._urls) - 1)
        self._has_grown |= again > expected

    def _has_moved(self, page: int) -> None:
        self._moved_from = page if self._moved_from is None else min(self._moved_from, page)

    def _finish(self) -> None:
        """End; or read again where a record may have been skipped."""
        promised = min(self._totals[0], self._totals[-1]) if self._totals else 0
        found = len(self._ids) + self._without_id
        self.next_url = None
        if self._is_look:
            # A page is of one moment; from one to the next, the front may have changed once more.
            if self._is_positional and (self._has_grown or self._returns or self._slips or self._gaps):
                self._look_at_front()
            return
        self._readings += 1
        if self._resource.paging.check_total and found < promised:
            self._read_again(1, MAX_READINGS_SHORT, f"promises {promised:,} records and lists {found:,}")
        elif self._is_positional and self._moved_from is not None:
            # Each change may have moved what was skipped up by one more place.
            margin = 1 + self._changes // max(1, self._page_size)
            page = min(max(1, self._moved_from - margin), len(self._urls))
            if not self._is_made_good(page):
                self._read_again(page, MAX_READINGS, _KEEPS_CHANGING)
            elif self._has_grown:
                self._look_at_front()
        elif self._is_positional and self._has_grown:
            self._look_at_front()

    def _is_made_good(self, page: int) -> bool:
        """Say whether this reading must have met what the one before it skipped, on this page or after it.

        That stood at the edge of a page. To be skipped again it must move up by a whole page, and it moves by
        one place for each record that changes.
        """
        if self._readings == 1:
            return False
        is_still = self._changes == self._changes_then and not self._gaps
        changes = self._changes - self._changes_before
        is_explained = self._slips + self._gaps <= self._returns
        return is_still or (is_explained and self._began_on <= page and changes + 1 < self._page_size)

    def _read_again(self, page: int, most: int, why: str) -> None:
        if self._readings >= most:
            raise self._given_up(why, most)
        self._changes_before, self._changes_then = self._changes_then, self._changes
        self.next_url = self._urls[page - 1]
        self._begin(self._urls[: page - 1])

    def _look_at_front(self) -> None:
        if self._looks >= MAX_READINGS:
            raise self._given_up(_KEEPS_CHANGING, self._looks)
        self._looks += 1
        self._is_look, self._has_grown = True, False
        self.next_url = self._urls[0]
        self._begin([])

    def _given_up(self, why: str, readings: int) -> CenterUnavailable:
        return CenterUnavailable(
            f"{self._where()} {why}, in {readings} readings; records may have been skipped, so nothing is "
            "taken. Larger pages (paging.page_size) or a proven filter make readings shorter; if the totals "
            "are wrong, set paging.check_total to false.",
            self._center_id,
        )

    def _guard(self, url: httpx.URL) -> None:
        asked = self._asked[str(url)] = self._asked.get(str(url), 0) + 1
        # Twice is a slip; the third time it is a circle.
        if asked > 2 or self._stale_pages >= MAX_STALE_PAGES:
            raise ContractBroken(
                f"{self._where()} goes round in circles: it names pages that bring nothing new.",
                self._center_id,
            )
        if len(self._urls) >= self._resource.paging.max_pages:
            raise ContractBroken(
                f"{self._where()} has more than {self._resource.paging.max_pages:,} pages. Read a shorter "
                "span, ask for larger pages (paging.page_size), or raise paging.max_pages.",
                self._center_id,
            )

    def _where(self) -> str:
        return f"{self._center_id}: the listing {self._resource.name} (page {len(self._urls)})"


_LOOK = 2**31 - 1
"""In the place of a page: a version that was seen in a look at the front."""

_KEEPS_CHANGING = "keeps changing while it is read"
_PLAIN = (str, int, float)


def _text(records: list[Any]) -> str:
    try:
        return repr(records)
    except RecursionError:
        return f"{len(records)} records, nested too deeply to be told apart"


class SeenHashes:
    """What has been seen and on which page, in 12 bytes an entry: a listing may have millions.

    Keeps 64-bit hashes in sorted runs, each at least twice as long as the next, merged as they grow.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []

    def __len__(self) -> int:
        return sum(len(hashes) for hashes, _pages in self._runs)

    def add(self, texts: Iterable[str], page: int) -> NDArray[np.int32]:
        """Add texts seen on a page; return for each the page it was first seen on before, or 0."""
        hashes = np.fromiter(map(hash, texts), np.int64)
        seen_on = np.zeros(len(hashes), np.int32)
        for known, pages in self._runs:
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            seen_on += np.where(known[places] == hashes, pages[places], 0)
        fresh = np.unique(hashes[seen_on == 0])
        if fresh.size:
            self._runs.append((fresh, np.full(len(fresh), page, np.int32)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (later, later_pages), (earlier, earlier_pages) = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([earlier, later])
            order = np.argsort(merged, kind="stable")
            self._runs.append((merged[order], np.concatenate([earlier_pages, later_pages])[order]))
        return seen_on
