"""A lake without its past: all snapshots but the newest removed, and every byte that only they needed.

For the open zone, once its key or the treatment of a column has changed: what was shown before may say more.
A query that is at work on an older snapshot fails for want of its files.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake import catalog_file, removal
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.inventory import CATALOG

_AT_ONCE = 5_000
_NO_AGE = timedelta(0)


def forget_history(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> None:
    """Remove all that the newest snapshot does not need; the caller holds the commit lock only.

    Raises:
        LakeError: Something of it could not be removed; doing it again does the rest.
    """
    while old := _old_snapshots(connection):
        connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => {old})").fetchall()
    more, spared = True, 0
    while more:
        removed, more = removal.remove_listed(connection, lake_dir, age=_NO_AGE)
        spared = removed.spared
    removal.remove_orphans(connection, lake_dir, removal.find_old(lake_dir, age=_NO_AGE))
    if spared or not catalog_file.scrub(catalog_path(lake_dir)):
        raise LakeError(
            f"What the lake in {lake_dir} held before is not all removed: a reader has it open. Have it "
            "closed, and do the same again."
        )


def _old_snapshots(connection: duckdb.DuckDBPyConnection) -> list[int]:
    rows = connection.execute(
        f"""SELECT snapshot_id FROM {CATALOG}.ducklake_snapshot
        WHERE snapshot_id < (SELECT max(snapshot_id) FROM {CATALOG}.ducklake_snapshot)
        ORDER BY 1 LIMIT {_AT_ONCE}"""
    ).fetchall()
    return [int(row[0]) for row in rows]
