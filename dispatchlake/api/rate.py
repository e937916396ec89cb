"""A center's rate budget, kept by every thread and process of the machine together.

One small file per center holds the time of the next free slot; whoever sends a request takes the slot and
moves the time on, under a lock (the generic cell rate algorithm, with a burst of one second's worth). When a
center asks for a pause, the next free slot lies after it, for everybody; whoever took one before it and still
waits takes another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dispatchlake.clock import boot_id, monotonic_s
from dispatchlake.errors import RateLimited
from dispatchlake.folders import explained, private_folder

LONGEST_PAUSE_S = 3600.0
"""A center that asks for a longer pause than this is asked again after it: the header may be nonsense."""

BURST_S = 1.0

_STATE_BYTES = 256
"""So much of the file counts; written in place, for to empty it first would cost more than all the rest."""


@dataclass(frozen=True, slots=True)
class _State:
    """When the next request may begin, and until when none may because the center asked for a pause."""

    slot_s: float = 0.0
    paused_until_s: float = 0.0


class RateBudget:
    """At most `requests_per_s` requests a second to one center.

    A `purpose` has a budget of its own beside the center's, for work that may take only a part of it.

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
        purpose: str = "",
    ) -> None:
        self.patience_s = patience_s
        self._center_id = center_id
        name = f"{center_id}.{purpose}" if purpose else center_id
        self._path = private_folder(folder) / f"{name}.rate"
        self._interval_s = 1.0 / requests_per_s
        self._sleep = sleep

    def take(self) -> None:
        """Wait for the next free slot and take it.

        Raises:
            RateLimited: The next slot is further away than our patience: the center has asked for a pause,
                or too many wait already.
        """
        while (wait_s := self._reserve()) > 0:
            self._sleep(wait_s)
            if not self._is_paused():
                return

    def pause(self, seconds: float) -> None:
        """Let no request of any process begin before `seconds` from now, an hour at most."""
        with self._locked() as file:
            now_s = monotonic_s()
            state = self._read(file, now_s)
            until_s = max(state.paused_until_s, now_s + min(seconds, LONGEST_PAUSE_S))
            _write(file, _State(max(state.slot_s, until_s), until_s))

    def _reserve(self) -> float:
        """Take the next slot and return how far away it is, in seconds; not above zero means now."""
        with self._locked() as file:
            now_s = monotonic_s()
            state = self._read(file, now_s)
            slot_s = max(state.slot_s, now_s - max(0.0, BURST_S - self._interval_s))
            wait_s = slot_s - now_s
            if wait_s <= self.patience_s:
                _write(file, _State(slot_s + self._interval_s, state.paused_until_s))
                return wait_s
        raise RateLimited(
            f"{self._center_id}: no request may be sent for {wait_s:.0f} s: the center has asked for a "
            "pause, or its rate budget is used up.",
            self._center_id,
            retry_after_s=wait_s,
        )

    def _is_paused(self) -> bool:
        with self._locked() as file:
            now_s = monotonic_s()
            return self._read(file, now_s).paused_until_s > now_s

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Yield the file, open, while nobody else may use it.

        Its lock is the kernel's own, of this opening and gone with it: one call for each request. What a lock
        beside the file would do in Python, and look up, took longer than all else between two pages.
        """
        with explained(self._path.parent):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)

    def _read(self, file: int, now_s: float) -> _State:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # new, or cut off by a crash
            content = json.loads(os.pread(file, _STATE_BYTES, 0))
            state = _State(float(content["slot_s"]), float(content["paused_until_s"]))
            latest_s = now_s + LONGEST_PAUSE_S + self.patience_s + self._interval_s
            is_sane = 0 <= state.slot_s <= latest_s and 0 <= state.paused_until_s <= latest_s
            if is_sane and content["boot_id"] == boot_id():
                return state
        return _State()


def _write(file: int, state: _State) -> None:
    content = {"slot_s": state.slot_s, "paused_until_s": state.paused_until_s, "boot_id": boot_id()}
    os.pwrite(file, json.dumps(content).ljust(_STATE_BYTES).encode(), 0)
