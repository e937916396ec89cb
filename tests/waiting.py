"""Waiting for something that other threads or processes bring about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(is_so: Callable[[], Any], what: str = "it", *, limit_s: float = 60.0) -> Any:
    """Wait until the function returns something true, and return that; fail, naming it, if it never does."""
    deadline_s = time.monotonic() + limit_s
    while not (answer := is_so()):
        assert time.monotonic() < deadline_s, f"in vain waited for: {what}"
        time.sleep(0.05)
    return answer
