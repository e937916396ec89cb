"""This machine's monotonic time, the same in every process, and a name for the boot it counts from.

And what no clock shows that was ever set.
"""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from pathlib import Path

FIRST_PLAUSIBLE = datetime(2024, 1, 1, tzinfo=UTC)
"""A clock that shows less is wrong: there was no dispatchlake then. So begins one whose battery was empty."""


def monotonic_s() -> float:
    """Return seconds on a clock that nobody sets, and that counts a suspended machine's sleep too."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@functools.cache
def boot_id() -> str:
    """Return a name for this boot: monotonic times are comparable only under the same one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # No such file on this system: the time of boot, to the minute, tells one boot from another.
        return f"booted {round((time.time() - monotonic_s()) / 60)}"
