"""The lake's layout, as named steps in order, each applied once and recorded in its own transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

import duckdb

from dispatchlake.errors import LakeTooNew
from dispatchlake.lake import chain, view_renewal
from dispatchlake.lake.analyst_tables import CENTERS, DICTIONARY, SERVICE_CLASSES, VIEW_EDITIONS
from dispatchlake.lake.archive import MAX_PAGES
from dispatchlake.lake.declared import Column, Table
from dispatchlake.lake.encryption import is_encrypted
from dispatchlake.lake.record_types import EVENT_TYPES
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
from dispatchlake.lake.sql import quoted, transaction

INLINED_ROWS = 100
"""Loads of at most this many rows stay in the catalog until flushed, instead of as a file each."""


def _create_first_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CALL lake.set_option('parquet_compression', 'zstd')")
    connection.execute(f"CALL lake.set_option('data_inlining_row_limit', {INLINED_ROWS})")
    for table in TABLES:
        _create_table(connection, table)


def _keep_pages_out_of_the_catalog(connection: duckdb.DuckDBPyConnection) -> None:
    # A step of its own: DuckLake sets options of a table only once that is committed.
    for table in TABLES:
        if not table.inlines:
            connection.execute(
                f"CALL lake.set_option('data_inlining_row_limit', 0, table_name => '{table.name}')"
            )


def _chain_pages(connection: duckdb.DuckDBPyConnection) -> None:
    _add_columns(connection, RAW_PAGES, chain.LINK_COLUMNS)
    if not _exists(connection, CHAIN_HEADS.name):
        _create_table(connection, CHAIN_HEADS)
    chain.link_archive(connection)


def _keep_row_groups_of_pages_small(connection: duckdb.DuckDBPyConnection) -> None:
    # A row group is read as a whole, and merging files would make one of thousands of bodies.
    connection.execute(
        f"CALL lake.set_option('parquet_row_group_size', {MAX_PAGES}, table_name => '{RAW_PAGES.name}')"
    )


def _compress_lightly(connection: duckdb.DuckDBPyConnection) -> None:
    # Against zstd's usual 3: files an eighth larger, for two thirds of the time to write them.
    connection.execute("CALL lake.set_option('parquet_compression_level', 1)")


def _add_status(connection: duckdb.DuckDBPyConnection) -> None:
    _add_columns(connection, RUNS, ("kind", "error_class", "logins"))
    if not _exists(connection, ALERTS.name):
        _create_table(connection, ALERTS)


def _add_deliveries(connection: duckdb.DuckDBPyConnection) -> None:
    events = {one.versions for one in EVENT_TYPES.values() if not one.current}
    for table in TABLES:
        if table.name in {INCIDENT_SIGHTINGS.name, MEDIA_FILES.name, *events} and not _exists(
            connection, table.name
        ):
            _create_table(connection, table)
    _renew_comments(connection)


def _add_analysts_tables(connection: duckdb.DuckDBPyConnection) -> None:
    for table in (CENTERS, SERVICE_CLASSES, DICTIONARY, VIEW_EDITIONS):
        if not _exists(connection, table.name):
            _create_table(connection, table)


def _add_webhook_status(connection: duckdb.DuckDBPyConnection) -> None:
    _add_columns(connection, RUNS, ("last_received_at",))
    _add_columns(connection, MEDIA_FILES, ("asked_at", "answer"))
    _renew_comments(connection)


def _add_publication(connection: duckdb.DuckDBPyConnection) -> None:
    if not _exists(connection, PUBLICATION.name):
        _create_table(connection, PUBLICATION)
    _renew_comments(connection)  # which say what a column may reveal


def _add_erasure(connection: duckdb.DuckDBPyConnection) -> None:
    _add_columns(connection, RAW_PAGES, ("redacted_at", "redacted_sha256", "redaction_id"))
    for table in (ERASURES, ERASURE_KEYS, LEGAL_HOLDS, RETENTION_RULES, RETENTION_RUNS):
        if not _exists(connection, table.name):
            _create_table(connection, table)
    _renew_comments(connection)


CHAIN = "0003 chain of pages"
ERASURE = "0009 erasure"
ZONES = "0010 zones"

MIGRATIONS: Mapping[str, Callable[[duckdb.DuckDBPyConnection], None]] = {
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
    is_new = done != set(MIGRATIONS)
    for name, step in MIGRATIONS.items():
        if name in done:
            continue
        with transaction(connection):
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR, applied_at TIMESTAMPTZ)")
            step(connection)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", [name, datetime.now(UTC)])
    if is_new or view_renewal.is_due(connection):
        with transaction(connection):
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
    if table.partition_by and not is_encrypted(connection):
        connection.execute(f"ALTER TABLE {table.name} SET PARTITIONED BY ({', '.join(table.partition_by)})")
    connection.execute(f"COMMENT ON TABLE {table.name} IS {quoted(table.comment)}")
    for column in table.columns:
        _comment_on(connection, table, column)


def _add_columns(connection: duckdb.DuckDBPyConnection, table: Table, names: Collection[str]) -> None:
    """Add those columns the table lacks: a lake made by this version has them from its first tables on."""
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = ?",
        [table.name],
    ).fetchall()
    had = {row[0] for row in rows}
    for column in table.columns:
        if column.name in names and column.name not in had:
            connection.execute(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {column.type}')
            _comment_on(connection, table, column)


def _renew_comments(connection: duckdb.DuckDBPyConnection) -> None:
    """Say of every table and column what this version says, where the lake says something else.

    Those that a later step adds are not there yet.
    """
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
        if table.name not in tables:  # a later step makes it
            continue
        if tables[table.name] != table.comment:
            connection.execute(f"COMMENT ON TABLE {table.name} IS {quoted(table.comment)}")
        for column in table.columns:
            if columns.get((table.name, column.name), column.full_comment) != column.full_comment:
                _comment_on(connection, table, column)


def _comment_on(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> None:
    connection.execute(f'COMMENT ON COLUMN {table.name}."{column.name}" IS {quoted(column.full_comment)}')


def _exists(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    found = connection.execute(
        """SELECT 1 FROM information_schema.tables
        WHERE table_catalog = 'lake' AND table_name = ?""",
        [name],
    ).fetchone()
    return found is not None
