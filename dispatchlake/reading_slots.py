"""Reading slots: how many listings one process reads at once.

More cells may be under way than are being read: one whose pages are all there waits for its commit, and needs
its center no more. It lets the next one be read meanwhile, unless what it holds in memory is large.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from dispatchlake.model import Page

READINGS_AT_ONCE = 8
"""Listings that are read. A center's own limit is its rate budget, kept across runs and processes."""

CELLS_AT_ONCE = 3 * READINGS_AT_ONCE
"""Cells under way: those that are read, and those that were and wait to be landed, or to be tried again."""

LIGHT_BYTES = 2 * 2**20
"""Pages of so many bytes in all are few: half a day of a large center, and next to nothing in memory."""

_FREE = threading.BoundedSemaphore(READINGS_AT_ONCE)


class ReadingSlot:
    """One of the slots, taken."""

    def __init__(self) -> None:
        self._is_taken = True

    def until_read(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Yield the pages; after the last, let another cell be read if they were few."""
        body_bytes = 0
        for page in pages:
            body_bytes += len(page.body)
            yield page
        if body_bytes <= LIGHT_BYTES:
            self.give_back()

    def give_back(self) -> None:
        """Let another cell be read; twice is as good as once."""
        if self._is_taken:
            self._is_taken = False
            _FREE.release()


@contextlib.contextmanager
def reading_slot() -> Iterator[ReadingSlot]:
    """Wait for a slot, and give it back at the end if that has not been done before."""
    _FREE.acquire()
    slot = ReadingSlot()
    try:
        yield slot
    finally:
        slot.give_back()
