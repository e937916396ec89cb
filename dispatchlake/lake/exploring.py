"""What the explorer shows, asked of the lake: aggregates and short lists only, however many rows there are.

Every answer is rows of plain values, at most some thousands: what a browser draws at once. Times by a
center's clock are zone-less.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake.exploring_filters import CenterSpan, Filters, condition_of
from dispatchlake.lake.reading import connect
from dispatchlake.lake.snapshots import Snapshot, find_snapshot
from dispatchlake.lake.sql import first_line
from dispatchlake.lake.views.common import by_local_clock, local, quarter

Row = dict[str, Any]

MEMORY_LIMIT_MB = 2048
"""For DuckDB; of a lake of ten million CAD incidents no picture needs as much."""

MOST_TYPES = 200
MOST_GROUPS = 20
MOST_LISTED = 200
MOST_FACTS = 500

MAP_CELLS = 60
"""Cells along the longer side of a map."""

_LEAST_CELL_DEGREES = 0.002
"""Of latitude, some 200 m: of coordinates rounded to 3 decimals, finer cells would make stripes."""

_IN_FRAME = (0.005, 0.995)
"""Quantiles that a map's frame is drawn at: one wrong coordinate would make a map of the world."""

COMPLETENESS_DAYS = 31

Measure = Literal["call_to_dispatch_s", "dispatch_to_on_scene_s", "call_to_on_scene_s", "call_to_close_s"]
Grouping = Literal["center_id", "agency_type", "incident_type", "priority"]

_GRAINS = {4: "hour", 120: "day", 800: "week"}
"""Days up to which a span is shown in bars of an hour, a day, a week; a longer one by the month."""


@dataclass(frozen=True, slots=True)
class MapFrame:
    """A map's cells, equally wide and high on the ground, and how many incidents it leaves out.

    Attributes:
        cells: `lng`, `lng_end`, `lat`, `lat_end` in degrees, and `incidents` in each cell that has any.
        stretch: Width of a degree of longitude there, as a share of one of latitude.
        without_place: Incidents that have no coordinates.
        outside: Incidents beyond the frame.
    """

    cells: Sequence[Row]
    stretch: float
    without_place: int
    outside: int


