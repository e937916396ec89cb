"""Coverage of backfills: many windows that one reading has filled, or failed to fill, written as one.

One statement for all windows costs as much as for one. The live reading's coverage is `bookkeeping`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import duckdb

from dispatchlake.lake.bookkeeping import IS_STATE, Cell
from dispatchlake.lake.sql import at_once
from dispatchlake.windows import Covered, Window


def read_coverage(
    connection: duckdb.DuckDBPyConnection, center_ids: Collection[str]
) -> dict[tuple[str, str], list[Covered]]:
    """Return the rows of coverage of some centers, by center id and resource."""
    rows = connection.execute(
        """SELECT center_id, resource, window_start, window_end, kind, state, run_id, updated_at FROM coverage
        WHERE list_contains(?, center_id)""",
        [list(center_ids)],
    ).fetchall()
    covered: dict[tuple[str, str], list[Covered]] = {}
    for center_id, resource, start, end, *more in rows:
        covered.setdefault((center_id, resource), []).append(Covered(Window(start, end), *more))
    return covered


def cover_windows(connection: duckdb.DuckDBPyConnection, cell: Cell, *, run_id: str) -> tuple[int, ...]:
    """Record that each of the cell's windows has been read whole, and forget failures within it.

    Returns:
        tuple: How many staged records of the center changed within each window.
    """
    _lay_out(connection, cell.windows)
    counts = connection.execute(
        """SELECT count(updated_at) FROM asked
        LEFT JOIN staged ON center_id = ? AND updated_at >= asked_start AND updated_at < asked_end
        GROUP BY place ORDER BY place""",
        [cell.center_id],
    ).fetchall()
    names = [cell.center_id, cell.resource.name]
    connection.execute(
        f"""DELETE FROM coverage WHERE {_IS_KIND} AND (
            {_IS_ASKED} OR (state = 'failed' AND EXISTS (
                SELECT 1 FROM asked WHERE window_start >= asked_start AND window_end <= asked_end)))""",
        [*names, "backfill"],
    )
    records = [count for (count,) in counts]
    connection.execute(
        """INSERT INTO coverage
        SELECT ?, ?, 'backfill', 'complete', asked_start, asked_end, (?::BIGINT[])[place], 1, NULL, ?, ?
        FROM asked""",
        [*names, records, run_id, datetime.now(UTC)],
    )
    return tuple(records)


def cover_windows_failed(
    connection: duckdb.DuckDBPyConnection, cell: Cell, *, error: str, run_id: str
) -> None:
    """Record that reading each of the cell's windows failed, and why; what was complete before stays so."""
    _lay_out(connection, cell.windows)
    names = [cell.center_id, cell.resource.name]
    of_these = f"FROM coverage WHERE {IS_STATE} AND {_IS_ASKED}"
    failed = [*names, "backfill", "failed"]
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE failed_before AS
        SELECT window_start, window_end, max(attempts) AS attempts {of_these} GROUP BY ALL""",
        failed,
    )
    connection.execute(f"DELETE {of_these}", failed)
    connection.execute(
        """INSERT INTO coverage
        SELECT ?, ?, 'backfill', 'failed', asked_start, asked_end, 0, coalesce(attempts, 0) + 1, ?, ?, ?
        FROM asked
        LEFT JOIN failed_before ON (window_start, window_end) = (asked_start, asked_end)""",
        [*names, error, run_id, datetime.now(UTC)],
    )


_IS_KIND = at_once("center_id", "resource", "kind")
_IS_ASKED = "(window_start, window_end) IN (SELECT (asked_start, asked_end) FROM asked)"


def _lay_out(connection: duckdb.DuckDBPyConnection, windows: Sequence[Window]) -> None:
    """Collect the windows in `asked`, numbered from 1."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE asked AS SELECT
            unnest($starts::TIMESTAMPTZ[]) AS asked_start, unnest($ends::TIMESTAMPTZ[]) AS asked_end,
            unnest(range(1, len($starts::TIMESTAMPTZ[]) + 1)) AS place""",
        {"starts": [window.start for window in windows], "ends": [window.end for window in windows]},
    )
