"""This machine's monotonic time, the same in every process, and a name for the boot it counts from."""

from __future__ import annotations

import functools
import time
from pathlib import Path


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
