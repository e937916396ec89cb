"""Typed records of one load, waiting for their commit: in memory, and of a large load in a temporary table.

Such a table DuckDB spills to disk within the connection's memory limit, so a load may be of any size. Readers
see none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.sql import registered, transaction
from dispatchlake.lake.typed_pages import TypedPages, type_pages

IN_MEMORY_BYTES = 48 * 2**20
"""Typed records of so many bytes stay as they are; nearly every load has fewer."""


class Staging:
    """The staged records and rejects of one load, and how much it has read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> None:
        self.pages = self.records = self.quarantined = self.body_bytes = 0
        self._record_type = record_type
        self._staged = _Pile(connection, "staged")
        self._rejected = _Pile(connection, "rejected")

    def add(self, pages: TypedPages | Exception) -> None:
        """Stage the records of pages, in the order of the calls; raise why they could not be typed."""
        if isinstance(pages, Exception):
            raise pages
        column = pages.records.schema.get_field_index("receive_order")
        order = pc.add(pages.records["receive_order"], self.records)
        self._staged.add(pages.records.set_column(column, "receive_order", order))
        self._rejected.add(pages.rejects)
        self.pages += pages.page_count
        self.records += pages.record_count
        self.quarantined += pages.rejects.num_rows
        self.body_bytes += pages.body_bytes

    @contextlib.contextmanager
    def laid_out(self) -> Iterator[None]:
        """Let statements ask `staged` and `rejected`."""
        nothing = type_pages([], self._record_type)
        with self._staged.laid_out(nothing.records), self._rejected.laid_out(nothing.rejects):
            yield

    def close(self) -> None:
        """Drop what was staged."""
        self._staged.close()
        self._rejected.close()


class _Pile:
    """Rows under one name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._is_table = False

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._is_table or self._waiting_bytes > IN_MEMORY_BYTES:
            self._put_into_table()

    def _put_into_table(self) -> None:
        rows = pa.concat_tables(self._waiting)
        # In one transaction: DuckDB looks each name up in the lake too, which begins one there.
        with transaction(self._connection), registered(self._connection, "waiting", rows):
            if self._is_table:
                self._connection.execute(f"INSERT INTO {self._name} BY NAME SELECT * FROM waiting")
            else:
                self._connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE {self._name} AS SELECT * FROM waiting"
                )
        self._is_table = True
        self._waiting, self._waiting_bytes = [], 0

    @contextlib.contextmanager
    def laid_out(self, nothing: pa.Table) -> Iterator[None]:
        """Let statements ask the rows under their name; where there are none, a table without any."""
        if self._is_table:
            yield
            return
        rows = pa.concat_tables(self._waiting) if self._waiting else nothing
        with registered(self._connection, self._name, rows):
            yield

    def close(self) -> None:
        """Drop the rows; where that fails, the next load replaces them."""
        self._waiting = []
        if self._is_table:
            with contextlib.suppress(duckdb.Error):  # the load has landed, or has failed for a reason
                self._connection.execute(f"DROP TABLE IF EXISTS temp.main.{self._name}")
