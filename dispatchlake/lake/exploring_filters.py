"""What the explorer looks at: centers, local days, types; and how the lake is asked for just that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

FIRST_LOOK_DAYS = 28


@dataclass(frozen=True, slots=True)
class CenterSpan:
    """One center with CAD incidents: its local time zone and the local days of the first and the last."""

    center_id: str
    name: str
    time_zone: str
    first_date: date
    last_date: date
    cad_incidents: int


@dataclass(frozen=True, slots=True)
class Filters:
    """Which CAD incidents are looked at: all of some centers, from one local day to another, both included.

    Attributes:
        centers: The centers; none means that nothing is looked at.
        incident_types: Only these types; none means all.
    """

    centers: tuple[CenterSpan, ...]
    first_date: date
    last_date: date
    incident_types: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        """Return the number of days."""
        return (self.last_date - self.first_date).days + 1

    def span(self, center: CenterSpan) -> tuple[datetime, datetime]:
        """Return when those days begin and end (excluded) at a center, as instants."""
        zone = ZoneInfo(center.time_zone)
        after = self.last_date + timedelta(days=1)
        since, until = (datetime.combine(day, time(), zone) for day in (self.first_date, after))
        return since.astimezone(UTC), until.astimezone(UTC)


def first_look(centers: Sequence[CenterSpan]) -> Filters:
    """Return what to look at before anybody has chosen: the last weeks, of the centers that have any."""
    newest = max(center.last_date for center in centers)
    since = newest - timedelta(days=FIRST_LOOK_DAYS - 1)
    recent = tuple(center for center in centers if center.last_date >= since)
    return Filters(recent, max(since, min(center.first_date for center in recent)), newest)


def condition_of(filters: Filters) -> tuple[str, dict[str, Any]]:
    """Return a condition on `center_id`, `created_at` and `incident_type`, and its values.

    The days of each center begin at its own midnight; from the first of them to the last end of one, in plain
    bounds, DuckLake knows which files it need not read.
    """
    if not filters.centers:
        return "false", {}
    values: dict[str, Any] = {}
    spans = [filters.span(center) for center in filters.centers]
    each = []
    for number, (center, (since, until)) in enumerate(zip(filters.centers, spans, strict=True)):
        values |= {f"center{number}": center.center_id, f"since{number}": since, f"until{number}": until}
        each.append(
            f"(center_id = $center{number} AND created_at >= $since{number} AND created_at < $until{number})"
        )
    values |= {"since": min(since for since, _ in spans), "until": max(until for _, until in spans)}
    condition = f"created_at >= $since AND created_at < $until AND ({' OR '.join(each)})"
    if filters.incident_types:
        condition += " AND incident_type IN (SELECT unnest($types))"
        values["types"] = list(filters.incident_types)
    return condition, values
