"""What was deleted, off the disk: files, old snapshots, inlined rows, statistics, free pages, the log.

For an erasure, and for the open zone once its key or the treatment of a column has changed. A table's
deleted rows are still in its files, and in every snapshot taken before. So a purge forgets all snapshots but
the newest, writes the files anew that held a deleted row, and removes the old ones at once, without the wait
that `maintenance` keeps for readers: a query that is at work on them fails, and is asked again.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb

from dispatchlake.errors import CatalogBusy, LakeError
from dispatchlake.lake import catalog_file, inventory, removal, scratch
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.maintenance import EXPIRED_AT_ONCE, flush_table
from dispatchlake.lake.removal import Removed
from dispatchlake.lake.sql import first_row

_AT_ONCE = timedelta(0)
_NUMBERS = "'int32', 'int64', 'float32', 'float64'"
"""DuckLake's names of types whose values are not in the order of their texts; times are written so."""


def purge(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> Removed:
    """Forget all snapshots but the newest, and remove every file that only they need. Holds the commit lock.

    The caller holds it, and is in no transaction. Stopped anywhere and done again, it goes on.

    Raises:
        LakeError: DuckLake has listed files for removal that the newest snapshot needs.
    """
    _expire(connection)
    for table_id, table in inventory.tables(connection):
        flush_table(connection, table)
        if _has_removed_rows(connection, table_id):
            connection.execute(
                f"CALL ducklake_rewrite_data_files('lake', '{table}', delete_threshold => 0)"
            ).fetchall()
    _expire(connection)
    total, more = Removed(), True
    while more:
        removed, more = removal.remove_listed(connection, lake_dir, age=_AT_ONCE)
        if removed.spared:
            raise LakeError(
                f"{removed.spared:,} files are listed for removal although the newest snapshot needs them. "
                "That is a fault of DuckLake: report it. Not all is removed."
            )
        total += removed
    # Whoever writes holds the lock: what no catalog knows was left by a writer that was killed.
    on_disk = [path for path, _ in inventory.iter_disk(lake_dir)]
    total += removal.remove_orphans(connection, lake_dir, on_disk)
    _narrow_statistics(connection)
    return total


def scrub(lake_dir: Path) -> None:
    """Write the catalog anew without its free pages, empty its log, and remove what ended processes spilled.

    The caller holds the commit lock.

    Raises:
        CatalogBusy: A reader keeps the log from being emptied.
    """
    scratch.remove_dead(lake_dir, older_than_s=0)
    scratch.remove_dead_readers()
    compacted = catalog_file.scrub(catalog_path(lake_dir))
    if not compacted.log_is_empty:
        raise CatalogBusy(
            f"A reader at work keeps the log of {catalog_path(lake_dir)} from being emptied: what was "
            "removed is in it still. End long queries, and do the same again (erase: --unfinished)."
        )


def replaced_catalogs(lake_dir: Path) -> list[Path]:
    """Return the catalogs that restores have replaced, and what a killed one left: they hold rows."""
    return sorted([*lake_dir.glob("catalog-replaced-*.sqlite*"), *lake_dir.glob("catalog.sqlite.incoming*")])


def _expire(connection: duckdb.DuckDBPyConnection) -> None:
    while True:
        rows = connection.execute(
            f"SELECT snapshot_id FROM {CATALOG}.ducklake_snapshot ORDER BY snapshot_id"
        ).fetchall()
        old = [int(row[0]) for row in rows[:-1]][:EXPIRED_AT_ONCE]
        if not old:
            return
        connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => {old})").fetchall()


def _has_removed_rows(connection: duckdb.DuckDBPyConnection, table_id: int) -> bool:
    found = first_row(
        connection,
        f"""SELECT 1 FROM {CATALOG}.ducklake_delete_file
        WHERE table_id = {table_id} AND end_snapshot IS NULL LIMIT 1""",
    )
    return found is not None


def _narrow_statistics(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the smallest and largest value of a table's columns be those of the files that it has.

    DuckLake widens them with each load and leaves them when rows go: a value may be there that no row has.
    """
    rows = connection.execute(
        f"""WITH kept AS (
            SELECT s.table_id, s.column_id, c.column_type, min_value, max_value
            FROM {CATALOG}.ducklake_file_column_stats AS s
            JOIN {CATALOG}.ducklake_data_file AS f USING (data_file_id)
            JOIN {CATALOG}.ducklake_column AS c ON c.table_id = s.table_id AND c.column_id = s.column_id
            WHERE f.end_snapshot IS NULL AND c.end_snapshot IS NULL
        ), bounds AS (
            SELECT table_id, column_id,
                CASE WHEN any_value(column_type) IN ({_NUMBERS})
                    THEN arg_min(min_value, TRY_CAST(min_value AS DOUBLE)) ELSE min(min_value) END AS least,
                CASE WHEN any_value(column_type) IN ({_NUMBERS})
                    THEN arg_max(max_value, TRY_CAST(max_value AS DOUBLE)) ELSE max(max_value) END AS most
            FROM kept GROUP BY ALL
        )
        SELECT table_id, column_id, least, most FROM {CATALOG}.ducklake_table_column_stats
        LEFT JOIN bounds USING (table_id, column_id)
        WHERE min_value IS DISTINCT FROM least OR max_value IS DISTINCT FROM most"""
    ).fetchall()
    for table_id, column_id, least, most in rows:
        connection.execute(
            f"""UPDATE {CATALOG}.ducklake_table_column_stats SET min_value = $least, max_value = $most
            WHERE table_id = {table_id} AND column_id = {column_id}""",
            {"least": least, "most": most},
        )
