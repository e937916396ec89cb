"""The erasures that were begun and are not done, and what to press."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dispatchlake.lake import ledger
from dispatchlake.settings import Settings
from dispatchlake.words import in_words

ERASED_WITHIN_S = 3600.0
"""An erasure that lasts longer was stopped, or found something that it could not remove."""

ERASING_ADVICE = (
    "What was asked to be erased may still lie here. Go on with it: dispatchlake erase --unfinished; it says "
    "what is in the way."
)


@dataclass(frozen=True, slots=True)
class Erasing:
    """The erasures that were begun and are not done.

    Attributes:
        begun_at: When the first of them was; None if there is none.
        lasted_s: From then to now, in seconds; 0 if there is none.
    """

    count: int = 0
    begun_at: datetime | None = None
    lasted_s: float = 0.0

    @property
    def is_stuck(self) -> bool:
        """Say whether one has been under way for too long."""
        return self.count > 0 and self.lasted_s > ERASED_WITHIN_S

    @property
    def why(self) -> str:
        """Return how many there are, in a sentence."""
        if not self.count:
            return "No erasure is unfinished."
        return f"{self.count:,} erasures are unfinished, the oldest for {in_words(self.lasted_s)}."


def measure_erasing(settings: Settings) -> Erasing:
    """Return what is being erased; asks a file, not the lake.

    Raises:
        LakeError: It cannot be read.
    """
    begun = [one.begun_at for one in ledger.read(settings.lake_dir).unfinished]
    if not begun:
        return Erasing()
    lasted_s = max((datetime.now(UTC) - min(begun)).total_seconds(), 0.0)
    return Erasing(len(set(begun)), min(begun), lasted_s)
