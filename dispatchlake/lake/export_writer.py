"""Items of an export as files of one form or as tables of a DuckDB file, and what is to be known of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import orjson

import dispatchlake
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import MANIFEST, Target
from dispatchlake.lake.questions import answer
from dispatchlake.lake.snapshots import Snapshot
from dispatchlake.lake.sql import fetch_count, first_row, quoted

INFO = "export_info"
"""Table of a DuckDB file: of which snapshot each other table is."""

_ROW_GROUP_BYTES = 32 * 2**20
"""A row group is held until it is written, and the rows of `raw_pages` may be megabytes each."""

_ITEM = "export_item"
_TARGET = "export_target"

_NEVER_FORMULAS = (
    "BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?(INT|INTEGER)|FLOAT|DOUBLE|DECIMAL.*|DATE|TIME.*|INTERVAL|UUID"
)
_LIKE_A_FORMULA = "^[\\t\\r\\n ]*[-=+@\\x{FF0B}\\x{FF0D}\\x{FF1D}\\x{FF20}]"
_A_NUMBER = "[-+]?[0-9 ().-]*"


class Writer:
    """Writes items to files, or as tables of one DuckDB file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: Target, place: Path) -> None:
        self._connection = connection
        self._target = target
        self._place = place

    def write(self, items: Sequence[Item], snapshot: Snapshot) -> dict[str, int]:
        """Write each item and what is to be known of all; return their numbers of rows."""
        if self._target.form == "duckdb":
            self._connection.execute(f"ATTACH {quoted(self._place)} AS {_TARGET}")
            rows = {item.name: self._write_table(item) for item in items}
            self._write_info(items, snapshot, rows)
            self._connection.execute(f"DETACH {_TARGET}")
            return rows
        rows = {item.name: self._write_file(item, snapshot) for item in items}
        if self._target.is_folder:
            (self._place / MANIFEST).write_bytes(self._manifest(items, snapshot, rows))
        return rows

    def _write_file(self, item: Item, snapshot: Snapshot) -> int:
        form = self._target.form
        file = self._place / f"{item.name}.{form}" if self._target.is_folder else self._place
        with self._source(item):
            if form == "csv":
                columns, options = self._csv_columns(), "FORMAT csv, HEADER"
            else:
                columns = "*"
                options = (
                    f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE_BYTES {_ROW_GROUP_BYTES}, KV_METADATA "
                    f"{{dispatchlake_snapshot: '{snapshot.number}', "
                    f"dispatchlake_snapshot_at: '{snapshot.committed_at.isoformat()}'}}"
                )
            return fetch_count(
                self._connection, f"COPY (SELECT {columns} FROM {_ITEM}) TO {quoted(file)} ({options})"
            )

    def _write_table(self, item: Item) -> int:
        table = f'{_TARGET}.main."{item.name}"'
        with self._source(item):
            count = fetch_count(self._connection, f"CREATE TABLE {table} AS FROM {_ITEM}")
        if item.query is None:
            self._copy_comments(item.name, table)
        return count

    @contextlib.contextmanager
    def _source(self, item: Item) -> Iterator[None]:
        """Let statements ask an item under one name."""
        query = f'FROM lake."{item.name}"' if item.query is None else item.query
        self._connection.register(_ITEM, answer(self._connection, query))
        try:
            yield
        finally:
            self._connection.unregister(_ITEM)

    def _csv_columns(self) -> str:
        """Return the columns with an apostrophe before what a spreadsheet would run as a formula."""
        if self._target.exact:
            return "*"
        described = self._connection.execute(
            f"SELECT column_name, column_type FROM (DESCRIBE {_ITEM})"
        ).fetchall()
        columns = []
        for name, of_type in described:
            column = '"' + name.replace('"', '""') + '"'
            text = f"{column}::VARCHAR"
            columns.append(
                column
                if re.fullmatch(_NEVER_FORMULAS, of_type)
                else f"""CASE WHEN regexp_matches({text}, '{_LIKE_A_FORMULA}')
                    AND NOT regexp_full_match({text}, '{_A_NUMBER}')
                    THEN '''' || {text} ELSE {text} END AS {column}"""
            )
        return ", ".join(columns)

    def _copy_comments(self, name: str, table: str) -> None:
        """Give a table of a DuckDB file the words that the lake has for it and its columns."""
        comments = self._connection.execute(
            """SELECT comment FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = $name
            UNION ALL SELECT comment FROM duckdb_views()
            WHERE database_name = 'lake' AND view_name = $name""",
            {"name": name},
        ).fetchall()
        for (comment,) in comments:
            if comment:
                self._connection.execute(f"COMMENT ON TABLE {table} IS {quoted(comment)}")
        for column, comment in self._column_comments(name):
            self._connection.execute(f'COMMENT ON COLUMN {table}."{column}" IS {quoted(comment)}')

    def _column_comments(self, name: str) -> list[tuple[str, str]]:
        """Return what the lake says of a table's columns; of a view's, only the dictionary says anything."""
        of_table = self._connection.execute(
            """SELECT column_name, comment FROM duckdb_columns()
            WHERE database_name = 'lake' AND table_name = $name AND comment IS NOT NULL""",
            {"name": name},
        ).fetchall()
        has_dictionary = first_row(
            self._connection,
            "SELECT 1 FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = 'dictionary'",
        )
        if of_table or not has_dictionary:
            return of_table
        return self._connection.execute(
            """SELECT column_name, meaning FROM lake.dictionary
            WHERE object = $name AND role = 'column' AND meaning IS NOT NULL""",
            {"name": name},
        ).fetchall()

    def _write_info(self, items: Sequence[Item], snapshot: Snapshot, rows: Mapping[str, int]) -> None:
        table = f"{_TARGET}.main.{INFO}"
        self._connection.execute(
            f"""CREATE TABLE {table} (name VARCHAR, rows BIGINT, query VARCHAR, snapshot BIGINT,
            snapshot_at TIMESTAMPTZ, exported_at TIMESTAMPTZ, version VARCHAR)"""
        )
        self._connection.execute(
            f"COMMENT ON TABLE {table} IS 'One row per table of this file: what it was exported from.'"
        )
        now = datetime.now(UTC)
        for item in items:
            self._connection.execute(
                f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    item.name,
                    rows[item.name],
                    item.query,
                    snapshot.number,
                    snapshot.committed_at,
                    now,
                    dispatchlake.__version__,
                ],
            )

    def _manifest(self, items: Sequence[Item], snapshot: Snapshot, rows: Mapping[str, int]) -> bytes:
        """Return the same for a folder, as JSON."""
        content = {
            "snapshot": snapshot.number,
            "snapshot_at": snapshot.committed_at,
            "exported_at": datetime.now(UTC),
            "version": dispatchlake.__version__,
            "files": [
                {
                    "file": f"{item.name}.{self._target.form}",
                    "rows": rows[item.name],
                    "query": item.query,
                }
                for item in items
            ],
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
