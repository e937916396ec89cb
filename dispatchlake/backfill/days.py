"""Days as a person means them, and the spans of time they are: a day may have 23, 24 or 25 hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from dispatchlake.errors import ConfigError
from dispatchlake.windows import Window

DaysAre = Literal["center local time", "UTC"]

EARLIEST_DAY = date(1970, 1, 1)
"""No dispatch center has records from before it, and times before it stand for "none"."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some whole days, both included, and the span of time they are; today's ends now."""

    first: date
    last: date
    window: Window

    @property
    def label(self) -> str:
        """Return the days for a person."""
        return span_label(self.first, self.last)


def span_label(first: date, last: date) -> str:
    """Return days for a person: one, or from one to another."""
    return f"{first}" if first == last else f"{first} to {last}"


def zone_of(time_zone: str, days_are: DaysAre) -> tzinfo:
    """Return the zone in which days are meant, for a center in `time_zone` (an IANA name)."""
    return UTC if days_are == "UTC" else ZoneInfo(time_zone)


def refuse_days(first: date, last: date) -> None:
    """Raise ConfigError for days that can be read nowhere."""
    if last < first:
        raise ConfigError(
            f"The last day ({last}) is before the first day ({first}). Give a last day that is not earlier."
        )
    if first < EARLIEST_DAY:
        raise ConfigError(f"The first day ({first}) is before {EARLIEST_DAY}. Give a later one.")


def refuse_future(center_id: str, last: date, *, zone: tzinfo, now: datetime) -> None:
    """Raise ConfigError if the last day has not begun where the center is."""
    today = now.astimezone(zone).date()
    if last > today:
        raise ConfigError(
            f"The last day ({last}) is in the future: at {center_id} it is {today}. "
            f"Give {today} or an earlier day."
        )


def cut_days(first: date, last: date, *, slice_days: int, zone: tzinfo, now: datetime) -> Iterator[Slice]:
    """Yield the days from `first` to `last`, both included, in slices, without gap or overlap.

    Args:
        first: The first day.
        last: The last day; one that is not over yet is read until now.
        slice_days: Days in a slice; the last slice may have fewer.
        zone: Where the days begin at midnight. A day that a zone has skipped is part of no slice.
        now: Nothing after it is part of a slice.
    """
    day = first
    while day <= last:
        through = min(day + timedelta(days=slice_days - 1), last)
        start, end = _midnight(day, zone), min(_midnight(through + timedelta(days=1), zone), now)
        if start < end:
            yield Slice(day, through, Window(start, end))
        day = through + timedelta(days=1)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """Return the instant a day begins; where the clock jumps over midnight, the instant of the jump."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
