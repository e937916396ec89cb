"""Typed records of one load, waiting for their commit in a temporary table that DuckDB may spill to disk.

Holds what one load has read, however large, within the connection's memory limit; readers see none of it.
"""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.schemas import DUCKDB_TYPES, RecordType
from dispatchlake.lake.timestamps import INSTANT

_TEXT_OF = {
    "text": "{0}",
    "boolean": "{0}::VARCHAR",
    "integer": "{0}::VARCHAR",
    "number": "{0}::VARCHAR",
    "instant": "epoch_us({0})::VARCHAR",
    "texts": "to_json({0})::VARCHAR",
}


def version_hash_sql(record_type: RecordType) -> str:
    """Return the SQL of a record's version hash.

    128 bits of SHA-256 over `name:length:value` of every typed field that is not null, and `extra`. Times
    count as instants, so the form a timestamp was written in does not matter; nulls are left out, so a
    column that is added later does not change the hash of what came before it.
    """
    parts = []
    for spec in [*((field.name, field.kind) for field in record_type.fields), ("extra", "text")]:
        name, kind = spec
        text = _TEXT_OF[kind].format(f'"{name}"')
        parts.append(f"'{name}:' || length({text}) || ':' || {text}")
    return f"left(sha256(concat_ws('|', {', '.join(parts)})), 32)"


class Staging:
    """The staged records and rejects of one load, and how much it has read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> None:
        self._connection = connection
        self._record_type = record_type
        self._hash_sql = version_hash_sql(record_type)
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
        records: list[Any] = []
        raw_ids: list[str] = []
        received: list[Any] = []
        positions: list[int] = []
        for archived in batch:
            count = len(archived.page.records)
            records += archived.page.records
            raw_ids += [archived.raw_id] * count
            received += [archived.page.received_at] * count
            positions += range(count)
        parsed = parse_records(records, self._record_type)
        kept = parsed.table["position"]
        table = (
            parsed.table.append_column("received_at", pa.array(received, INSTANT).take(kept))
            .append_column("raw_id", pa.array(raw_ids, pa.string()).take(kept))
            .append_column("receive_order", pc.add(kept, self.records))
        )
        names = ", ".join(f'"{field.name}"' for field in self._record_type.fields)
        self._insert(
            f"INSERT INTO staged SELECT {names}, extra, {self._hash_sql}, received_at, raw_id, receive_order "
            "FROM parsed",
            table,
        )
        if parsed.rejects:
            at = [reject.position for reject in parsed.rejects]
            self._insert(
                "INSERT INTO rejected BY NAME SELECT * FROM parsed",
                pa.table(
                    {
                        "reason": pa.array([reject.reason for reject in parsed.rejects], pa.string()),
                        "record": pa.array([reject.record for reject in parsed.rejects], pa.string()),
                        "raw_id": pa.array([raw_ids[position] for position in at], pa.string()),
                        "position": pa.array([positions[position] for position in at], pa.int64()),
                        "received_at": pa.array([received[position] for position in at], INSTANT),
                    }
                ),
            )
        self.pages += len(batch)
        self.body_bytes += sum(len(archived.page.body) for archived in batch)
        self.records += len(records)
        self.quarantined += len(parsed.rejects)

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
