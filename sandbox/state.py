"""Everything the sandbox knows while it runs: its centers and its clock, and where the clock is kept."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from sandbox.center import Center
from sandbox.config import CenterConfig, ResourceName
from sandbox.media import MediaStore

KEEP_CLOCK_S = 5.0
"""How often a clock that runs by itself must be kept."""


class State:
    """The centers by id, and how far the clock has moved on.

    Each center lives in its own year: its now is its epoch plus the time elapsed. The clock stands still
    until it is moved, or runs by itself at a speed, in whole seconds: what a center shows is worked out
    anew whenever its now is another.

    Raises:
        ValueError: The file does not hold a clock.
    """

    def __init__(self, state_path: Path | None, *, timer: Callable[[], float] = monotonic) -> None:
        self.centers: dict[str, Center] = {}
        self.speed = 0.0
        self._timer = timer
        self._set_s = 0.0
        self._set_at = timer()
        self.url = ""
        self.foreign_url = ""
        self.media_url = ""
        self.media = MediaStore()
        self.foreign_requests: list[dict[str, object]] = []
        self._path = state_path
        if state_path:
            state_path.parent.mkdir(parents=True, exist_ok=True)
        if state_path and state_path.exists():
            self._set_s = _elapsed_s(state_path)

    @property
    def elapsed_s(self) -> float:
        """Return how far the clock has moved on, in seconds."""
        if not self.speed:
            return self._set_s
        return float(int(self._set_s + (self._timer() - self._set_at) * self.speed))

    def put(self, center_id: str, config: CenterConfig) -> Center:
        """Create or replace a center; a replaced one keeps its tokens, counts, log and what it sends.

        Raises:
            ValueError: Another center has one of these client ids.
        """
        for other in self.centers.values():
            taken = {client.client_id for client in other.config.credentials.values()}
            if other.center_id != center_id and taken & {c.client_id for c in config.credentials.values()}:
                raise ValueError(
                    f"a client_id is already that of {other.center_id}; a center is known by it alone"
                )
        center = Center(center_id, config)
        center.now(self.elapsed_s)
        if before := self.centers.get(center_id):
            center.tokens, center.counts, center.log = before.tokens, before.counts, before.log
            center.faults, center.churned_s = before.faults, before.churned_s
            center.outbox = before.outbox
            before.replaced.set()
        self.centers[center_id] = center
        return center

    def client(self, client_id: str) -> tuple[Center | None, ResourceName | None]:
        """Return the center and the scope that a client id belongs to."""
        for center in self.centers.values():
            for scope, client in center.config.credentials.items():
                if client.client_id == client_id:
                    return center, scope
        return None, None

    def center_of_token(self, value: str) -> Center | None:
        """Return the center that issued a token, lapsed or not."""
        return next((center for center in self.centers.values() if value in center.tokens.issued), None)

    def set_clock(self, elapsed_s: float) -> None:
        """Move the clock, and keep it if a place was given."""
        self._set_s, self._set_at = elapsed_s, self._timer()
        self.keep_clock()

    def set_speed(self, speed: float) -> None:
        """Let the clock run by itself from here on, at so many seconds a second; 0 lets it stand still."""
        elapsed_s = self.elapsed_s
        self.speed = speed
        self.set_clock(elapsed_s)

    def keep_clock(self) -> None:
        """Write the clock to its place, if it has one; whoever reads the file sees it whole.

        A running clock is written a little ahead, for this process may end before it writes again: a clock
        that went back would show records that a client has already read as not there yet.
        """
        if self._path is None:
            return
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".clock-")
        with os.fdopen(descriptor, "w") as file:
            json.dump({"elapsed_s": self.elapsed_s + 2 * KEEP_CLOCK_S * self.speed}, file)
        Path(temporary).replace(self._path)


def _elapsed_s(path: Path) -> float:
    try:
        return float(json.loads(path.read_text())["elapsed_s"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no state file; remove it to begin at zero") from None
