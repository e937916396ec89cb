"""What a reading has met already, small enough for listings of millions of records."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray


class SeenHashes:
    """What has been seen and on which page, in 12 bytes an entry: a listing may have millions.

    Keeps 64-bit hashes in sorted runs, each at least twice as long as the next, merged as they grow.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []

    def __len__(self) -> int:
        return sum(len(hashes) for hashes, _pages in self._runs)

    def add(self, things: Iterable[Hashable], page: int) -> NDArray[np.int32]:
        """Add things seen on a page; return for each the page it was first seen on before, or 0."""
        hashes = np.fromiter(map(hash, things), np.int64)
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
