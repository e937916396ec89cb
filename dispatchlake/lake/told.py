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

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what there is one row of."""
        return self.center_id, self.resource, self.condition


def read_told(connection: duckdb.DuckDBPyConnection) -> list[Told]:
    """Return all conditions that hold and were told."""
    rows = connection.execute(
        "SELECT center_id, resource, condition, since_at, told_at FROM alerts ORDER BY ALL"
    ).fetchall()
    return [Told(*row) for row in rows]


def write_told(connection: duckdb.DuckDBPyConnection, before: Iterable[Told], now: Iterable[Told]) -> None:
    """Replace what was told before by what is now: only what differs is written, of a key all rows at once.

    The table has no keys of its own: a key that it has twice, once is enough.
    """
    after = set(now)
    changed = {told.key for told in after.symmetric_difference(before)}
    for key in sorted(changed):
        connection.execute(
            f"DELETE FROM alerts WHERE {at_once('center_id', 'resource', 'condition')}", list(key)
        )
    for told in sorted(after):
        if told.key in changed:
            connection.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", list(astuple(told)))
