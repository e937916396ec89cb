"""The lake's layout, as named steps in order, each applied once and recorded in its own transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import duckdb

from dispatchlake.errors import LakeTooNew
from dispatchlake.lake import chain, view_renewal
from dispatchlake.lake.analyst_tables import CENTERS, DICTIONARY, SERVICE_CLASSES, VIEW_EDITIONS
from dispatchlake.lake.archive import MAX_PAGES
from dispatchlake.lake.declared import Column, Table
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.record_types import EVENT_TYPES, RECORD_TYPES
from dispatchlake.lake.schemas import (
    ALERTS,
    CHAIN_HEADS,
    ERASURE_KEYS,
    ERASURES,
    INCIDENT_SIGHTINGS,
    LEGAL_HOLDS,
    MEDIA_FILES,
    PUBLICATION,
    RAW_PAGES,
    RETENTION_RULES,
    RETENTION_RUNS,
    RUNS,
    TABLES,
)
from dispatchlake.lake.sql import first_row, quoted, transaction

INLINED_ROWS = 100
"""Loads of at most this many rows stay in the catalog until flushed, instead of as a file each."""

_OF_LISTINGS = {name for one in RECORD_TYPES.values() for name in (one.current, one.versions)}
"""Tables that soon have rows, and many: statistics that tell of a null would cost their queries more."""


class Layout:
    """The tables and columns that the lake has, asked once, and the ways to add to them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        rows = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'lake'"
        ).fetchall()
        self._columns: dict[str, set[str]] = {}
        for table, column in rows:
            self._columns.setdefault(table, set()).add(column)

    def add_tables(self, *tables: Table) -> None:
        """Create those the lake lacks: one made by this version has them from its first tables on."""
        for table in tables:
            if table.name not in self._columns:
                _create_table(self.connection, table)
                self._columns[table.name] = {column.name for column in table.columns}

    def add_columns(self, table: Table, *names: str) -> None:
        """Add those columns the table lacks."""
        for column in table.columns:
            if column.name in set(names) - self._columns[table.name]:
                self.connection.execute(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {column.type}')
                _comment_on(self.connection, table, column)
                self._columns[table.name].add(column.name)


def _create_first_tables(layout: Layout) -> None:
    layout.connection.execute("CALL lake.set_option('parquet_compression', 'zstd')")
    layout.connection.execute(f"CALL lake.set_option('data_inlining_row_limit', {INLINED_ROWS})")
    layout.add_tables(*TABLES)


def _keep_pages_out_of_the_catalog(layout: Layout) -> None:
    # A step of its own: DuckLake sets options of a table only once that is committed.
    for table in TABLES:
        if not table.inlines:
            layout.connection.execute(
                f"CALL lake.set_option('data_inlining_row_limit', 0, table_name => '{table.name}')"
            )


def _chain_pages(layout: Layout) -> None:
    layout.add_columns(RAW_PAGES, *chain.LINK_COLUMNS)
    layout.add_tables(CHAIN_HEADS)
    chain.link_archive(layout.connection)


def _keep_row_groups_of_pages_small(layout: Layout) -> None:
    # A row group is read as a whole, and merging files would make one of thousands of bodies.
    layout.connection.execute(
        f"CALL lake.set_option('parquet_row_group_size', {MAX_PAGES}, table_name => '{RAW_PAGES.name}')"
    )


def _compress_lightly(layout: Layout) -> None:
    # Against zstd's usual 3: files an eighth larger, for two thirds of the time to write them.
    layout.connection.execute("CALL lake.set_option('parquet_compression_level', 1)")


def _write_second_version_of_parquet(layout: Layout) -> None:
    # Smaller files that are quicker to write and to read: docs/decisions/0022-parquet-version-2.md.
    layout.connection.execute("CALL lake.set_option('parquet_version', 2)")


def _add_status(layout: Layout) -> None:
    layout.add_columns(RUNS, "kind", "error_class", "logins")
    layout.add_tables(ALERTS)


def _add_deliveries(layout: Layout) -> None:
    events = {one.versions for one in EVENT_TYPES.values() if not one.current}
    layout.add_tables(
        *(one for one in TABLES if one.name in {INCIDENT_SIGHTINGS.name, MEDIA_FILES.name, *events})
    )


def _add_analysts_tables(layout: Layout) -> None:
    layout.add_tables(CENTERS, SERVICE_CLASSES, DICTIONARY, VIEW_EDITIONS)


def _add_webhook_status(layout: Layout) -> None:
    layout.add_columns(RUNS, "last_received_at")
    layout.add_columns(MEDIA_FILES, "asked_at", "answer")


def _add_publication(layout: Layout) -> None:
    layout.add_tables(PUBLICATION)


def _add_erasure(layout: Layout) -> None:
    layout.add_columns(RAW_PAGES, "redacted_at", "redacted_sha256", "redaction_id")
    layout.add_tables(ERASURES, ERASURE_KEYS, LEGAL_HOLDS, RETENTION_RULES, RETENTION_RUNS)


def _begin_statistics_of_empty_tables(layout: Layout) -> None:
    having_them = layout.connection.execute(
        f"""SELECT table_name FROM {CATALOG}.ducklake_table
        JOIN {CATALOG}.ducklake_table_stats USING (table_id) WHERE end_snapshot IS NULL"""
    ).fetchall()
    for table in TABLES:
        if (table.name,) not in having_them:
            _begin_statistics(layout.connection, table)


CHAIN = "0003 chain of pages"
ERASURE = "0009 erasure"
ZONES = "0010 zones"

MIGRATIONS: Mapping[str, Callable[[Layout], None]] = {
    "0001 first tables": _create_first_tables,
    "0002 pages as files": _keep_pages_out_of_the_catalog,
    CHAIN: _chain_pages,
    "0004 small row groups of pages": _keep_row_groups_of_pages_small,
    "0005 light compression": _compress_lightly,
    "0006 status": _add_status,
    "0007 deliveries": _add_deliveries,
    "0008 analysts": _add_analysts_tables,
    ERASURE: _add_erasure,
    ZONES: _add_publication,
    "0011 webhook status": _add_webhook_status,
    "0012 Parquet version 2": _write_second_version_of_parquet,
    "0013 statistics of empty tables": _begin_statistics_of_empty_tables,
}


def applied(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of the migrations the lake has had."""
    try:
        rows = connection.execute("SELECT name FROM migrations").fetchall()
    except duckdb.CatalogException:  # no such table: a lake that is still to be made
        return set()
    return {row[0] for row in rows}


def refuse_newer(names: set[str]) -> None:
    """Raise LakeTooNew if the lake has had a migration that this version does not know."""
    if unknown := sorted(names - set(MIGRATIONS)):
        raise LakeTooNew(
            f"This lake was made by a newer version of dispatchlake (it has had {unknown[0]!r}). "
            "Upgrade dispatchlake; nothing was changed."
        )


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the lake to this version's layout, views and macros. The caller holds the commit lock."""
    done = applied(connection)
    refuse_newer(done)
    layout = Layout(connection)
    left = [name for name in MIGRATIONS if name not in done]
    # Of a lake that is being made all that follows its tables is one step: there are no rows to change.
    steps = [left[:1], left[1:]] if not done else [[name] for name in left]
    for names in steps:
        with transaction(connection):
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR, applied_at TIMESTAMPTZ)")
            for name in names:
                MIGRATIONS[name](layout)
                connection.execute("INSERT INTO migrations VALUES (?, ?)", [name, datetime.now(UTC)])
    if left or view_renewal.is_due(connection):
        with transaction(connection):
            _renew_comments(connection)
            view_renewal.renew(connection)


def is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Say whether the lake has had every migration, and has this version's views or a newer one's.

    Raises:
        LakeTooNew: It has had one that this version does not know.
    """
    done = applied(connection)
    refuse_newer(done)
    return done == set(MIGRATIONS) and not view_renewal.is_due(connection)


def make_anew(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Put an empty table of this version's layout in the place of one; the caller holds a transaction."""
    connection.execute(f"DROP TABLE {table.name}")
    _create_table(connection, table)


def _create_table(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
    connection.execute(f"CREATE TABLE {table.name} ({columns})")
    # DuckLake 1.5.5 puts some files of an encrypted table into folders of their partition and some not, and
    # then can merge none of them (docs/decisions/0019).
    if table.partition_by and not _is_encrypted(connection):
        connection.execute(f"ALTER TABLE {table.name} SET PARTITIONED BY ({', '.join(table.partition_by)})")
    connection.execute(f"COMMENT ON TABLE {table.name} IS {quoted(table.comment)}")
    for column in table.columns:
        _comment_on(connection, table, column)
    _begin_statistics(connection, table)


def _is_encrypted(connection: duckdb.DuckDBPyConnection) -> bool:
    """Say whether the files of the lake are encrypted: decided when it was made."""
    row = first_row(connection, f"SELECT value FROM {CATALOG}.ducklake_metadata WHERE key = 'encrypted'")
    return row is not None and row[0] == "true"


def _begin_statistics(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Let DuckLake have statistics of a table that has never had a row; the caller holds a transaction.

    Else each query of it asks the catalog for them in vain, twice for each column: milliseconds each. A row
    that comes and goes leaves nothing else (docs/decisions/0028-empty-tables-have-statistics.md).
    """
    if table.inlines and table.name not in _OF_LISTINGS:
        connection.execute(f'INSERT INTO {table.name} ("{table.columns[0].name}") VALUES (NULL)')
        connection.execute(f"DELETE FROM {table.name}")


def _renew_comments(connection: duckdb.DuckDBPyConnection) -> None:
    """Say of every table and column what this version says, where the lake says something else."""
    tables = dict(
        connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lake'"
        ).fetchall()
    )
    rows = connection.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'lake'"
    ).fetchall()
    columns = {(table, column): comment for table, column, comment in rows}
    for table in TABLES:
        if tables[table.name] != table.comment:
            connection.execute(f"COMMENT ON TABLE {table.name} IS {quoted(table.comment)}")
        for column in table.columns:
            if columns.get((table.name, column.name), column.full_comment) != column.full_comment:
                _comment_on(connection, table, column)


def _comment_on(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> None:
    connection.execute(f'COMMENT ON COLUMN {table.name}."{column.name}" IS {quoted(column.full_comment)}')
