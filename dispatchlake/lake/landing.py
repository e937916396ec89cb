"""Deliveries to rows: archived and landed in one transaction, whichever centers they are of, each once.

A batch is typed before the transaction begins, so that nobody waits for that. Which of its deliveries are in
the lake already, because who brought them was killed before it could forget them, is asked within: two who
bring the same take turns there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from dispatchlake.lake import commit
from dispatchlake.lake.archive import ArchivedPage, archive_pages
from dispatchlake.lake.sql import registered
from dispatchlake.lake.typed_pages import TypedDeliveries, type_deliveries

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LandedDeliveries:
    """What landing some deliveries brought: numbers only, safe to show anywhere.

    Attributes:
        deliveries: That were not in the lake yet.
        new: Rows, of whatever table, that are the first of their id.
        changed: Further versions of incidents.
        quarantined: Deliveries set aside.
    """

    deliveries: int = 0
    new: int = 0
    changed: int = 0
    quarantined: int = 0

    def __add__(self, other: LandedDeliveries) -> LandedDeliveries:
        return LandedDeliveries(
            self.deliveries + other.deliveries,
            self.new + other.new,
            self.changed + other.changed,
            self.quarantined + other.quarantined,
        )


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
) -> LandedDeliveries:
    """Archive and land deliveries. The caller holds the commit lock and a transaction.

    Args:
        connection: Of the lake.
        deliveries: Those of one center in the order received; those that are erased with an empty body.
        typed: What `type_or_set_aside` made of the others.
        run_id: Kept with each in the archive.
    """
    known = _archived(connection, deliveries)
    if known:
        deliveries = [one for one in deliveries if one.raw_id not in known]
        if not deliveries:
            return LandedDeliveries()
        typed = type_or_set_aside([one for one in deliveries if one.page.received is None])
    archive_pages(connection, list(deliveries), run_id=run_id)
    landed = LandedDeliveries(len(deliveries), quarantined=typed.rejects.num_rows)
    for record_type, records in typed.records.values():
        with registered(connection, "staged", records):
            span = commit.staged_span(connection, record_type)
            merged = commit.merge(connection, record_type, span, source="webhook")
        landed += LandedDeliveries(new=merged.new, changed=merged.changed)
    if typed.rejects.num_rows:
        with registered(connection, "rejected", typed.rejects):
            commit.quarantine(connection, set(typed.rejects["center_id"].to_pylist()))
    return landed


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
