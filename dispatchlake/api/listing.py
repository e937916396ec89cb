"""When a listing ends, when it must be read again, and when it goes wrong: the guards of one reading.

A listing is read while it changes. A cursor stands it; page numbers and offsets do not: when a record that
was read moves to the end (a list in order of change), everything behind it moves up, and the record at the
next page's edge is skipped. What gives that away is seen here, and the listing is read once more.
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

MAX_READINGS = 3
MAX_STALE_PAGES = 3
"""So many pages in a row may bring no new id although the server names a next one: a burst of new records
can push a whole page of known ones down, but not three."""


class Listing:
    """The state of reading one listing, page by page; `next_url` is what to ask for."""

    def __init__(self, resource: Resource, center_id: str, first_url: httpx.URL) -> None:
        self.next_url: httpx.URL | None = first_url
        self._resource = resource
        self._center_id = center_id
        self._first_url = first_url
        self._readings = 0
        self._ids = SeenHashes()
        self._begin()

    def _begin(self) -> None:
        self._readings += 1
        self._ids_of_this = SeenHashes()
        self._versions = SeenHashes()
        self._contents = SeenHashes()
        self._without_id = 0
        self._asked: dict[str, int] = {}
        self._pages = self._stale_pages = 0
        self._totals: list[int] = []
        self._is_positional = self._has_moved = False

    def take(self, asked: httpx.URL, response: httpx.Response, payload: Payload) -> None:
        """Take note of a page, and decide what follows.

        Raises:
            ContractBroken: A paging loop, the page cap, or a rest that is not named.
            CenterUnavailable: The list kept changing in every reading.
        """
        self._pages += 1
        is_new = self._note(payload.records)
        if (total := named_total(response, payload)) is not None:
            self._totals.append(total)
        following = self._following(asked, response, payload)
        # Counted on, and nothing new came: the end, or a server that ignores the count.
        is_end = following is not None and not following.is_named and not is_new
        if following is None or following.url is None or is_end:
            self._finish()
            return
        self._is_positional = self._is_positional or following.is_positional
        self._stale_pages = 0 if is_new else self._stale_pages + 1
        self._guard(following.url)
        self.next_url = following.url

    def _following(self, asked: httpx.URL, response: httpx.Response, payload: Payload) -> Next | None:
        try:
            return next_request(self._resource.paging, asked, response, payload, is_first=self._pages == 1)
        except UnnamedRest as error:
            raise ContractBroken(
                f"{self._where()} {error}. Find out how this center pages "
                f"(dispatchlake check {self._center_id}) and pin it: paging.style page or offset, or single "
                "if that really is all.",
                self._center_id,
            ) from None
        except httpx.InvalidURL:
            raise ContractBroken(
                f"{self._where()} names a next page that is no URL.", self._center_id
            ) from None

    def _note(self, records: list[Any]) -> bool:
        """Remember the page's ids; say whether any record is new in this reading."""
        id_field, changed_field = self._resource.id_field, self._resource.changed_field
        ids: list[str] = []
        versions: list[str] = []
        for record in records:
            identity = record.get(id_field) if type(record) is dict else None
            if type(identity) is str or type(identity) is int:
                ids.append(str(identity))
                versions.append(f"{identity}|{record.get(changed_field)}")
        # What has no id is told apart by its content, and counted apart: two of them may be alike.
        without_id = len(records) - len(ids)
        is_new = False
        if without_id:
            self._without_id += without_id
            is_new = bool(self._contents.add([repr(records)])[0])
        new_ids = self._ids_of_this.add(ids)
        new_versions = self._versions.add(versions)
        self._ids.add(ids)
        if bool(np.any(new_versions & ~new_ids)):
            self._has_moved = True  # here again, changed since: it has moved on while we read
        if self._resource.paging.style == "offset" and self._pages > 1 and new_ids[:1].any():
            self._has_moved = True  # the overlapping record is not the one we know
        return is_new or bool(new_ids.any())

    def _finish(self) -> None:
        """End, or begin anew where this reading may have skipped a record."""
        promised = min(self._totals[0], self._totals[-1]) if self._totals else 0
        found = len(self._ids) + self._without_id
        is_short = self._resource.paging.check_total and found < promised
        if not is_short and not (self._is_positional and self._has_moved):
            self.next_url = None
            return
        if self._readings == MAX_READINGS:
            what = (
                f"promises {promised:,} records and lists {found:,}"
                if is_short
                else "keeps changing while it is read"
            )
            raise CenterUnavailable(
                f"{self._where()} {what}, in {MAX_READINGS} readings; records may have been skipped, so "
                "nothing is taken. Larger pages (paging.page_size) or a proven filter make readings shorter; "
                "if the center's totals are wrong, set paging.check_total to false.",
                self._center_id,
            )
        self._begin()
        self.next_url = self._first_url

    def _guard(self, url: httpx.URL) -> None:
        asked = self._asked[str(url)] = self._asked.get(str(url), 0) + 1
        # Twice is a slip; the third time it is a circle.
        if asked > 2 or self._stale_pages >= MAX_STALE_PAGES:
            raise ContractBroken(
                f"{self._where()} goes round in circles: it names pages that bring nothing new.",
                self._center_id,
            )
        if self._pages >= self._resource.paging.max_pages:
            raise ContractBroken(
                f"{self._where()} has more than {self._resource.paging.max_pages:,} pages. Read a shorter "
                "span, ask for larger pages (paging.page_size), or raise paging.max_pages.",
                self._center_id,
            )

    def _where(self) -> str:
        return f"{self._center_id}: the listing {self._resource.name} (page {self._pages})"


class SeenHashes:
    """A set that only says what is new, in 8 bytes an entry: a listing may have millions.

    Keeps 64-bit hashes in sorted runs, each at least twice as long as the next, merged as they grow.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, texts: Iterable[str]) -> NDArray[np.bool_]:
        """Add texts; return for each whether it had not been added before this call."""
        hashes = np.fromiter(map(hash, texts), np.int64)
        is_new = np.ones(len(hashes), np.bool_)
        for run in self._runs:
            places = np.searchsorted(run, hashes)
            places[places == len(run)] = 0
            is_new &= run[places] != hashes
        run = np.unique(hashes[is_new])
        if run.size:
            self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(np.union1d(before, last))
        return is_new
