"""Typed records of one load, waiting for their commit in a temporary table that DuckDB may spill to disk.

Holds what one load has read, however large, within the connection's memory limit; readers see none of it.
"""

from __future__ import annotations

import contextlib

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.schemas import DUCKDB_TYPES, RecordType
from dispatchlake.lake.timestamps import INSTANT
from dispatchlake.lake.version_hash import version_hashes


class Staging:
    """The staged records and rejects of one load, and how much it has read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> None:
        self._connection = connection
        self._record_type = record_type
        self.pages = self.records = self.quarantined = self.body_bytes = 0
        columns = ", ".join(f'"{field.name}" {DUCKDB_TYPES[field.kind]}' for field in record_type.fields)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE staged ({columns}, extra VARCHAR, version_hash VARCHAR, "
            "received_at TIMESTAMPTZ, raw_id VARCHAR, receive_order BIGINT)"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE rejected (reason VARCHAR, record VARCHAR, raw_id VARCHAR, "
            "position BIGINT, received_at TIMESTAMPTZ)"
        )

    def add(self, batch: list[ArchivedPage]) -> None:
        """Type the records of archived pages and stage them."""
        counts = [len(archived.page.records) for archived in batch]
        records = [record for archived in batch for record in archived.page.records]
        page_of = np.repeat(np.arange(len(batch)), counts)
        parsed = parse_records(records, self._record_type)
        kept = parsed.table["position"]
        origin = pa.array(page_of[kept.to_numpy()])
        received_at = pa.array([archived.page.received_at for archived in batch], INSTANT)
        raw_ids = pa.array([archived.raw_id for archived in batch], pa.string())
        table = (
            parsed.table.drop_columns("position")
            .append_column("version_hash", version_hashes(parsed.table, self._record_type))
            .append_column("received_at", received_at.take(origin))
            .append_column("raw_id", raw_ids.take(origin))
            .append_column("receive_order", pc.add(kept, self.records))
        )
        self._insert("INSERT INTO staged BY NAME SELECT * FROM parsed", table)
        if parsed.rejects:
            at = np.array([reject.position for reject in parsed.rejects])
            first_of_page = np.cumsum([0, *counts])
            origin = pa.array(page_of[at])
            table = pa.table(
                {
                    "reason": pa.array([reject.reason for reject in parsed.rejects], pa.string()),
                    "record": pa.array([reject.record for reject in parsed.rejects], pa.string()),
                    "raw_id": raw_ids.take(origin),
                    "position": pa.array(at - first_of_page[page_of[at]]),
                    "received_at": received_at.take(origin),
                }
            )
            self._insert("INSERT INTO rejected BY NAME SELECT * FROM parsed", table)
        self.pages += len(batch)
        self.records += len(records)
        self.quarantined += len(parsed.rejects)
        self.body_bytes += sum(len(archived.page.body) for archived in batch)

    def _insert(self, statement: str, parsed: pa.Table) -> None:
        self._connection.register("parsed", parsed)
        try:
            self._connection.execute(statement)
        finally:
            self._connection.unregister("parsed")

    def close(self) -> None:
        """Drop what was staged; where that fails, the next load replaces it."""
        with contextlib.suppress(duckdb.Error):  # the load itself has landed, or has failed for a reason
            self._connection.execute("DROP TABLE IF EXISTS staged")
            self._connection.execute("DROP TABLE IF EXISTS rejected")
