"""Spans of time to read: pure arithmetic on aware UTC instants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from dispatchlake.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open span `[start, end)` in UTC, compared with a record's `updated_at` at the source.

    A start of None means "from the beginning": the first run of a center, or a source without a filter.
    """

    start: datetime | None
    end: datetime

    def __post_init__(self) -> None:
        for instant in (self.start, self.end):
            if instant is not None and instant.tzinfo is None:
                raise ConfigError("A window's bounds must say their time zone.")
        if self.start is not None and self.end <= self.start:
            raise ConfigError(
                f"The window ends ({self.end.isoformat()}) before it starts ({self.start.isoformat()}). "
                "Give an end after the start."
            )


@dataclass(frozen=True, slots=True)
class Covered:
    """One row of coverage: a span that was read, or failed to be read, of one center and resource.

    Attributes:
        kind: Of the live reading, or of a backfill.
        run_id: The last run over it.
        updated_at: When that was, by our clock.
    """

    window: Window
    kind: Literal["ingest", "backfill"]
    state: Literal["complete", "failed"]
    run_id: str
    updated_at: datetime


def next_window(watermark: datetime | None, *, lookback: timedelta, now: datetime) -> Window:
    """Return what a scheduled run reads: from the watermark less the lookback, up to now.

    The lookback re-reads what may have become visible late; unchanged records write nothing. A watermark
    ahead of our clock (the center's runs fast, or did; or ours is slow) counts as our now: what is read then
    is as much at least, and nothing is said to be read that has not come yet.
    """
    if watermark is None:
        return Window(None, now)
    start = min(watermark, now) - lookback
    return Window(start, max(now, start + timedelta(seconds=1)))


def tile(window: Window, size: timedelta) -> Iterator[Window]:
    """Yield slices of at most `size` that cover the window without gap or overlap, oldest first."""
    if window.start is None:
        raise ConfigError("A window without a start cannot be cut into slices.")
    if size <= timedelta(0):
        raise ConfigError("A slice must be longer than nothing.")
    start = window.start
    while start < window.end:
        end = min(start + size, window.end)
        yield Window(start, end)
        start = end
