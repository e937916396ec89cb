"""Landings in `runs`: one row per run id, center and kind of webhook, which further landings of it add to.

A landing may come every few seconds; a row for each would be millions a month. So those of a few minutes
share a run id, and a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.sql import registered

LANDING = "landing"
"""Their `runs.kind`."""

_LONGEST = timedelta(hours=1)
"""No run id is used for so long: so far back is looked for a row to add to."""


@dataclass(slots=True)
class _Counts:
    last_received_at: datetime
    deliveries: int = 0
    new: int = 0
    changed: int = 0
    quarantined: int = 0


class Landed:
    """What some deliveries brought, by center and kind of webhook."""

    def __init__(self, deliveries: Sequence[ArchivedPage]) -> None:
        self.counts: dict[tuple[str, str], _Counts] = {}
        self._of: list[_Counts] = []
        for one in deliveries:
            page = one.page
            found = self.counts.setdefault((page.center_id, page.resource), _Counts(page.received_at))
            found.deliveries += 1
            found.last_received_at = max(found.last_received_at, page.received_at)
            self._of.append(found)
        self._by_id = {one.raw_id: counts for one, counts in zip(deliveries, self._of, strict=True)}

    def add_rows(self, rows: Iterable[tuple[int, bool]]) -> None:
        """Count rows: each with the place of the delivery that brought it, and whether its id is new."""
        for place, is_new in rows:
            if is_new:
                self._of[place].new += 1
            else:
                self._of[place].changed += 1

    def add_rejects(self, raw_ids: Iterable[str]) -> None:
        """Count deliveries that were set aside."""
        for raw_id in raw_ids:
            self._by_id[raw_id].quarantined += 1


def note(connection: duckdb.DuckDBPyConnection, landed: Landed, *, run_id: str, started_at: datetime) -> None:
    """Add what was landed to the rows of its run id. The caller holds a transaction."""
    now = datetime.now(UTC)
    known = {
        (center_id, resource): numbers
        for center_id, resource, *numbers in connection.execute(
            """SELECT center_id, resource, started_at, records, new, changed, quarantined, last_received_at
            FROM runs WHERE run_id = ? AND kind = ? AND started_at > ?""",
            [run_id, LANDING, now - _LONGEST],
        ).fetchall()
    }
    again = [listing for listing in landed.counts if listing in known]
    if again:
        connection.execute(
            """DELETE FROM runs WHERE run_id = ? AND kind = ? AND started_at > ?
            AND (center_id, resource) IN (SELECT unnest(?), unnest(?))""",
            [run_id, LANDING, now - _LONGEST, [one[0] for one in again], [one[1] for one in again]],
        )
    rows = []
    for listing, counts in landed.counts.items():
        began_at, records, new, changed, quarantined, received_at = known.get(
            listing, (started_at, 0, 0, 0, 0, counts.last_received_at)
        )
        records, new, changed = records + counts.deliveries, new + counts.new, changed + counts.changed
        quarantined += counts.quarantined
        row = {
            "run_id": run_id,
            "center_id": listing[0],
            "resource": listing[1],
            "state": "landed",
            "kind": LANDING,
            "pages": records,
            "records": records,
            "new": new,
            "changed": changed,
            "unchanged": records - new - changed - quarantined,
            "quarantined": quarantined,
            "started_at": began_at,
            "seconds": (now - began_at).total_seconds(),
            "logins": 0,
            "last_received_at": max(received_at, counts.last_received_at),
        }
        rows.append(row)
    with registered(connection, "landed", pa.Table.from_pylist(rows)):
        connection.execute("INSERT INTO runs BY NAME SELECT * FROM landed")