class Explorer:
    """Answers for one page: one connection of its own, one question at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, lake_dir: Path | None = None) -> Explorer:
        """Open a lake, or the one of this installation's settings.

        Raises:
            ConfigError: There is no lake yet.
        """
        connection = connect(lake_dir)
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'")
        return cls(connection)

    def close(self) -> None:
        """Let go of the lake."""
        self._connection.close()

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        with self._lock:
            return find_snapshot(self._connection, None)

    def centers(self) -> list[CenterSpan]:
        """Return the centers that have CAD incidents."""
        rows = self._ask(
            f"""WITH counted AS (
                SELECT center_id, min(created_at) AS first_at, max(created_at) AS last_at, count(*) AS n
                FROM cad_incidents GROUP BY center_id)
            SELECT center_id, coalesce(name, center_id) AS name, coalesce(time_zone, 'UTC') AS time_zone,
                ({local("first_at")})::DATE AS first_date, ({local("last_at")})::DATE AS last_date,
                n AS cad_incidents
            FROM counted LEFT JOIN centers USING (center_id) ORDER BY center_id"""
        )
        return [CenterSpan(**row) for row in rows]

    def incident_types(self, filters: Filters) -> list[str]:
        """Return the commonest types, the commonest first."""
        condition, values = condition_of(filters)
        rows = self._ask(
            f"""SELECT incident_type FROM cad_incidents
            WHERE {condition} AND incident_type IS NOT NULL
            GROUP BY incident_type ORDER BY count(*) DESC, incident_type LIMIT {MOST_TYPES}""",
            values,
        )
        return [row["incident_type"] for row in rows]

    def count(self, filters: Filters) -> int:
        """Return how many CAD incidents there are."""
        condition, values = condition_of(filters)
        (row,) = self._ask(f"SELECT count(*) AS n FROM cad_incidents WHERE {condition}", values)
        return int(row["n"])

    def volume(self, filters: Filters) -> tuple[str, list[Row]]:
        """Return a grain (hour, day, week, month), and `center_id`, `local_start` and `incidents` of each."""
        grain = next((grain for days, grain in _GRAINS.items() if filters.days <= days), "month")
        return grain, self._by_clock(filters, f"date_trunc('{grain}', local_at)", "local_start")

    def rhythm(self, filters: Filters) -> list[Row]:
        """Return for each hour of the week how many CAD incidents there are, of how many such hours.

        Columns: `center_id`, `weekday` (1 is Monday), `hour` by the center's clock, `incidents`, and `days`:
        how often that weekday lies in the days looked at.
        """
        rows = self._by_clock(filters, "{'weekday': isodow(local_at), 'hour': hour(local_at)}", "at_hour")
        days = Counter((filters.first_date + timedelta(days=n)).isoweekday() for n in range(filters.days))
        return [{**(hour := row.pop("at_hour")), "days": days[hour["weekday"]], **row} for row in rows]

    def _by_clock(self, filters: Filters, bucket: str, name: str) -> list[Row]:
        """Count by something of local time; rows are not converted one by one (`views.common`)."""
        condition, values = condition_of(filters)
        counted = f"""SELECT center_id, {quarter("created_at")} AS quarter, count(*) AS n
            FROM cad_incidents WHERE {condition} GROUP BY ALL"""
        return self._ask(
            f"""SELECT center_id, {bucket} AS {name}, sum(n)::BIGINT AS incidents
            FROM (SELECT *, make_timestamp(local_us) AS local_at FROM ({by_local_clock(counted)}))
            GROUP BY ALL ORDER BY ALL""",
            values,
        )

    def map(self, filters: Filters) -> MapFrame:
        """Return a map of the CAD incidents that have coordinates."""
        condition, values = condition_of(filters)
        (frame,) = self._ask(
            f"""SELECT count(*) AS n, count(lat + lng) AS placed,
                approx_quantile(lat, [{_IN_FRAME[0]}, {_IN_FRAME[1]}]) AS lat,
                approx_quantile(lng, [{_IN_FRAME[0]}, {_IN_FRAME[1]}]) AS lng
            FROM cad_incidents WHERE {condition}""",
            values,
        )
        if not frame["placed"]:
            return MapFrame((), 1.0, frame["n"], 0)
        (south, north), (west, east) = frame["lat"], frame["lng"]
        stretch = math.cos(math.radians((south + north) / 2))
        height = max((north - south) / MAP_CELLS, (east - west) * stretch / MAP_CELLS, _LEAST_CELL_DEGREES)
        width = height / stretch
        cells = self._ask(
            f"""WITH placed AS (
                SELECT floor((lng - $west) / $width) AS x, floor((lat - $south) / $height) AS y
                FROM cad_incidents WHERE {condition} AND lat IS NOT NULL AND lng IS NOT NULL)
            SELECT $west + x * $width AS lng, $west + (x + 1) * $width AS lng_end,
                $south + y * $height AS lat, $south + (y + 1) * $height AS lat_end, count(*) AS incidents
            FROM placed WHERE x BETWEEN 0 AND {MAP_CELLS} AND y BETWEEN 0 AND {MAP_CELLS}
            GROUP BY x, y ORDER BY x, y""",
            {**values, "west": west, "south": south, "width": width, "height": height},
        )
        inside = sum(cell["incidents"] for cell in cells)
        return MapFrame(cells, stretch, frame["n"] - frame["placed"], frame["placed"] - inside)

    def response_times(self, filters: Filters, *, measure: Measure, by: Grouping) -> list[Row]:
        """Return the groups with most timed CAD incidents: how many, how many of them timed, and percentiles.

        Columns: `grouped`, `incidents`, `timed`, `p50_s`, `p90_s`; seconds, null where none is timed.
        """
        condition, values = condition_of(filters)
        group: str = by
        if by in {"incident_type", "priority"} and len(filters.centers) > 1:  # the centers' own words
            group = f"center_id || ': ' || coalesce({by}, 'none')"
        return self._ask(
            f"""SELECT coalesce({group}, 'none') AS grouped, count(*) AS incidents,
                count({measure}) AS timed,
                quantile_cont({measure}, 0.5) AS p50_s, quantile_cont({measure}, 0.9) AS p90_s
            FROM response_times WHERE {condition}
            GROUP BY 1 ORDER BY timed DESC, incidents DESC, grouped LIMIT {MOST_GROUPS}""",
            values,
        )

    def completeness(self, filters: Filters, resource: str) -> list[Row]:
        """Return the hours of a listing in the last days looked at: what has been read, and what is missing.

        Columns: `center_id`, `local_hour`, `records`, `expected`, and `state`: complete; complete, none; not
        read whole; or gap.
        """
        first = max(filters.first_date, filters.last_date - timedelta(days=COMPLETENESS_DAYS - 1))
        return self._ask(
            """SELECT center_id, local_hour, sum(records)::BIGINT AS records, sum(expected) AS expected,
                CASE WHEN bool_or(is_gap) THEN 'gap'
                    WHEN NOT bool_and(is_complete) THEN 'not read whole'
                    WHEN sum(records) = 0 THEN 'complete, none' ELSE 'complete' END AS state
            FROM completeness
            WHERE resource = $resource AND center_id IN (SELECT unnest($centers))
                AND local_hour >= $first AND local_hour < $after
            GROUP BY center_id, local_hour ORDER BY center_id, local_hour""",
            {
                "resource": resource,
                "centers": [center.center_id for center in filters.centers],
                "first": datetime.combine(first, time()),
                "after": datetime.combine(filters.last_date + timedelta(days=1), time()),
            },
        )

    def incidents(self, filters: Filters, *, text: str = "") -> list[Row]:
        """Return the newest CAD incidents, or those that have a text as one of their ids."""
        condition, values = condition_of(filters)
        if text := text.strip():
            condition += " AND $text IN (cad_incident_id, incident_id, cad_partner_incident_id)"
            values = {**values, "text": text}
        return self._ask(
            f"""WITH listed AS (
                SELECT * FROM cad_incidents WHERE {condition}
                ORDER BY created_at DESC, center_id, cad_incident_id LIMIT {MOST_LISTED})
            SELECT {local("created_at")} AS local_created_at, center_id, agency_type, incident_type, priority,
                address, len(units) AS units, disposition, {local("closed_at")} AS local_closed_at,
                cad_partner_incident_id, cad_incident_id, incident_id
            FROM listed LEFT JOIN centers USING (center_id)
            ORDER BY created_at DESC, center_id, cad_incident_id""",
            values,
        )

    def timeline(self, center_id: str, incident_id: str) -> list[Row]:
        """Return what is known of one incident, in order of time."""
        return self._ask(
            f"""SELECT local_occurred_at, kind, what, detail, source FROM incident_timeline
            WHERE center_id = $center_id AND incident_id = $incident_id
            ORDER BY occurred_at LIMIT {MOST_FACTS}""",
            {"center_id": center_id, "incident_id": incident_id},
        )

    def _ask(self, query: str, values: Mapping[str, Any] = MappingProxyType({})) -> list[Row]:
        with self._lock:
            try:
                answer = self._connection.execute(query, dict(values))
                names = [column[0] for column in answer.description]
                return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
            except duckdb.CatalogException as error:
                raise LakeError(
                    "The lake lacks what this version's explorer asks: none as new has written to it yet. "
                    f"Run dispatchlake maintain once. ({first_line(error)})"
                ) from error
            except duckdb.Error as error:
                raise LakeError(f"The lake could not be asked. {first_line(error)}") from error
