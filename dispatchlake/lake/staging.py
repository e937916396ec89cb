"""Typed records of one load, waiting for their commit in a temporary table that DuckDB may spill to disk.

Holds what one load has read, however large, within the connection's memory limit; readers see none of it.
"""

from __future__ import annotations

import contextlib

import duckdb
import pyarrow as pa

from dispatchlake.lake.record_types import DUCKDB_TYPES, RecordType
from dispatchlake.lake.sql import transaction
from dispatchlake.lake.typed_pages import TypedPages


class Staging:
    """The staged records and rejects of one load, and how much it has read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> None:
        self._connection = connection
        self._record_type = record_type
        self.pages = self.records = self.quarantined = self.body_bytes = 0
        columns = ", ".join(f'"{field.name}" {DUCKDB_TYPES[field.kind]}' for field in record_type.fields)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE staged (center_id VARCHAR, {columns}, extra VARCHAR, "
            "version_hash VARCHAR, received_at TIMESTAMPTZ, raw_id VARCHAR, receive_order BIGINT)"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE rejected (center_id VARCHAR, resource VARCHAR, reason VARCHAR, "
            "record VARCHAR, raw_id VARCHAR, position BIGINT, received_at TIMESTAMPTZ)"
        )

    def add(self, pages: TypedPages | Exception) -> None:
        """Stage the records of pages, in the order of the calls; raise why they could not be typed."""
        if isinstance(pages, Exception):
            raise pages
        columns = f"* REPLACE (receive_order + {self.records} AS receive_order)"
        self._insert(f"INSERT INTO staged BY NAME SELECT {columns} FROM typed", pages.records)
        if pages.rejects.num_rows:
            self._insert("INSERT INTO rejected BY NAME SELECT * FROM typed", pages.rejects)
        self.pages += pages.page_count
        self.records += pages.record_count
        self.quarantined += pages.rejects.num_rows
        self.body_bytes += pages.body_bytes

    def _insert(self, statement: str, typed: pa.Table) -> None:
        # In one transaction: DuckDB looks each name up in the lake too, which begins one there.
        with transaction(self._connection):
            self._connection.register("typed", typed)
            self._connection.execute(statement)
            self._connection.unregister("typed")

    def close(self) -> None:
        """Drop what was staged; where that fails, the next load replaces it."""
        with contextlib.suppress(duckdb.Error):  # the load itself has landed, or has failed for a reason
            self._connection.execute("DROP TABLE IF EXISTS temp.main.staged")
            self._connection.execute("DROP TABLE IF EXISTS temp.main.rejected")
