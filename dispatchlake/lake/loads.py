"""What cells have read, landed together: one transaction for as many as are ready.

Quiet cells cost as much as their statements: a query of a small table takes milliseconds and a commit ten,
whether they are about one center or eight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import duckdb

from dispatchlake.lake import backfilled, bookkeeping, commit, watermarks
from dispatchlake.lake.archive import ArchivedPage, archive_pages
from dispatchlake.lake.bookkeeping import Cell, Landed, LoadSummary, Run
from dispatchlake.lake.commit import CenterSpan, Merged
from dispatchlake.lake.ledger import Mark
from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.staging import Staging, laid_out, portions


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What one cell has read, ready to be landed.

    Attributes:
        last: The last pages, which are archived by the commit that lands what was made of all.
        erased: Tells what was known to be erased when they were read.
        took: How long reading took.
        source_now: When it began, by the source's clock; None where that is not known.
        logins: Requests to the center's token endpoint that it took.
    """

    cell: Cell
    run_id: str
    staging: Staging
    last: list[ArchivedPage]
    erased: Mark
    started_at: datetime
    took: timedelta
    source_now: datetime | None
    logins: int

    @property
    def record_type(self) -> RecordType:
        """Return what its records are."""
        return self.staging.record_type


@dataclass(frozen=True, slots=True)
class _Found:
    """What one load's records came to, and how many changed within each of its windows."""

    span: CenterSpan
    merged: Merged
    window_records: tuple[int, ...]


def land_loads(connection: duckdb.DuckDBPyConnection, loads: Sequence[Load]) -> list[LoadSummary]:
    """Write what loads change: pages, tables, quarantine, coverage, watermarks, runs.

    The caller holds the commit lock and a transaction. No two loads are of one listing; one that is not
    staged in memory is alone, and on its own connection.
    """
    for run_id, of_run in groupby(loads, lambda load: load.run_id):
        archive_pages(connection, [page for load in of_run for page in load.last], run_id=run_id)
    found = dict.fromkeys(loads, _Found(CenterSpan(), Merged(), ()))
    to_merge = [load for load in loads if load.staging.records or load.cell.windows]
    for record_type in dict.fromkeys(load.record_type for load in to_merge):
        found |= _merge(connection, [load for load in to_merge if load.record_type == record_type])
    landed = {
        load: Landed(
            load.cell,
            load.run_id,
            load.staging.records,
            found[load].span.newest_updated_at,
            load.took,
            load.source_now,
        )
        for load in loads
    }
    of_one_window = [load for load in loads if not load.cell.windows]
    covered = bookkeeping.cover(connection, [landed[load] for load in of_one_window])
    for load, cell in zip(of_one_window, covered, strict=True):
        landed[load] = replace(landed[load], cell=cell)
    moved = watermarks.advance(connection, list(landed.values()))
    summaries = [_summary(load, found[load], watermark) for load, watermark in zip(loads, moved, strict=True)]
    runs = [
        Run(load.run_id, landed[load].cell.kind, load.started_at, summary)
        for load, summary in zip(loads, summaries, strict=True)
    ]
    bookkeeping.record_runs(connection, runs)
    return summaries


def _merge(connection: duckdb.DuckDBPyConnection, loads: Sequence[Load]) -> dict[Load, _Found]:
    """Merge the records of loads of one record type, and cover the windows of backfills among them."""
    found: dict[Load, _Found] = {}
    record_type, stagings = loads[0].record_type, [load.staging for load in loads]
    with laid_out(connection, stagings):
        whole = commit.staged_span(connection, record_type)
        merged: defaultdict[str, Merged] = defaultdict(Merged)
        for is_all in portions(stagings):
            span = whole if is_all else commit.staged_span(connection, record_type)
            for center_id, more in commit.merge(connection, record_type, span, source="rest").items():
                merged[center_id] += more
        for load in loads:
            cell = load.cell
            found[load] = _Found(
                whole.of_centers.get(cell.center_id, CenterSpan()),
                merged[cell.center_id],
                backfilled.cover_windows(connection, cell, run_id=load.run_id) if cell.windows else (),
            )
        if any(load.staging.quarantined for load in loads):
            commit.quarantine(connection, [load.cell.center_id for load in loads])
    return found


def _summary(load: Load, found: _Found, watermark: datetime | None) -> LoadSummary:
    staging, merged = load.staging, found.merged
    return LoadSummary(
        center_id=load.cell.center_id,
        resource=load.cell.resource.name,
        pages=staging.pages,
        records=staging.records,
        new=merged.new,
        changed=merged.changed,
        unchanged=staging.records - staging.quarantined - merged.new - merged.changed,
        quarantined=staging.quarantined,
        body_bytes=staging.body_bytes,
        seconds=(datetime.now(UTC) - load.started_at).total_seconds(),
        watermark=watermark,
        oldest_created_at=found.span.oldest_created_at,
        newest_updated_at=found.span.newest_updated_at,
        window_records=found.window_records,
        logins=load.logins,
    )
