"""How long a schedule leaves alone what failed several times in a row: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FREE_TRIES = 3
"""So often a cell may fail in a row before it is left alone for a while."""

FIRST = timedelta(minutes=5)
LONGEST = timedelta(minutes=30)
"""The first pause, doubled with each further failure, and the longest: so late may it be noticed that a
center is well again."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A cell whose last tries failed.

    Attributes:
        tries: Tries in a row that failed.
        error: Why the last one did, fit to show.
        failed_at: When it did (UTC).
    """

    center_id: str
    resource: str
    tries: int
    error: str
    failed_at: datetime

    @property
    def next_try_at(self) -> datetime:
        """Return when it is worth another try."""
        return self.failed_at + pause_after(self.tries)

    def is_resting(self, now: datetime) -> bool:
        """Say whether a schedule leaves it alone yet; not for a failure that our clock has dated ahead."""
        return self.failed_at <= now < self.next_try_at

    def sentence(self) -> str:
        """Return why it was not tried, and until when it will not be."""
        return (
            f"Not tried: it failed {self.tries} times in a row, so a schedule tries it again only after "
            f"{self.next_try_at.astimezone(UTC):%F %H:%M} UTC; a run of your own does at once. The last "
            f"error: {self.error}"
        )


def pause_after(tries: int) -> timedelta:
    """Return how long to leave alone what failed so many times in a row."""
    if tries < FREE_TRIES:
        return timedelta(0)
    doublings = min(tries - FREE_TRIES, 16)  # far beyond the longest, and no number too large
    return min(FIRST * float(2**doublings), LONGEST)
