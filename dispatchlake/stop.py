"""A way to ask running work to stop: it ends at the next page, or out of the wait it is in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from dispatchlake.errors import Cancelled

T = TypeVar("T")


class Stop:
    """Asked once, seen by every thread that has it."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def is_asked(self) -> bool:
        """Say whether to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Let everything that has this stop."""
        self._asked.set()

    def sleep(self, seconds: float) -> None:
        """Wait, as `time.sleep` does; raise Cancelled as soon as it is asked to stop."""
        if self._asked.wait(seconds):
            raise _cancelled()

    def heeded(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; raise Cancelled instead of asking for another once it is asked to stop."""
        for item in items:
            if self.is_asked:
                raise _cancelled()
            yield item
        if self.is_asked:
            raise _cancelled()


def _cancelled() -> Cancelled:
    return Cancelled("The run was cancelled; what it had not finished is as it was before.")
