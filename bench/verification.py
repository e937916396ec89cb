"""Whether what a runner landed is what was served, row by row, compared in DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from bench.listings import Listing, rendered
from dispatchlake.lake.reading import connect
from dispatchlake.lake.record_types import RECORD_TYPES

Form = Literal["lake", "parquet", "duckdb"]

_LABELS = {"cad_incidents": "incident_type", "incident_events": "caller_phone_number"}


class NotTheSame(AssertionError):
    """What was landed is not what was served."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a runner puts what it lands: our lake, Parquet files or a DuckDB, below its output folder."""

    form: Form
    place: str = ""

    def assert_equal(self, out_dir: Path, listings: Sequence[Listing]) -> None:
        """Compare count, distinct ids, a checksum and then every row of what was served and landed.

        Raises:
            NotTheSame: With what differs, in numbers.
        """
        for resource in sorted({listing.resource for listing in listings}):
            keys = [str(rendered(one).keys) for one in listings if one.resource == resource]
            with self._connect(out_dir) as connection:
                connection.execute("CREATE TEMP TABLE served AS SELECT * FROM read_parquet(?)", [keys])
                connection.execute(f"CREATE TEMP TABLE landed AS {self._select(out_dir, resource)}")
                _compare(connection, resource)

    def _connect(self, out_dir: Path) -> duckdb.DuckDBPyConnection:
        if self.form == "lake":
            return connect(out_dir / self.place)
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        if self.form == "duckdb":
            connection.execute(f"ATTACH '{out_dir / self.place}' AS landed_in (READ_ONLY)")
        return connection

    def _select(self, out_dir: Path, resource: str) -> str:
        source = {
            "lake": RECORD_TYPES[resource].current,
            "parquet": f"read_parquet('{out_dir}/{self.place.format(resource=resource)}')",
            "duckdb": f"landed_in.bench.{resource}",
        }[self.form]
        identity = RECORD_TYPES[resource].key if self.form == "lake" else "id"
        is_cad = resource == "cad_incidents"
        dispatched = "epoch_us(dispatched_at::TIMESTAMPTZ)" if is_cad else "NULL::BIGINT"
        lat = "lat::DOUBLE" if is_cad else "NULL::DOUBLE"
        return (
            f"SELECT {identity} AS record_id, epoch_us(updated_at::TIMESTAMPTZ) AS updated_us, "
            f"{dispatched} AS dispatched_us, {lat} AS lat, {_LABELS[resource]} AS label FROM {source}"
        )


def _compare(connection: duckdb.DuckDBPyConnection, resource: str) -> None:
    sums = """SELECT count(*), count(DISTINCT record_id),
        bit_xor(hash(record_id, updated_us, dispatched_us, lat, label)) FROM """
    served = connection.execute(sums + "served").fetchone()
    landed = connection.execute(sums + "landed").fetchone()
    differing = connection.execute(
        """SELECT (SELECT count(*) FROM (FROM served EXCEPT ALL FROM landed)),
            (SELECT count(*) FROM (FROM landed EXCEPT ALL FROM served))"""
    ).fetchone()
    if served != landed or differing != (0, 0):
        raise NotTheSame(
            f"{resource}: served (rows, ids, checksum) {served}, landed {landed}; rows missing and too many: "
            f"{differing}"
        )
