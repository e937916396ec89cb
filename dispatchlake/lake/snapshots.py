"""Snapshots: the states that the lake has been in, and which of them a number or a time means.

Each commit makes one. Maintenance lets old ones expire, so a snapshot that was there may be gone later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake.sql import fetch_row, first_row

_SNAPSHOTS = "SELECT snapshot_id, snapshot_time FROM lake.snapshots()"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the lake: its number, and when it was committed (UTC)."""

    number: int
    committed_at: datetime

    def __str__(self) -> str:
        """Return it as a sentence names it."""
        return f"snapshot {self.number:,} of {self.committed_at.astimezone(UTC):%F %T}Z"


def find_snapshot(connection: duckdb.DuckDBPyConnection, at: datetime | int | None) -> Snapshot:
    """Return the snapshot of a number, or the newest one that a time (aware) had; without either, the newest.

    Raises:
        ConfigError: There is no such snapshot, or none so old any more; or the time is still to come.
    """
    if isinstance(at, datetime) and at.tzinfo is None:
        raise ConfigError(
            f"{at.isoformat()} has no time zone. Write it with one, as in 2024-02-29T14:05:00Z."
        )
    if isinstance(at, datetime) and at > datetime.now(UTC):
        raise ConfigError(f"{at.isoformat()} is still to come: what the lake will hold then is not known.")
    condition = (
        "snapshot_time <= $at" if isinstance(at, datetime) else "snapshot_id = coalesce($at, snapshot_id)"
    )
    row = first_row(
        connection, f"{_SNAPSHOTS} WHERE {condition} ORDER BY snapshot_id DESC LIMIT 1", {"at": at}
    )
    if row is None:
        raise _no_snapshot(connection, at)
    return Snapshot(*row)


def _no_snapshot(connection: duckdb.DuckDBPyConnection, at: datetime | int | None) -> ConfigError:
    oldest, oldest_at, newest, newest_at = fetch_row(
        connection,
        f"""SELECT min(snapshot_id), min(snapshot_time), max(snapshot_id), max(snapshot_time)
        FROM ({_SNAPSHOTS})""",
    )
    wanted = f"of {at.isoformat()}" if isinstance(at, datetime) else f"{at}"
    return ConfigError(
        f"The lake has no snapshot {wanted}. Kept are some of {Snapshot(oldest, oldest_at)} to "
        f"{Snapshot(newest, newest_at)}; DISPATCHLAKE_KEEP_SNAPSHOTS_DAYS says how long. What was known at "
        "an older time is in the versions: FROM incidents_as_of('...')."
    )


def check_still_kept(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """See to it that what was read of a snapshot was all of it: maintenance has not let it expire meanwhile.

    DuckLake asks the catalog for a snapshot's files with each statement, and finds fewer of them, without a
    word, once the snapshot has expired. One that is there now has been there all the time.

    Raises:
        LakeError: It has expired.
    """
    row = first_row(connection, f"{_SNAPSHOTS} WHERE snapshot_id = ?", [snapshot.number])
    if row is None or Snapshot(*row) != snapshot:
        raise LakeError(
            f"Maintenance has let {snapshot} expire while it was read. Nothing was written: start again, "
            "from a newer one."
        )
