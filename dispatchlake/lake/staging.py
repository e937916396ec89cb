"""Typed records of one load, waiting for their commit in a temporary table that DuckDB may spill to disk.

Holds what one load has read, however large, within the connection's memory limit; readers see none of it.
"""

from __future__ import annotations

import contextlib

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.parsing import Reject, parse_records
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
        staged, rejected = [], []
        for archived in batch:
            parsed = parse_records(archived.page.records, self._record_type)
            staged.append(self._with_origin(parsed.table, archived))
            rejected += [(reject, archived) for reject in parsed.rejects]
            self.records += len(archived.page.records)
            self.body_bytes += len(archived.page.body)
        table = pa.concat_tables(staged).drop_columns("position")
        table = table.append_column("version_hash", version_hashes(table, self._record_type))
        self._insert("INSERT INTO staged BY NAME SELECT * FROM parsed", table)
        if rejected:
            self._insert("INSERT INTO rejected BY NAME SELECT * FROM parsed", _rejects(rejected))
        self.pages += len(batch)
        self.quarantined += len(rejected)

    def _with_origin(self, records: pa.Table, archived: ArchivedPage) -> pa.Table:
        """Add which page the records came from, when, and in which order."""
        count = len(records)
        received_at = pa.scalar(archived.page.received_at, INSTANT)
        return (
            records.append_column("received_at", pa.repeat(received_at, count))
            .append_column("raw_id", pa.repeat(archived.raw_id, count))
            .append_column("receive_order", pc.add(records["position"], self.records))
        )

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


def _rejects(rejected: list[tuple[Reject, ArchivedPage]]) -> pa.Table:
    return pa.table(
        {
            "reason": pa.array([reject.reason for reject, _ in rejected], pa.string()),
            "record": pa.array([reject.record for reject, _ in rejected], pa.string()),
            "raw_id": pa.array([archived.raw_id for _, archived in rejected], pa.string()),
            "position": pa.array([reject.position for reject, _ in rejected], pa.int64()),
            "received_at": pa.array([archived.page.received_at for _, archived in rejected], INSTANT),
        }
    )
