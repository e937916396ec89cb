"""Requests, sources and coverage built by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from dispatchlake.backfill import Plan, Reading, Request, Slice, Source, plan_backfill
from dispatchlake.windows import Covered, Window

FIRST = date(2024, 3, 1)
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
RUN = "this run"


def midnight(day: int) -> datetime:
    """Return the beginning (UTC) of the so manieth day after FIRST."""
    return datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=day)


def source(center_id: str = "center-a", resource: str = "cad_incidents", **fields: Any) -> Source:
    """Return a listing that can be read cell by cell, unless told otherwise."""
    return Source(center_id, resource, **({"time_zone": "UTC", "is_cell_by_cell": True} | fields))


def covered(
    start: int | None,
    end: int,
    state: Literal["complete", "failed"] = "complete",
    kind: Literal["ingest", "backfill"] = "backfill",
    *,
    at: int = 0,
    run_id: str = "before",
) -> Covered:
    """Return a row of coverage from one day to another, written so many hours after NOW."""
    window = Window(None if start is None else midnight(start), midnight(end))
    return Covered(window, kind, state, run_id, NOW + timedelta(hours=at))


def plan(
    *rows: Covered, days: int = 5, sources: Sequence[Source] = (), now: datetime = NOW, **fields: Any
) -> Plan:
    """Return the plan of some days of center-a's CAD incidents, or of other sources."""
    asked = {"first_day": FIRST, "last_day": FIRST + timedelta(days=days - 1), "days_are": "UTC"}
    known: Mapping[tuple[str, str], Sequence[Covered]] = {("center-a", "cad_incidents"): rows}
    return plan_backfill(Request(**(asked | fields)), sources or [source()], known, now=now, run_id=RUN)


def reading(
    day: int = 0, center_id: str = "center-a", resource: str = "cad_incidents", days: int = 1
) -> Reading:
    """Return the reading of some days, one cell each."""
    slices = tuple(
        Slice(
            FIRST + timedelta(days=day + n),
            FIRST + timedelta(days=day + n),
            Window(midnight(day + n), midnight(day + n + 1)),
        )
        for n in range(days)
    )
    return Reading(center_id, resource, slices)
