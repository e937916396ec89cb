"""A center's rate budget, kept by every thread and process of the machine together.

One small file per center holds the time of the next free slot; whoever sends a request takes the slot and
moves the time on, under a lock (the generic cell rate algorithm, with a burst of one second's worth). When a
center asks for a pause, the next free slot lies after it, for everybody.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dispatchlake.api.clock import boot_id, monotonic_s
from dispatchlake.errors import RateLimited

LONGEST_PAUSE_S = 3600.0
"""A center that asks for a longer pause than this is asked again after it: the header may be nonsense."""

BURST_S = 1.0


class RateBudget:
    """At most `requests_per_s` requests a second to one center.

    Attributes:
        patience_s: Longest wait for a slot; beyond it the budget refuses at once instead of sleeping.
    """

    def __init__(
        self,
        folder: Path,
        center_id: str,
        *,
        requests_per_s: float,
        patience_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.patience_s = patience_s
        self._center_id = center_id
        self._path = folder / f"{center_id}.rate"
        self._lock = FileLock(folder / f"{center_id}.lock", mode=0o600)
        self._interval_s = 1.0 / requests_per_s
        self._sleep = sleep

    def take(self) -> None:
        """Wait for the next free slot and take it.

        Raises:
            RateLimited: The next slot is further away than our patience: the center has asked for a pause,
                or too many wait already.
        """
        with self._lock:
            now_s = monotonic_s()
            slot_s = max(self._read(now_s), now_s - BURST_S + self._interval_s)
            wait_s = slot_s - now_s
            if wait_s > self.patience_s:
                raise RateLimited(
                    f"{self._center_id}: no request may be sent for {wait_s:.0f} s: the center has asked for "
                    "a pause, or its rate budget is used up.",
                    self._center_id,
                    retry_after_s=wait_s,
                )
            self._write(slot_s + self._interval_s)
        if wait_s > 0:
            self._sleep(wait_s)

    def pause(self, seconds: float) -> None:
        """Let no request of any process begin before `seconds` from now, an hour at most."""
        with self._lock:
            now_s = monotonic_s()
            self._write(max(self._read(now_s), now_s + min(seconds, LONGEST_PAUSE_S)))

    def _read(self, now_s: float) -> float:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # absent, or cut off by a crash
            content = json.loads(self._path.read_text())
            slot_s = float(content["slot_s"])
            if content["boot_id"] == boot_id() and slot_s <= now_s + LONGEST_PAUSE_S + self.patience_s:
                return slot_s
        return 0.0

    def _write(self, slot_s: float) -> None:
        self._path.write_text(json.dumps({"boot_id": boot_id(), "slot_s": slot_s}))
