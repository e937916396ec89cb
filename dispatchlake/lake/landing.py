"""Deliveries to rows: archived and landed in one transaction, whichever centers they are of, each once.

A batch is typed before the transaction begins, so that nobody waits for that. Which of its deliveries are in
the lake already, because who brought them was killed before it could forget them, is asked within: two who
bring the same take turns there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import duckdb

from dispatchlake.lake import commit, landed_runs
from dispatchlake.lake.archive import ArchivedPage, archive_pages
from dispatchlake.lake.landed_runs import Landed
from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.sql import registered
from dispatchlake.lake.typed_pages import TypedDeliveries, type_deliveries
from dispatchlake.landed import LandedDeliveries

logger = logging.getLogger(__name__)


def type_or_set_aside(deliveries: Sequence[ArchivedPage]) -> TypedDeliveries:
    """Type deliveries; those that a fault of ours fails at are set aside, and keep no other from landing."""
    try:
        return type_deliveries(deliveries)
    except Exception as error:  # noqa: BLE001 - whose fault it is, is looked for
        logger.error("Typing %d deliveries failed (%s): each is tried alone", len(deliveries), _kind(error))  # noqa: TRY400 - a traceback may quote a record
    faults: dict[str, str] = {}
    for one in deliveries:
        try:
            type_deliveries([one])
        except Exception as error:  # noqa: BLE001 - told in quarantine, and again by the next replay
            faults[one.raw_id] = f"this version fails at it ({_kind(error)})"
    return type_deliveries(deliveries, faults)


def land(
    connection: duckdb.DuckDBPyConnection,
    deliveries: Sequence[ArchivedPage],
    typed: TypedDeliveries,
    *,
    run_id: str,
    started_at: datetime,
) -> LandedDeliveries:
    """Archive and land deliveries, and note it in `runs`. The caller holds the commit lock and a transaction.

    Args:
        connection: Of the lake.
        deliveries: Those of one center in the order received; those that are erased with an empty body.
        typed: What `type_or_set_aside` made of the others.
        run_id: Kept with each in the archive; landings of one id are one row of `runs` for each listing.
        started_at: When this landing began.
    """
    known = _archived(connection, deliveries)
    if known:
        deliveries = [one for one in deliveries if one.raw_id not in known]
        if not deliveries:
            return LandedDeliveries()
        typed = type_or_set_aside([one for one in deliveries if one.page.received is None])
    archive_pages(connection, list(deliveries), run_id=run_id)
    landed = LandedDeliveries(len(deliveries), quarantined=typed.rejects.num_rows)
    brought = Landed(deliveries)
    for record_type, records in typed.records.values():
        with registered(connection, "staged", records):
            span = commit.staged_span(connection, record_type)
            merged = commit.merge(connection, record_type, span, source="webhook")
            if merged:
                brought.add_rows(_fresh(connection, record_type))
        for one in merged.values():
            landed += LandedDeliveries(new=one.new, changed=one.changed)
    if typed.rejects.num_rows:
        with registered(connection, "rejected", typed.rejects):
            commit.quarantine(connection, set(typed.rejects["center_id"].to_pylist()))
        brought.add_rejects(typed.rejects["raw_id"].to_pylist())
    landed_runs.note(connection, brought, run_id=run_id, started_at=started_at)
    return landed


def _fresh(connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> list[tuple[int, bool]]:
    """Return of the merge just made which deliveries brought a row, and whether it is the first of its id."""
    if not record_type.current:
        return [(row[0], True) for row in connection.execute("SELECT receive_order FROM fresh").fetchall()]
    key = f"center_id, {record_type.key}"
    return connection.execute(
        f"""SELECT receive_order, is_known IS NULL AND row_number() OVER (
                PARTITION BY {key} ORDER BY receive_order) = 1
        FROM fresh LEFT JOIN (SELECT DISTINCT {key}, true AS is_known FROM known) USING ({key})"""
    ).fetchall()


def _archived(connection: duckdb.DuckDBPyConnection, deliveries: Sequence[ArchivedPage]) -> set[str]:
    """Return the ids of those deliveries that the archive has; looks at what was received meanwhile only."""
    received = [one.page.received_at for one in deliveries]
    rows = connection.execute(
        """SELECT raw_id FROM raw_pages
        WHERE center_id IN (SELECT unnest($centers)) AND received_at BETWEEN $first AND $last
            AND raw_id IN (SELECT unnest($raw_ids))""",
        {
            "centers": sorted({one.page.center_id for one in deliveries}),
            "first": min(received),
            "last": max(received),
            "raw_ids": [one.raw_id for one in deliveries],
        },
    ).fetchall()
    return {row[0] for row in rows}


def _kind(error: Exception) -> str:
    return type(error).__name__
