"""Who is read next: fair between centers, again after a passing fault, and not for ever where nothing lands.

Pure: time is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatchlake.backfill.planning import Reading

PAUSE_AFTER = 3
"""Failed tries in a row after which a listing is tried only with what has failed, when its time has come."""

GIVE_UP_AFTER = 6
"""Failed tries in a row after which the rest of a listing is not tried: all of it would fail alike."""


@dataclass(slots=True)
class _Lane:
    """The readings of one listing of one center."""

    fresh: deque[Reading] = field(default_factory=deque)
    again: list[tuple[float, Reading]] = field(default_factory=list)
    """When to try again, and what."""
    under_way: int = 0
    failures: int = 0
    """Failed tries since the last that landed."""
    is_given_up: bool = False

    def is_empty(self) -> bool:
        return not (self.fresh or self.again or self.under_way)


class Lanes:
    """The readings that are left of a run."""

    def __init__(
        self, readings: Sequence[Reading], *, per_center: int, retry_delays_s: Sequence[float]
    ) -> None:
        """Begin with all readings.

        Args:
            readings: In order.
            per_center: Most readings of one center at once: one that does not answer must not hold up others.
            retry_delays_s: How long after each failed try of a reading it is tried again.
        """
        self._per_center = per_center
        self._retry_delays_s = retry_delays_s
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._tries: Counter[str] = Counter()
        for reading in readings:
            self._lanes.setdefault(_key(reading), _Lane()).fresh.append(reading)
        self._turns = deque(self._lanes)

    @property
    def is_done(self) -> bool:
        """Say whether nothing is left, nor under way."""
        return all(lane.is_empty() for lane in self._lanes.values())

    def tries(self, reading: Reading) -> int:
        """Return how often a reading has been tried."""
        return self._tries[reading.name]

    def take(self, now_s: float) -> Reading | None:
        """Return what to read now, or None if nothing may begin yet."""
        for _ in range(len(self._turns)):
            key = self._turns[0]
            self._turns.rotate(-1)
            center = sum(lane.under_way for other, lane in self._lanes.items() if other[0] == key[0])
            reading = self._of(self._lanes[key], now_s) if center < self._per_center else None
            if reading is not None:
                self._lanes[key].under_way += 1
                self._tries[reading.name] += 1
                return reading
        return None

    def _of(self, lane: _Lane, now_s: float) -> Reading | None:
        for place, (due_s, reading) in enumerate(lane.again):
            if due_s <= now_s:
                del lane.again[place]
                return reading
        # Of a listing that keeps failing, one is enough to see whether that is over.
        may_begin = lane.failures < PAUSE_AFTER or not (lane.again or lane.under_way)
        return lane.fresh.popleft() if lane.fresh and may_begin else None

    def wait_s(self, now_s: float) -> float | None:
        """Return how long until something may be tried again; None if nothing waits for its time."""
        due = [due_s for lane in self._lanes.values() for due_s, _ in lane.again]
        return max(0.0, min(due) - now_s) if due else None

    def landed(self, reading: Reading) -> None:
        """Take note that a reading has landed."""
        lane = self._lanes[_key(reading)]
        lane.under_way -= 1
        lane.failures = 0

    def failed(
        self, reading: Reading, now_s: float, *, is_worth_retrying: bool, is_for_all: bool
    ) -> list[Reading] | None:
        """Take note that a try of a reading has failed.

        Args:
            reading: What failed.
            now_s: When.
            is_worth_retrying: The same may succeed later.
            is_for_all: Whatever else is read of this listing would fail alike, such as refused credentials.

        Returns:
            list: The readings that are not tried any more beside this one, which has failed for good; None
                if it will be tried again.
        """
        lane = self._lanes[_key(reading)]
        lane.under_way -= 1
        lane.failures += 1
        tries = self._tries[reading.name]
        if is_worth_retrying and not lane.is_given_up and tries <= len(self._retry_delays_s):
            lane.again.append((now_s + self._retry_delays_s[tries - 1], reading))
            return None
        if not (is_for_all or lane.failures >= GIVE_UP_AFTER):
            return []
        given_up = [*(waiting for _, waiting in lane.again), *lane.fresh]
        lane.is_given_up = True
        lane.again.clear()
        lane.fresh.clear()
        return given_up


def _key(reading: Reading) -> tuple[str, str]:
    return reading.center_id, reading.resource
