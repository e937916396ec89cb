"""Work in halves where memory is short for all of it: how much a thing takes, its length does not tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dispatchlake.errors import MemoryShort

T = TypeVar("T")
R = TypeVar("R")

TOO_MUCH = "it needs more memory than there is"
"""Why one is left out that is too much alone."""


def in_halves(
    items: Sequence[T], work: Callable[[Sequence[T]], R], leave_out: Callable[[T], R]
) -> Iterator[R]:
    """Yield what becomes of items, in their order: of all at once, or where that is too much, of each half.

    Args:
        items: At least one.
        work: Does it for some of them, or raises MemoryShort and has done nothing.
        leave_out: Called instead for one that is too much alone, and would keep all others waiting.
    """
    with contextlib.suppress(MemoryShort):
        yield work(items)
        return
    # Out here nothing holds what the failed try had in memory.
    if len(items) == 1:
        yield leave_out(items[0])
        return
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        yield from in_halves(half, work, leave_out)
