"""How much of what came last fails each check of `data_quality`, and how much usually does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

RECENT_DAYS = 2
"""Local days that are looked at: the one that is under way, and the one before."""

USUAL_DAYS = 14
"""Local days before them that they are compared with."""


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """One check of one center's table: records and failures of the last days, and of those before."""

    center_id: str
    table_name: str
    check_name: str
    records: int
    failed: int
    usual_records: int
    usual_failed: int


def read_checks(connection: duckdb.DuckDBPyConnection, newest: Mapping[str, datetime]) -> list[CheckFigures]:
    """Return the figures of some centers as of the newest change of each, by its own clock.

    Nothing older than the days compared is looked at, and no other center.
    """
    together: dict[datetime, list[tuple[str, datetime]]] = defaultdict(list)
    for center_id, newest_at in newest.items():
        day = newest_at.replace(hour=0, minute=0, second=0, microsecond=0)
        together[day].append((center_id, newest_at))
    return [one for day, centers in sorted(together.items()) for one in _read(connection, day, centers)]


def _read(
    connection: duckdb.DuckDBPyConnection, day: datetime, centers: list[tuple[str, datetime]]
) -> list[CheckFigures]:
    # A day more, for a local day begins up to that much before the UTC day.
    since = day - timedelta(days=RECENT_DAYS + USUAL_DAYS + 1)
    recent = f"local_date > last_date - {RECENT_DAYS}"
    rows = connection.execute(
        f"""WITH asked AS (
            SELECT one.center_id, (one.newest_at AT TIME ZONE coalesce(time_zone, 'UTC'))::DATE AS last_date
            FROM (SELECT unnest($centers) AS center_id, unnest($moments) AS newest_at) AS one
                LEFT JOIN centers ON centers.center_id = one.center_id)
        SELECT center_id, table_name, check_name,
            coalesce(sum(records) FILTER ({recent}), 0)::BIGINT,
            coalesce(sum(failed) FILTER ({recent}), 0)::BIGINT,
            coalesce(sum(records) FILTER (NOT {recent}), 0)::BIGINT,
            coalesce(sum(failed) FILTER (NOT {recent}), 0)::BIGINT
        FROM data_quality_since($since) JOIN asked USING (center_id)
        WHERE center_id IN (SELECT unnest($centers)) AND local_date <= last_date
            AND local_date > last_date - {RECENT_DAYS + USUAL_DAYS}
        GROUP BY ALL ORDER BY ALL""",
        {
            "centers": [center_id for center_id, _ in centers],
            "moments": [newest_at for _, newest_at in centers],
            "since": since,
        },
    ).fetchall()
    return [CheckFigures(*row) for row in rows]
