"""Coverage, watermark and runs: which spans were read, where to begin next, what each run brought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import duckdb

from dispatchlake.model import Resource
from dispatchlake.pauses import Failing
from dispatchlake.windows import Window

_FIRST_PLAUSIBLE = datetime(1970, 1, 1, tzinfo=UTC)
"""Before it lie the dates that stand for none (0001-01-01, 1900-01-01): nowhere to go on reading from."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One center x resource x window: what is read, counted, retried and covered as one.

    Attributes:
        kind: `ingest` moves the watermark and grows one coverage row; `backfill` leaves the watermark
            alone and has a coverage row of its own.
    """

    center_id: str
    resource: Resource
    window: Window
    kind: Literal["ingest", "backfill"] = "ingest"


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """What one load brought: numbers and times only, safe to show anywhere.

    Attributes:
        new: Incidents seen for the first time.
        changed: Further versions of incidents.
        unchanged: Records that brought nothing new.
        watermark: Where the next scheduled run begins, less the lookback.
    """

    center_id: str
    resource: str
    pages: int
    records: int
    new: int
    changed: int
    unchanged: int
    quarantined: int
    body_bytes: int
    seconds: float
    watermark: datetime | None
    oldest_created_at: datetime | None
    newest_updated_at: datetime | None


def read_watermark(connection: duckdb.DuckDBPyConnection, center_id: str, resource: str) -> datetime | None:
    """Return the newest `updated_at` fully committed, or None before the first load."""
    row = connection.execute(
        "SELECT watermark_at FROM watermarks WHERE center_id = ? AND resource = ?", [center_id, resource]
    ).fetchone()
    return row[0] if row else None


def advance_watermark(
    connection: duckdb.DuckDBPyConnection,
    cell: Cell,
    newest: datetime | None,
    *,
    reading: timedelta,
    run_id: str,
) -> datetime | None:
    """Move the watermark up to `newest`; never back, never past the window's end, never for a backfill.

    What changed while we read may have been missed, so it stays that long behind: the newest change seen
    is no older, by the source's clock, than the end of the reading. A record dated in the future must not
    hide what changes until then.
    """
    before = read_watermark(connection, cell.center_id, cell.resource.name)
    if newest is None or newest < _FIRST_PLAUSIBLE or cell.kind != "ingest":
        return before
    after = min(newest - reading, cell.window.end)
    if before is not None and after <= before:
        return before
    names = [cell.center_id, cell.resource.name]
    connection.execute("DELETE FROM watermarks WHERE center_id = ? AND resource = ?", names)
    connection.execute("INSERT INTO watermarks VALUES (?, ?, ?, ?)", [*names, after, run_id])
    return after


def cover(connection: duckdb.DuckDBPyConnection, cell: Cell, *, records: int, run_id: str) -> Cell:
    """Record that the cell's window has been read whole, and forget failures over it.

    Returns:
        Cell: As it counts. A live reading that does not meet what was covered before is a backfill: joined
            to it, it would claim the gap between them.
    """
    start, end = cell.window.start, cell.window.end
    if cell.kind == "ingest":
        covered = _live_span(connection, cell)
        if covered is not None and _are_apart(covered, cell.window):
            cell = replace(cell, kind="backfill")
        elif covered is not None:
            start = None if start is None or covered.start is None else min(start, covered.start)
            end = max(end, covered.end)
    names = [cell.center_id, cell.resource.name, cell.kind]
    # One row for all of the live reading, one for each window of a backfill.
    connection.execute(
        """DELETE FROM coverage WHERE center_id = ? AND resource = ? AND kind = ?
        AND (kind = 'ingest' OR (window_start IS NOT DISTINCT FROM ? AND window_end = ?))""",
        [*names, start, end],
    )
    connection.execute(
        "INSERT INTO coverage VALUES (?, ?, ?, 'complete', ?, ?, ?, 1, NULL, ?, ?)",
        [*names, start, end, records, run_id, datetime.now(UTC)],
    )
    return cell


def _live_span(connection: duckdb.DuckDBPyConnection, cell: Cell) -> Window | None:
    row = connection.execute(
        """SELECT window_start, window_end FROM coverage
        WHERE center_id = ? AND resource = ? AND kind = 'ingest' AND state = 'complete'""",
        [cell.center_id, cell.resource.name],
    ).fetchone()
    return Window(*row) if row else None


def _are_apart(one: Window, other: Window) -> bool:
    return (one.start is not None and other.end < one.start) or (
        other.start is not None and one.end < other.start
    )


def cover_failure(connection: duckdb.DuckDBPyConnection, cell: Cell, *, error: str, run_id: str) -> None:
    """Record that reading the cell's window failed, and why; what was complete before stays so."""
    names = [cell.center_id, cell.resource.name, cell.kind]
    failed_before = """FROM coverage
        WHERE center_id = ? AND resource = ? AND kind = ? AND state = 'failed'
            AND (kind = 'ingest' OR (window_start IS NOT DISTINCT FROM ? AND window_end = ?))"""
    parameters = [*names, cell.window.start, cell.window.end]
    row = connection.execute(f"SELECT max(attempts) {failed_before}", parameters).fetchone()
    attempts = (row[0] if row and row[0] else 0) + 1
    connection.execute(f"DELETE {failed_before}", parameters)
    connection.execute(
        "INSERT INTO coverage VALUES (?, ?, ?, 'failed', ?, ?, 0, ?, ?, ?, ?)",
        [*names, cell.window.start, cell.window.end, attempts, error, run_id, datetime.now(UTC)],
    )


def read_failing(connection: duckdb.DuckDBPyConnection) -> list[Failing]:
    """Return every cell whose last live readings failed; a success has removed its row."""
    rows = connection.execute(
        """SELECT center_id, resource, attempts, last_error, updated_at
        FROM coverage WHERE kind = 'ingest' AND state = 'failed' ORDER BY ALL"""
    ).fetchall()
    return [Failing(*row) for row in rows]


def record_run(
    connection: duckdb.DuckDBPyConnection, summary: LoadSummary, *, run_id: str, started_at: datetime
) -> None:
    """Record what a landed cell brought."""
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, 'landed', NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            run_id,
            summary.center_id,
            summary.resource,
            summary.pages,
            summary.records,
            summary.new,
            summary.changed,
            summary.unchanged,
            summary.quarantined,
            summary.oldest_created_at,
            summary.newest_updated_at,
            started_at,
            summary.seconds,
        ],
    )


def record_failed_run(
    connection: duckdb.DuckDBPyConnection, cell: Cell, *, run_id: str, started_at: datetime, error: str
) -> None:
    """Record that a cell failed; a retry of the same run adds a row of its own."""
    seconds = (datetime.now(UTC) - started_at).total_seconds()
    connection.execute(
        """INSERT INTO runs BY NAME SELECT $run AS run_id, $center AS center_id, $resource AS resource,
        'failed' AS state, $error AS error, $started_at AS started_at, $seconds AS seconds""",
        {
            "run": run_id,
            "center": cell.center_id,
            "resource": cell.resource.name,
            "error": error,
            "started_at": started_at,
            "seconds": seconds,
        },
    )
