"""Which files the catalog names and which lie on the disk, and how large the lake is.

Reads DuckLake's own tables (https://ducklake.select/docs/stable/specification): its listing functions have
named live files as unused (duckdb/ducklake#84, #815, #916), so nothing here asks them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.sql import fetch_row

CATALOG = "__ducklake_metadata_lake"
DATA_SUFFIXES = frozenset({".parquet", ".puffin"})
"""Of data files, and of the delete files that name their removed rows."""

NAMED_FILES = """
WITH folders AS (
    SELECT DISTINCT t.table_id,
        CASE WHEN t.path_is_relative = 0 THEN t.path
            ELSE s.path || t.path END AS folder,
        t.path_is_relative <> 0 AND s.path_is_relative <> 0 AS is_relative
    FROM {catalog}ducklake_table AS t JOIN {catalog}ducklake_schema AS s ON s.schema_id = t.schema_id
), files AS (
    SELECT table_id, path, path_is_relative, file_size_bytes FROM {catalog}ducklake_data_file
    UNION ALL
    SELECT table_id, path, path_is_relative, file_size_bytes FROM {catalog}ducklake_delete_file
)
SELECT CASE WHEN f.path_is_relative = 0 THEN f.path ELSE coalesce(d.folder, '') || f.path END,
    f.path_is_relative <> 0 AND coalesce(d.is_relative, true), f.file_size_bytes
FROM files AS f LEFT JOIN folders AS d ON d.table_id = f.table_id
"""
"""Every file that some snapshot needs: its path, whether that is below the lake's data folder, its size. For
DuckDB and SQLite alike."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table as it is now: what an unfiltered query reads."""

    name: str
    files: int
    bytes: int
    delete_files: int
    inlined_rows: int


@dataclass(frozen=True, slots=True)
class LakeSize:
    """How large the lake is.

    Attributes:
        files: Data and delete files on the disk, needed or not, and their bytes.
        catalog_bytes: Of the catalog's file.
        wal_bytes: Of the catalog's write-ahead log.
    """

    files: int
    bytes: int
    catalog_bytes: int
    wal_bytes: int
    snapshots: int
    tables: tuple[TableSize, ...]

    @property
    def inlined_rows(self) -> int:
        """Return the rows that lie in the catalog until they are flushed."""
        return sum(table.inlined_rows for table in self.tables)


def data_dir(lake_dir: Path) -> Path:
    """Return the folder of the Parquet files, as the one name that paths are compared by."""
    return (lake_dir / "data").resolve()


def place(root: Path, path: str, *, is_relative: bool) -> Path:
    """Return where a file lies that the catalog names by a path, below `root` or not."""
    return root / path if is_relative else Path(path).resolve()


def wal_path(catalog: Path) -> Path:
    """Return where SQLite keeps a catalog's write-ahead log."""
    return catalog.with_name(f"{catalog.name}-wal")


def named_files(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> set[Path]:
    """Return every data and delete file that any kept snapshot needs."""
    rows = connection.execute(NAMED_FILES.format(catalog=f"{CATALOG}.")).fetchall()
    root = data_dir(lake_dir)
    return {place(root, path, is_relative=is_relative) for path, is_relative, _ in rows}


def listed_files(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> set[Path]:
    """Return the files that DuckLake has listed for removal; they go when their time has come."""
    rows = connection.execute(
        f"SELECT path, path_is_relative FROM {CATALOG}.ducklake_files_scheduled_for_deletion"
    ).fetchall()
    root = data_dir(lake_dir)
    return {place(root, path, is_relative=is_relative) for path, is_relative in rows}


def iter_disk(lake_dir: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each data or delete file on the disk; one that goes away meanwhile is not there."""
    for folder, _, names in os.walk(data_dir(lake_dir)):
        for name in names:
            path = Path(folder, name)
            if path.suffix in DATA_SUFFIXES:
                try:
                    yield path, path.lstat()
                except FileNotFoundError:
                    continue


def measure(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> LakeSize:
    """Return how large the lake is."""
    sizes = [status.st_size for _, status in iter_disk(lake_dir)]
    catalog = catalog_path(lake_dir)
    (snapshots,) = fetch_row(connection, f"SELECT count(*) FROM {CATALOG}.ducklake_snapshot")
    return LakeSize(
        files=len(sizes),
        bytes=sum(sizes),
        catalog_bytes=_size(catalog),
        wal_bytes=_size(wal_path(catalog)),
        snapshots=snapshots,
        tables=tuple(_table_size(connection, *table) for table in tables(connection)),
    )


def tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str]]:
    """Return the id and name of each table there is now, by name."""
    rows: list[tuple[int, str]] = connection.execute(
        f"SELECT table_id, table_name FROM {CATALOG}.ducklake_table WHERE end_snapshot IS NULL ORDER BY 2"
    ).fetchall()
    return rows


def _table_size(connection: duckdb.DuckDBPyConnection, table_id: int, name: str) -> TableSize:
    now = f"WHERE table_id = {table_id} AND end_snapshot IS NULL"
    files, size = fetch_row(
        connection,
        f"SELECT count(*), coalesce(sum(file_size_bytes), 0) FROM {CATALOG}.ducklake_data_file {now}",
    )
    (deletes,) = fetch_row(connection, f"SELECT count(*) FROM {CATALOG}.ducklake_delete_file {now}")
    return TableSize(name, files, int(size), deletes, inlined_rows(connection, table_id))


def inlined_rows(connection: duckdb.DuckDBPyConnection, table_id: int) -> int:
    """Return how many rows of a table lie in the catalog until they are flushed."""
    names = [
        name
        for (name,) in connection.execute(
            f"SELECT table_name FROM {CATALOG}.ducklake_inlined_data_tables WHERE table_id = {table_id}"
        ).fetchall()
    ]
    return sum(fetch_row(connection, f'SELECT count(*) FROM {CATALOG}."{name}"')[0] for name in names)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
