"""Watermarks: where each listing's next scheduled run begins."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import duckdb

from dispatchlake.lake.bookkeeping import AMONG, Landed, LoadSummary, among
from dispatchlake.lake.connection import Session, at_the_door
from dispatchlake.lake.sql import fetch_row

_FIRST_PLAUSIBLE = datetime(1970, 1, 1, tzinfo=UTC)
"""Before it lie the dates that stand for none (0001-01-01, 1900-01-01): nowhere to go on reading from. All is
read from it on."""


class KnownWatermarks:
    """What this process knows of them while it has the lake open.

    Of the lake itself that takes 10 ms a cell, and one cell after the other.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], datetime] = {}
        self._guard = threading.Lock()
        """Else what one thread has read could take the place of what another has committed since."""

    def find(self, session: Session, center_id: str, resource: str) -> datetime | None:
        """Return the newest `updated_at` fully committed, or None before the first load.

        It is what this process first found, or has landed since. Where another one has come further, a
        little is read twice, and brings nothing new.
        """
        listing = (center_id, resource)
        if listing not in self._of:
            with self._guard:
                if listing not in self._of:  # all cells of a run begin at once, and one asks for all
                    self._of |= _all(session())
        return self._of.get(listing)

    def note(self, landed: Iterable[LoadSummary]) -> None:
        """Note what has been committed by this process."""
        with self._guard:
            self._of |= {(one.center_id, one.resource): one.watermark for one in landed if one.watermark}


def _all(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], datetime]:
    with at_the_door():
        rows = connection.execute("SELECT center_id, resource, watermark_at FROM watermarks").fetchall()
    return {(center_id, resource): watermark for center_id, resource, watermark in rows}


def advance(connection: duckdb.DuckDBPyConnection, landed: Sequence[Landed]) -> list[datetime | None]:
    """Move each watermark up to the newest change; never past the window's end, or for a backfill.

    What changed while we read may have been missed, so it stays that long behind: the newest change seen
    is no older, by the source's clock, than the end of the reading. A record dated in the future must not
    hide what changes until then: it counts as of now, by the source's clock. Nor must what a reading left
    out that began after the watermark.

    It never goes back, unless it is ahead of the source's clock: nobody has read until then.

    Returns:
        list: Each cell's watermark as it is now.
    """
    rows = connection.execute(
        f"SELECT center_id, resource, watermark_at FROM watermarks WHERE {AMONG}", among(landed)
    ).fetchall()
    before = {(center_id, resource): watermark for center_id, resource, watermark in rows}
    moved: dict[tuple[str, str], tuple[datetime, str]] = {}
    for one in landed:
        if one.cell.kind != "ingest":
            continue
        had = kept = before.get(one.listing)
        if had is not None and one.source_now is not None and had > one.source_now:
            kept = _read_until(connection, one)
        after, start = _reached(one), one.cell.window.start
        is_joined = kept is None or start is None or start <= kept
        if after is not None and is_joined and (kept is None or after > kept):
            kept = after
        if kept is not None and kept != had:
            moved[one.listing] = kept, one.run_id
    if moved:
        names = [list(column) for column in zip(*moved, strict=True)]
        values = [list(column) for column in zip(*moved.values(), strict=True)]
        connection.execute(
            f"DELETE FROM watermarks WHERE {AMONG}", {"listings": ["|".join(name) for name in moved]}
        )
        connection.execute(
            "INSERT INTO watermarks SELECT unnest(?), unnest(?), unnest(?::TIMESTAMPTZ[]), unnest(?)",
            [*names, *values],
        )
    return [moved[one.listing][0] if one.listing in moved else before.get(one.listing) for one in landed]


def _reached(one: Landed) -> datetime | None:
    """Return until when a reading has read all changes; None where no record tells."""
    newest = one.newest_updated_at
    if newest is None or newest < _FIRST_PLAUSIBLE:
        return None
    return min(min(newest, one.source_now or newest) - one.took, one.cell.window.end)


def _read_until(connection: duckdb.DuckDBPyConnection, one: Landed) -> datetime:
    """Return the newest change that a run has read up to, of those not ahead of the source's clock.

    Where there is no such run all is to be read anew. The watermark then stays, and says so: a run that began
    at it as it was, and lands later, would make another.
    """
    newest: datetime | None = fetch_row(
        connection,
        # What was dated in the future when it was read, and is past by now, tells no more than that it was.
        """SELECT max(least(started_at, newest_updated_at - to_microseconds((seconds * 1e6)::BIGINT)))
        FROM runs
        WHERE center_id = ? AND resource = ? AND kind = 'ingest' AND state = 'landed'
            AND newest_updated_at BETWEEN ? AND ?""",
        [*one.listing, _FIRST_PLAUSIBLE, one.source_now],
    )[0]
    return newest or _FIRST_PLAUSIBLE
