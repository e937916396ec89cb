"""A center's rate budget, kept by every thread and process of the machine together.

One small file per center holds the time of the next free slot; whoever sends a request takes the slot and
moves the time on, under a lock (the generic cell rate algorithm, with a burst of one second's worth).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from filelock import FileLock

from dispatchlake.api.token_store import monotonic_s


class RateBudget:
    """At most `requests_per_s` requests a second to one center."""

    def __init__(self, folder: Path, center_id: str, requests_per_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / center_id
        self._lock = FileLock(folder / f"{center_id}.lock", mode=0o600)
        self._interval_s = 1.0 / requests_per_s

    def take(self) -> None:
        """Wait for the next free slot and take it."""
        with self._lock:
            now_s = monotonic_s()
            next_s = self._read()
            if not now_s - 1.0 <= next_s <= now_s + 3600.0:
                # idle for a while: a burst is allowed; or a file from before a restart: meaningless
                next_s = now_s - 1.0 + self._interval_s
            self._path.write_text(repr(next_s + self._interval_s))
        if next_s > now_s:
            time.sleep(next_s - now_s)

    def _read(self) -> float:
        with contextlib.suppress(OSError, ValueError):
            return float(self._path.read_text())
        return 0.0
