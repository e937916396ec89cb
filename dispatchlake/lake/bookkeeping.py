"""Coverage, watermark and runs: which spans were read, where to begin next, what each run brought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb

from dispatchlake.lake.sql import at_once
from dispatchlake.model import Resource
from dispatchlake.pauses import Failing
from dispatchlake.windows import Window

_IS_LISTING = at_once("center_id", "resource")
IS_STATE = at_once("center_id", "resource", "kind", "state")

_FIRST_PLAUSIBLE = datetime(1970, 1, 1, tzinfo=UTC)
"""Before it lie the dates that stand for none (0001-01-01, 1900-01-01): nowhere to go on reading from."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One center x resource x window: what is read, counted, retried and covered as one.

    Attributes:
        kind: `ingest` moves the watermark and grows one coverage row; `backfill` leaves the watermark
            alone and has a coverage row of its own.
        windows: Of a backfill that reads several windows at once: these, oldest first, are what is covered,
            each by itself. `window` spans them.
    """

    center_id: str
    resource: Resource
    window: Window
    kind: Literal["ingest", "backfill"] = "ingest"
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """What one load brought: numbers and times only, safe to show anywhere.

    Attributes:
        new: Incidents seen for the first time.
        changed: Further versions of incidents.
        unchanged: Records that brought nothing new.
        watermark: Where the next scheduled run begins, less the lookback.
        window_records: How many of the records changed within each of the cell's windows.
        logins: Requests to the center's token endpoint that it took.
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
    window_records: tuple[int, ...] = ()
    logins: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell failed.

    Attributes:
        error: The sentence; fit to show.
        error_class: Its class in the tree of errors, for those who must tell one kind from another.
        logins: Requests to the center's token endpoint that were made before.
    """

    error: str
    error_class: str = ""
    logins: int = 0


def read_watermark(connection: duckdb.DuckDBPyConnection, center_id: str, resource: str) -> datetime | None:
    """Return the newest `updated_at` fully committed, or None before the first load."""
    row = connection.execute(
        f"SELECT watermark_at FROM watermarks WHERE {_IS_LISTING}", [center_id, resource]
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
    connection.execute(f"DELETE FROM watermarks WHERE {_IS_LISTING}", names)
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
    names = [cell.center_id, cell.resource.name]
    # One row for all of the live reading, one for each window of a backfill; and failures of backfills within
    # what this very reading has read, for the live span may be longer.
    connection.execute(
        f"""DELETE FROM coverage WHERE {_IS_LISTING} AND (
            (kind = ? AND (kind = 'ingest' OR (window_start IS NOT DISTINCT FROM ? AND window_end = ?)))
            OR (kind = 'backfill' AND state = 'failed' AND window_end <= ?
                AND (?::TIMESTAMPTZ IS NULL OR window_start >= ?)))""",
        [*names, cell.kind, start, end, cell.window.end, cell.window.start, cell.window.start],
    )
    connection.execute(
        "INSERT INTO coverage VALUES (?, ?, ?, 'complete', ?, ?, ?, 1, NULL, ?, ?)",
        [*names, cell.kind, start, end, records, run_id, datetime.now(UTC)],
    )
    return cell


def _live_span(connection: duckdb.DuckDBPyConnection, cell: Cell) -> Window | None:
    row = connection.execute(
        f"SELECT window_start, window_end FROM coverage WHERE {IS_STATE}",
        [cell.center_id, cell.resource.name, "ingest", "complete"],
    ).fetchone()
    return Window(*row) if row else None


def _are_apart(one: Window, other: Window) -> bool:
    return (one.start is not None and other.end < one.start) or (
        other.start is not None and one.end < other.start
    )


def cover_failure(connection: duckdb.DuckDBPyConnection, cell: Cell, *, error: str, run_id: str) -> None:
    """Record that reading the cell's window failed, and why; what was complete before stays so."""
    names = [cell.center_id, cell.resource.name, cell.kind]
    failed_before = f"""FROM coverage WHERE {IS_STATE}
            AND (kind = 'ingest' OR (window_start IS NOT DISTINCT FROM ? AND window_end = ?))"""
    parameters = [*names, "failed", cell.window.start, cell.window.end]
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
    connection: duckdb.DuckDBPyConnection,
    summary: LoadSummary,
    *,
    kind: str,
    run_id: str,
    started_at: datetime,
) -> None:
    """Record what a landed cell brought."""
    _insert_run(
        connection,
        {
            "run_id": run_id,
            "center_id": summary.center_id,
            "resource": summary.resource,
            "state": "landed",
            "pages": summary.pages,
            "records": summary.records,
            "new": summary.new,
            "changed": summary.changed,
            "unchanged": summary.unchanged,
            "quarantined": summary.quarantined,
            "oldest_created_at": summary.oldest_created_at,
            "newest_updated_at": summary.newest_updated_at,
            "started_at": started_at,
            "seconds": summary.seconds,
            "kind": kind,
            "logins": summary.logins,
        },
    )


def record_failed_run(
    connection: duckdb.DuckDBPyConnection, cell: Cell, failure: Failure, *, run_id: str, started_at: datetime
) -> None:
    """Record that a cell failed; a retry of the same run adds a row of its own."""
    _insert_run(
        connection,
        {
            "run_id": run_id,
            "center_id": cell.center_id,
            "resource": cell.resource.name,
            "state": "failed",
            "error": failure.error,
            "started_at": started_at,
            "seconds": (datetime.now(UTC) - started_at).total_seconds(),
            "kind": cell.kind,
            "error_class": failure.error_class or None,
            "logins": failure.logins,
        },
    )


def _insert_run(connection: duckdb.DuckDBPyConnection, values: dict[str, Any]) -> None:
    named = ", ".join(f"${name} AS {name}" for name in values)
    connection.execute(f"INSERT INTO runs BY NAME SELECT {named}", values)
