"""What the explorer's page says: names of its parts, and sentences about what is shown and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dispatchlake.lake.exploring import (
    COMPLETENESS_DAYS,
    MOST_GROUPS,
    MOST_LISTED,
    MapFrame,
    Row,
)
from dispatchlake.lake.exploring_filters import Filters
from dispatchlake.lake.snapshots import Snapshot

VOLUME = "Volume"
MAP = "Map"
RESPONSE = "Response times"
COMPLETENESS = "Completeness"
INCIDENT = "One incident"

PAGES = (VOLUME, MAP, RESPONSE, COMPLETENESS, INCIDENT)

MEASURES = {
    "call received to on scene": "call_to_on_scene_s",
    "call received to dispatched": "call_to_dispatch_s",
    "dispatched to on scene": "dispatch_to_on_scene_s",
    "call received to closed": "call_to_close_s",
}
GROUPINGS = {
    "type of incident": "incident_type",
    "priority": "priority",
    "kind of agency": "agency_type",
    "center": "center_id",
}
LISTINGS = {"CAD incidents": "cad_incidents", "incidents": "incident_events"}

TABLE = {
    "show_download": False,
    "show_column_summaries": False,
    "show_data_types": False,
    "show_search": False,
}
"""How tables are shown: to be looked at. `dispatchlake export` takes data out, and says what that means."""

VOLUME_NOTE = (
    "CAD incidents by their time of creation, by each center's own clock. Where clocks go back an hour, that "
    "hour is twice as long; the last bar, and the first and last day of the week's hours, may be half full."
)

COMPLETENESS_NOTE = (
    f"The last {COMPLETENESS_DAYS} of the days chosen. Green: everything that was created in the hour has "
    "been read; the paler, the fewer, and nearly white, none. Amber: not all of it, or not yet. Red: it was "
    "read whole, and has at most a tenth of what is usual at that hour of the week. Types do not matter here."
)


def headline(count: int, filters: Filters, snapshot: Snapshot) -> str:
    """Return what is looked at, in one sentence."""
    centers = f"{len(filters.centers)} center{'' if len(filters.centers) == 1 else 's'}"
    return (
        f"**{count:,}** CAD incidents of {centers}, {filters.first_date:%-d %b %Y} to "
        f"{filters.last_date:%-d %b %Y} (local days). The lake is at {snapshot}; reload for later."
    )


def map_note(frame: MapFrame) -> str:
    """Return what a map leaves out, and what its colours are."""
    return (
        f"{frame.without_place:,} have no coordinates, {frame.outside:,} lie far from the others and outside "
        "the frame. A cell is as wide as it is high on the ground; colours go by orders of magnitude."
    )


def response_note(rows: Sequence[Row]) -> str:
    """Return how many incidents the percentiles are of."""
    incidents = sum(row["incidents"] for row in rows)
    timed = sum(row["timed"] for row in rows)
    share = f" ({timed / incidents:.0%})" if incidents else ""
    most = f" The {MOST_GROUPS} largest groups are shown." if len(rows) == MOST_GROUPS else ""
    return (
        f"Of {incidents:,} CAD incidents, {timed:,}{share} have both times in order; the others are left out."
        f"{most} Priorities of different centers are different scales."
    )


def shown_incidents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as the table shows them: at most so many, times as text by the center's clock."""
    listed = [
        {
            "local time": _clock(row["local_created_at"]),
            "center": row["center_id"],
            "agency": row["agency_type"],
            "type": row["incident_type"],
            "priority": row["priority"],
            "address": row["address"],
            "units": row["units"],
            "closed": _clock(row["local_closed_at"]),
            "disposition": row["disposition"],
            "CAD number": row["cad_partner_incident_id"],
            "incident": row["incident_id"],
        }
        for row in rows[:MOST_LISTED]
    ]
    return [{name: "" if value is None else value for name, value in row.items()} for row in listed]


def shown_facts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what is known of an incident as a table shows it."""
    return [
        {
            "local time": _clock(row["local_occurred_at"]),
            "kind": row["kind"],
            "what": row["what"],
            "detail": row["detail"] or "",
            "source": row["source"],
        }
        for row in rows
    ]


def _clock(local: datetime | None) -> str:
    return "" if local is None else f"{local:%Y-%m-%d %H:%M:%S}"
