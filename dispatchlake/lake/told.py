"""Which conditions hold and have been told: the memory that keeps an alert from coming every five minutes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import datetime

import duckdb

from dispatchlake.lake.sql import at_once


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """A condition that holds and was told.

    Attributes:
        center_id: The dispatch center; "" where it is the whole lake's.
        resource: The listing; "" where it is not one listing's.
        since_at: When it was first told.
        told_at: When it was last told.
    """

    center_id: str
    resource: str
    condition: str
    since_at: datetime
    told_at: datetime


def read_told(connection: duckdb.DuckDBPyConnection) -> list[Told]:
    """Return all conditions that hold and were told."""
    rows = connection.execute(
        "SELECT center_id, resource, condition, since_at, told_at FROM alerts ORDER BY ALL"
    ).fetchall()
    return [Told(*row) for row in rows]


def write_told(connection: duckdb.DuckDBPyConnection, before: Iterable[Told], now: Iterable[Told]) -> None:
    """Replace what was told before by what is now: only what differs is written."""
    gone, added = set(before) - set(now), set(now) - set(before)
    for told in sorted(gone):
        connection.execute(
            f"DELETE FROM alerts WHERE {at_once('center_id', 'resource', 'condition')}",
            [told.center_id, told.resource, told.condition],
        )
    for told in sorted(added):
        connection.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", list(astuple(told)))
