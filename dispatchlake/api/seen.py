"""What a reading has met already, small enough for listings of millions of records."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

_RECENT = 2**15
"""So many entries are kept in a dict, which is ten times as fast to add to and ten times as large."""


class SeenHashes:
    """What has been seen and on which page, in 12 bytes an entry: a listing may have millions.

    Keeps 64-bit hashes: the last ones in a dict, the others in sorted runs, each at least twice as long as
    the next, merged as they grow.
    """

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        self._unsorted: list[tuple[NDArray[np.int64], int]] = []

    def __len__(self) -> int:
        self._sort()
        return len(self._recent) + sum(len(hashes) for hashes, _pages in self._runs)

    def add_unseen(self, things: Iterable[Hashable], page: int) -> None:
        """Add things seen on a page, where it is known that none was before: in a quarter of the time."""
        if hashes := list(map(hash, things)):
            self._unsorted.append((np.array(hashes, np.int64), page))

    def add(self, things: Iterable[Hashable], page: int) -> NDArray[np.int32]:
        """Add things seen on a page; return for each the page it was first seen on before, or 0."""
        self._sort()
        hashes = list(map(hash, things))
        seen_on = np.zeros(len(hashes), np.int32)
        if not self._recent.keys().isdisjoint(hashes):
            seen_on += np.array([self._recent.get(hashed, 0) for hashed in hashes], np.int32)
        if self._runs:
            seen_on += self._seen_before(np.array(hashes, np.int64))
        if seen_on.any():
            # What is in a run is not put into the dict too, or its first page would be forgotten there.
            hashes = [hashed for hashed, seen in zip(hashes, seen_on.tolist(), strict=True) if not seen]
        self._recent.update(dict.fromkeys(hashes, page))
        if len(self._recent) >= _RECENT:
            self._put_away()
        return seen_on

    def _seen_before(self, hashes: NDArray[np.int64]) -> NDArray[np.int32]:
        seen_on = np.zeros(len(hashes), np.int32)
        order = np.argsort(hashes)  # in order, each is found near the one before it
        hashes = hashes[order]
        for known, pages in self._runs:
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            is_known = known[places] == hashes
            if is_known.any():
                seen_on[order[is_known]] += pages[places[is_known]]
        return seen_on

    def _put_away(self) -> None:
        """Move the recent entries to a run of their own."""
        hashes = np.fromiter(self._recent.keys(), np.int64, len(self._recent))
        pages = np.fromiter(self._recent.values(), np.int32, len(self._recent))
        self._recent = {}
        order = np.argsort(hashes)
        self._add_run(hashes[order], pages[order])

    def _sort(self) -> None:
        """Make a run of what was added unseen."""
        if not self._unsorted:
            return
        hashes = np.concatenate([hashes for hashes, _page in self._unsorted])
        pages = np.concatenate([np.full(len(hashes), page, np.int32) for hashes, page in self._unsorted])
        self._unsorted = []
        hashes, first = np.unique(hashes, return_index=True)
        self._add_run(hashes, pages[first])

    def _add_run(self, hashes: NDArray[np.int64], pages: NDArray[np.int32]) -> None:
        """Add a sorted run, and merge runs that have become too many."""
        self._runs.append((hashes, pages))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (later, later_pages), (earlier, earlier_pages) = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([earlier, later])
            order = np.argsort(merged, kind="stable")
            self._runs.append((merged[order], np.concatenate([earlier_pages, later_pages])[order]))
