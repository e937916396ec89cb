"""Reading ahead: the next batch is fetched and decoded while the last one is archived and staged."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """What comes after the last item: the error the source ended with, if it did not just end."""

    error: BaseException | None = None


@contextlib.contextmanager
def reading_ahead(source: Iterable[T]) -> Iterator[Iterator[T]]:
    """Yield the items of `source`, each drawn in a thread of its own while the one before is worked on.

    What the source raises is raised where its item would have come. On leaving, early or not, the source is
    let go of: the item that is being drawn is waited for, and no other is drawn.
    """
    drawn: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    wanted = threading.Semaphore(0)  # one item beforehand, never two: a batch of pages is large
    is_left = threading.Event()

    def draw() -> None:
        error: BaseException | None = None
        try:
            for item in source:
                drawn.put(item)
                wanted.acquire()
                if is_left.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - raised again where its item is waited for
            error = raised
        drawn.put(_End(error))

    def taken() -> Iterator[T]:
        while not isinstance(item := drawn.get(), _End):
            wanted.release()
            yield item
        if item.error is not None:
            raise item.error

    # In the caller's context: by it Prefect knows which run a line of the log is of.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(draw,), name="reading-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        is_left.set()
        wanted.release()
        thread.join()
