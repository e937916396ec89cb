"""Waiting for something that other threads or processes bring about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    is_so: Callable[[], Any], what: str | Callable[[], str] = "it", *, limit_s: float = 60.0
) -> Any:
    """Wait until the function returns something true, and return that; fail, naming it, if it never does.

    Args:
        is_so: Asked again and again.
        what: What is waited for, or a function that says how things stand when the patience is at its end.
        limit_s: The patience.
    """
    deadline_s = time.monotonic() + limit_s
    while not (answer := is_so()):
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"in vain waited for: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
    return answer
