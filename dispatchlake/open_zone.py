"""How far the open zone is behind the restricted one, and what to press."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dispatchlake.lake.publication import read_standing
from dispatchlake.settings import Settings
from dispatchlake.words import in_words

OPEN_ZONE_ADVICE = (
    "What it shows is whole, and old. Publish it now: dispatchlake publish. If that fails, do what its "
    "sentence says; if it works, look why the last ingest runs did not."
)


@dataclass(frozen=True, slots=True)
class OpenZone:
    """The open zone beside the restricted one.

    Attributes:
        published_at: When it was last published; None if it never was.
        behind_s: Since when the restricted zone has what it does not show, in seconds; 0 if it shows all.
        late_after_s: Beyond this it is late.
    """

    published_at: datetime | None = None
    behind_s: float = 0.0
    late_after_s: float = 3600.0

    @property
    def is_late(self) -> bool:
        """Say whether it has been behind for too long."""
        return self.behind_s > self.late_after_s

    @property
    def why(self) -> str:
        """Return how it stands, in a sentence."""
        if not self.behind_s:
            return "The open zone shows what the restricted zone holds."
        last = f"last published {self.published_at:%F %H:%M} UTC" if self.published_at else "never published"
        return f"The open zone has been behind the restricted one for {in_words(self.behind_s)}: {last}."


def measure_open_zone(settings: Settings) -> OpenZone:
    """Return how far the open zone is behind.

    Raises:
        LakeError: A zone cannot be read.
    """
    found = read_standing(settings)
    since = found.behind_since
    behind_s = max((datetime.now(UTC) - since).total_seconds(), 0.0) if since else 0.0
    return OpenZone(found.published_at, behind_s, settings.open_late_after_s)
