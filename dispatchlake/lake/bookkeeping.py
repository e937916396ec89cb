"""Coverage and runs: which spans were read, and what each run brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb
import pyarrow as pa

from dispatchlake.lake.sql import at_once, fetch_row, one_of, registered
from dispatchlake.model import Resource
from dispatchlake.pauses import Failing
from dispatchlake.windows import Window

IS_STATE = at_once("center_id", "resource", "kind", "state")


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


@dataclass(frozen=True, slots=True)
class Run:
    """A cell that was landed by a run, and what that brought."""

    run_id: str
    kind: str
    started_at: datetime
    summary: LoadSummary


@dataclass(frozen=True, slots=True)
class Landed:
    """What has just been read whole, for the bookkeeping of it.

    Attributes:
        cell: What was read; of a center and resource there is one at a time.
        records: How many came.
        newest_updated_at: The newest time of change among them.
        took: How long reading took.
        source_now: When it began, by the source's clock; None where that is not known.
    """

    cell: Cell
    run_id: str
    records: int
    newest_updated_at: datetime | None
    took: timedelta
    source_now: datetime | None = None

    @property
    def listing(self) -> tuple[str, str]:
        """Return the center's id and the resource's name."""
        return self.cell.center_id, self.cell.resource.name


def cover(connection: duckdb.DuckDBPyConnection, landed: Sequence[Landed]) -> list[Cell]:
    """Record that each cell's window has been read whole, and forget failures over it.

    Returns:
        list: The cells as they count. A live reading that does not meet what was covered before is a
            backfill: joined to it, it would claim the gap between them.
    """
    if not landed:
        return []
    live = _live_spans(connection, landed)
    cells, spans = [], []
    for one in landed:
        cell, span = one.cell, one.cell.window
        if cell.kind == "ingest" and (covered := live.get(one.listing)) is not None:
            if _are_apart(covered, cell.window):
                cell = replace(cell, kind="backfill")
            else:
                start = (
                    None if span.start is None or covered.start is None else min(span.start, covered.start)
                )
                span = Window(start, max(span.end, covered.end))
        cells.append(cell)
        spans.append(span)
    read = {
        "centers": [cell.center_id for cell in cells],
        "resources": [cell.resource.name for cell in cells],
        "kinds": [cell.kind for cell in cells],
        "starts": [span.start for span in spans],
        "ends": [span.end for span in spans],
    }
    # One row for all of the live reading, one for each window of a backfill; and failures of backfills within
    # what this very reading has read, for the live span may be longer.
    connection.execute(
        f"""DELETE FROM coverage USING (
            SELECT {_OF_READ},
                unnest($from::TIMESTAMPTZ[]) AS read_from, unnest($to::TIMESTAMPTZ[]) AS read_to) AS read
        WHERE concat_ws('|', center_id, resource) = concat_ws('|', of_center, of_resource) AND (
            (kind = as_kind AND (
                kind = 'ingest' OR (window_start IS NOT DISTINCT FROM since AND window_end = until)))
            OR (kind = 'backfill' AND state = 'failed' AND window_end <= read_to
                AND (read_from IS NULL OR window_start >= read_from)))""",
        {
            **read,
            "from": [cell.window.start for cell in cells],
            "to": [cell.window.end for cell in cells],
        },
    )
    connection.execute(
        f"""INSERT INTO coverage
        SELECT of_center, of_resource, as_kind, 'complete', since, until, records, 1, NULL, run_id, $now
        FROM (SELECT {_OF_READ}, unnest($records) AS records, unnest($runs) AS run_id)""",
        {
            **read,
            "records": [one.records for one in landed],
            "runs": [one.run_id for one in landed],
            "now": datetime.now(UTC),
        },
    )
    return cells


AMONG = one_of("$listings", "center_id", "resource")
_OF_READ = """unnest($centers) AS of_center, unnest($resources) AS of_resource, unnest($kinds) AS as_kind,
                unnest($starts::TIMESTAMPTZ[]) AS since, unnest($ends::TIMESTAMPTZ[]) AS until"""


def among(landed: Sequence[Landed]) -> dict[str, object]:
    """Return the parameter of `AMONG` for what was landed."""
    return {"listings": ["|".join(one.listing) for one in landed]}


def _live_spans(
    connection: duckdb.DuckDBPyConnection, landed: Sequence[Landed]
) -> dict[tuple[str, str], Window]:
    rows = connection.execute(
        f"""SELECT center_id, resource, window_start, window_end FROM coverage
        WHERE {AMONG} AND concat_ws('|', kind, state) = 'ingest|complete'""",
        among(landed),
    ).fetchall()
    return {(center_id, resource): Window(start, end) for center_id, resource, start, end in rows}


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
    (most_attempts,) = fetch_row(connection, f"SELECT max(attempts) {failed_before}", parameters)
    attempts = (most_attempts or 0) + 1
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


def record_runs(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    """Record what landed cells brought."""
    _insert_runs(
        connection,
        [
            {
                "run_id": run.run_id,
                "center_id": run.summary.center_id,
                "resource": run.summary.resource,
                "state": "landed",
                "pages": run.summary.pages,
                "records": run.summary.records,
                "new": run.summary.new,
                "changed": run.summary.changed,
                "unchanged": run.summary.unchanged,
                "quarantined": run.summary.quarantined,
                "oldest_created_at": run.summary.oldest_created_at,
                "newest_updated_at": run.summary.newest_updated_at,
                "started_at": run.started_at,
                "seconds": run.summary.seconds,
                "kind": run.kind,
                "logins": run.summary.logins,
            }
            for run in runs
        ],
    )


def record_failed_run(
    connection: duckdb.DuckDBPyConnection, cell: Cell, failure: Failure, *, run_id: str, started_at: datetime
) -> None:
    """Record that a cell failed; a retry of the same run adds a row of its own."""
    _insert_runs(
        connection,
        [
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
            }
        ],
    )


def _insert_runs(connection: duckdb.DuckDBPyConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    with registered(connection, "run_rows", pa.Table.from_pylist(list(rows))):
        connection.execute("INSERT INTO runs BY NAME SELECT * FROM run_rows")
