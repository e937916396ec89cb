"""When a listing ends, when part of it must be read again, and when it goes wrong: the guards of one reading.

A listing is read while it changes. A cursor stands that; page numbers and offsets do not:

- A record that was read moves to the end (a list in order of change, oldest first). Everything behind it
  moves up, and the record at the next page's edge is skipped. It shows when the moved record comes again,
  changed: the pages from where it first stood are read once more.
- A record that was not read yet moves to the front (newest first), as a new one does. Everything before its
  place moves down, and the next page begins with what the last one ended with: the front is looked at again.
- A record that was read leaves the list, as what changes now leaves a span with an upper bound. Everything
  behind it moves up too, and it never comes again. A total that falls shows it; where a span is read and no
  total is named, a second reading that does not meet the record does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from dispatchlake.api.paging import Next, UnnamedRest, named_total, next_request
from dispatchlake.api.seen import SeenHashes
from dispatchlake.errors import CenterUnavailable, ContractBroken
from dispatchlake.model import Resource
from dispatchlake.payload import Payload, values_of

MAX_READINGS = 10
MAX_READINGS_SHORT = 3
"""Readings after which a listing that keeps moving, or stays shorter than it says, is given up."""

MAX_STALE_PAGES = 3
"""So many pages in a row may bring no new id although more are named or counted on to: a burst of new records
can push a whole page of known ones down, and a page may come twice, but not three times."""


@dataclass(slots=True)
class _Reading:
    """What one reading has shown; each reading begins without it."""

    began_on: int
    """Its first page; those before it were not read again."""
    ids: SeenHashes
    contents: SeenHashes = field(default_factory=SeenHashes)
    """Pages by their content, where records have no id."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each URL was named."""
    last_ids: list[str] | None = None
    """The ids of the page before."""
    without_id: int = 0
    """Records without an id."""
    stale_pages: int = 0
    """Pages in a row, up to now, that brought no new id."""
    moves: int = 0
    """Records of which it is known that they moved others: they came again, changed, or left the list."""
    uncounted: int = 0
    """Pages after the first without a total, so that what leaves the list before them does not show."""
    slips: int = 0
    """Signs that the list moved up: known records where new ones, or none, were due."""
    gaps: int = 0
    """Pages that do not begin with the overlap that was asked for."""
    overlaps: bool = False
    """Whether the next page must begin with the last record of this one."""
    is_positional: bool = False
    """Whether pages are counted to, by number or offset."""
    moved_from: int | None = None
    """The first page that a record may have been skipped from."""
    idle_from: int | None = None
    """The first of the last pages that brought only known records."""

    @property
    def has_shifted(self) -> bool:
        """Whether anything in it says that records changed their places."""
        return bool(self.moves or self.slips or self.gaps)

    def move(self, page: int) -> None:
        """Note that a record may have been skipped on this page or after it."""
        self.moved_from = page if self.moved_from is None else min(self.moved_from, page)


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
        self._changes = self._changes_then = self._changes_before = self._unmet_then = 0
        self._readings = self._looks = 0
        self._is_look = self._has_grown = False
        self._begin([], self._ids)

    def _begin(self, urls_before: list[httpx.URL], ids: SeenHashes | None = None) -> None:
        """Begin a reading after the pages that need not be read again."""
        self._urls = urls_before
        self._reading = _Reading(len(urls_before) + 1, SeenHashes() if ids is None else ids)

    @property
    def is_at_cursor(self) -> bool:
        """Say whether what is asked for next is no position in the list, but where an answer has left off."""
        return bool(self._urls) and not self._reading.is_positional

    def take(self, asked: httpx.URL, response: httpx.Response, payload: Payload) -> None:
        """Take note of a page, and decide what follows.

        Raises:
            ContractBroken: A paging loop, the page cap, or a rest that is not named.
            CenterUnavailable: The list kept changing in every reading.
        """
        self._urls.append(asked)
        is_new, is_known = self._note(payload.records)
        self._note_total(named_total(response, payload), len(payload.records))
        following = self._following(asked, response, payload)
        self._reading.stale_pages = 0 if is_new else self._reading.stale_pages + 1
        if following is not None and self._is_counted_out(following):
            self._reading.idle_from = None
            following = None
        # A look at the front has seen all that is new there when it comes to what has not changed since.
        is_last = following is None or following.url is None or (self._is_look and is_known)
        if self._reading.idle_from is not None and (is_new or is_last):
            # A page of known records, and then others: it may have come in the place of the one asked for.
            self._reading.slips += 1
            self._reading.move(self._reading.idle_from)
            self._reading.idle_from = None
        if following is None or following.url is None or is_last:
            self._finish()
            return
        self._reading.is_positional = self._reading.is_positional or following.is_positional
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
        if following.is_named or self._reading.stale_pages < MAX_STALE_PAGES:
            return False
        size = self._resource.paging.page_size if self._resource.paging.size_param else None
        if len(self._urls) - self._reading.stale_pages == 1 and len(self._ids) == size:
            raise self._unnamed(
                f"brings the same {size:,} records, as many as were asked for, whatever is counted to"
            )
        return True

    def _note(self, records: Sequence[Any]) -> tuple[bool, bool]:
        """Remember a page; say whether any of it is new to this reading, and any as it was before looks."""
        page = len(self._urls)
        ids, versions = _versions(records, self._resource)
        first_seen_on = self._ids.add(ids, page)
        seen_as = _LOOK if self._is_look else page
        if first_seen_on.any():
            version_seen_on = self._versions.add(versions, seen_as)
        else:  # what is new has no version that is known
            self._versions.add_unseen(versions, seen_as)
            version_seen_on = first_seen_on
        is_new_version = version_seen_on == 0
        # All that the first reading has met is all that was ever met.
        is_first = self._reading.ids is self._ids
        is_new = (first_seen_on if is_first else self._reading.ids.add(ids, page)) == 0
        is_changed = is_new_version & (first_seen_on > 0)
        if is_changed.any():
            self._changes += int(is_changed.sum())
            self._reading.moves += int((is_changed & ~is_new).sum())
            self._reading.move(int(first_seen_on[is_changed].min()))
        if self._reading.last_ids is not None:
            self._note_shift(ids, ~is_new, is_changed)
        is_any_new = bool(is_new.any())
        if self._reading.idle_from is None and len(ids) > self._reading.overlaps and not is_any_new:
            self._reading.idle_from = page
        self._reading.last_ids = ids
        self._page_size = self._page_size or len(self._ids)
        self._reading.overlaps = self._resource.paging.style == "offset" and len(records) == len(ids) > 1
        # What has no id is told apart by its content, and counted apart: two of them may be alike.
        if without_id := len(records) - len(ids):
            self._reading.without_id += without_id
            self._without_id = max(self._without_id, self._reading.without_id)
            is_any_new |= self._reading.contents.add([_text(records)], page)[0] == 0
        return is_any_new, bool(((version_seen_on > 0) & (version_seen_on < _LOOK)).any())

    def _note_total(self, total: int | None, records: int) -> None:
        """Remember a total; where it has fallen, as many records left, and those behind them moved up."""
        # After other pages, no whole list is as long as a page: that is a count of the page alone.
        is_of_all = self._resource.paging.check_total and total is not None and total != records
        if len(self._urls) > self._reading.began_on and not is_of_all:
            self._reading.uncounted += 1
        if total is None:
            return
        left = self._totals[-1] - total if self._totals and is_of_all else 0
        if left > 0:
            self._changes += left
            self._reading.moves += left
            self._reading.move(max(1, len(self._urls) - 1))
        self._totals.append(total)

    def _note_shift(self, ids: list[str], is_known: NDArray[np.bool_], is_changed: NDArray[np.bool_]) -> None:
        """Note whether the list has moved down or up between the last page and this one."""
        again = int(np.argmin(np.append(is_known, False)))  # so many known ones the page begins with
        expected = int(self._reading.overlaps)
        is_tail = (
            self._reading.last_ids is not None
            and ids[:again] == self._reading.last_ids[len(self._reading.last_ids) - again :]
        )
        is_gap = again < expected
        is_slip = not is_tail or bool((is_known & ~is_changed)[again:].any())
        if is_gap or is_slip:
            self._reading.gaps += is_gap
            self._reading.slips += is_slip
            self._reading.move(len(self._urls) - 1)
        self._has_grown |= again > expected

    def _finish(self) -> None:
        """End; or read again where a record may have been skipped."""
        # What left unread is promised no more; that a total fell is a reason to read again for itself.
        promised = min(self._totals[0], self._totals[-1]) if self._totals else 0
        found = len(self._ids) + self._without_id
        self.next_url = None
        if self._is_look:
            # A page is of one moment; from one to the next, the front may have changed once more.
            if self._reading.is_positional and (self._has_grown or self._reading.has_shifted):
                self._look_at_front()
            return
        self._readings += 1
        if self._resource.paging.check_total and found < promised:
            self._read_again(1, MAX_READINGS_SHORT, f"promises {promised:,} records and lists {found:,}")
        elif self._reading.is_positional and not self._is_span_made_good():
            self._read_again(1, MAX_READINGS, _KEEPS_CHANGING)
        elif self._reading.is_positional and self._reading.moved_from is not None:
            # Each change may have moved what was skipped up by one more place.
            margin = 1 + self._changes // max(1, self._page_size)
            page = min(max(1, self._reading.moved_from - margin), len(self._urls))
            if not self._is_made_good(page):
                self._read_again(page, MAX_READINGS, _KEEPS_CHANGING)
            elif self._has_grown:
                self._look_at_front()
        elif self._reading.is_positional and self._has_grown:
            self._look_at_front()

    def _is_span_made_good(self) -> bool:
        """Say whether a reading has met what the one before it skipped because records left the span unseen.

        Those that left between the two, having been read, are those that it did not meet again.
        """
        is_bounded = self._resource.until_param is not None
        is_told = not self._reading.uncounted or self._resource.paging.style == "offset"  # pages overlap
        if not is_bounded or is_told or self._reading.began_on > 1:
            return True
        unmet = len(self._ids) - len(self._reading.ids)
        left, self._unmet_then = unmet - self._unmet_then, unmet
        return self._readings > 1 and left < max(1, self._page_size - 1)

    def _is_made_good(self, page: int) -> bool:
        """Say whether this reading must have met what the one before it skipped, on this page or after it.

        That stood at the edge of a page. To be skipped again it must move up by a whole page, and it moves by
        one place for each record that changes.
        """
        if self._readings == 1:
            return False
        is_still = self._changes == self._changes_then and not self._reading.gaps
        changes = self._changes - self._changes_before
        is_explained = self._reading.slips + self._reading.gaps <= self._reading.moves
        return is_still or (is_explained and self._reading.began_on <= page and changes + 1 < self._page_size)

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
        self._reading.asked[str(url)] += 1
        # Twice is a slip; the third time it is a circle.
        if self._reading.asked[str(url)] > 2 or self._reading.stale_pages >= MAX_STALE_PAGES:
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


def _versions(records: Sequence[Any], resource: Resource) -> tuple[list[str], Iterable[Hashable]]:
    """Return the ids of records that have one, and for each what tells its version."""
    ids, changes = values_of(records, resource.id_field), values_of(records, resource.changed_field)
    if set(map(type, ids)) <= {str} and set(map(type, changes)) <= {str}:  # as nearly all
        return ids, zip(ids, changes, strict=True)
    known = [
        (str(identity), changed if isinstance(changed, _PLAIN) else None)
        for identity, changed in zip(ids, changes, strict=True)
        if type(identity) is str or type(identity) is int
    ]
    return [identity for identity, _changed in known], known


def _text(records: Sequence[Any]) -> str:
    try:
        return repr(list(records))
    except RecursionError:
        return f"{len(records)} records, nested too deeply to be told apart"
