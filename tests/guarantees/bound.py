"""How long `make guarantees` may take: until then each fault is tried once before one is tried again."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

from tests.guarantees.ledger import fault_of

UNTIL_S = float(os.environ.get("DISPATCHLAKE_GUARANTEES_UNTIL") or "inf")
"""When it must be over, in seconds since 1970; without it everything is tried."""

LAST_S = 30.0
"""What a test may take; in so many seconds before the end none begins. (Those that the thorough profile makes
longer come first.)"""


def time_is_up(now_s: float | None = None) -> bool:
    """Say whether there is no time left to begin a test."""
    return (time.time() if now_s is None else now_s) > UNTIL_S - LAST_S


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return tests so that the first of each fault come before the second of any.

    Those that try but once come first, as does a group of tests: that is one piece of work to pytest-xdist.
    """
    seen: Counter[str] = Counter()

    def turn(item: pytest.Item) -> int:
        if item.get_closest_marker("xdist_group") or not item.get_closest_marker("fault"):
            return 0
        seen[fault_of(item)] += 1
        return seen[fault_of(item)]

    return sorted(items, key=turn)
