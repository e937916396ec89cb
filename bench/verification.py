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

_COMPARED = {
    "cad_incidents": (
        "epoch_us(dispatched_at::TIMESTAMPTZ) AS dispatched_us",
        "lat::DOUBLE AS lat",
        "alarm_level::INTEGER AS alarm_level",
        "NULL::BOOLEAN AS is_audio_live",
        # A list, or the JSON of one.
        "regexp_replace(units::VARCHAR, '[^A-Z0-9,]', '', 'g') AS units",
        "incident_type AS label",
    ),
    "incident_events": (
        "NULL::BIGINT AS dispatched_us",
        "NULL::DOUBLE AS lat",
        "NULL::INTEGER AS alarm_level",
        "is_audio_live::BOOLEAN AS is_audio_live",
        "NULL::VARCHAR AS units",
        "caller_phone_number AS label",
    ),
}


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
                self._take_served(connection, keys)
                connection.execute(f"CREATE TEMP TABLE landed AS {self._select(out_dir, resource)}")
                _compare(connection, resource)

    def assert_changed(self, out_dir: Path, changed: Listing, rows: int) -> None:
        """Compare a lake of so many records, all of which it had, with those that were served as changed.

        Their current rows and newest versions are as served, row by row; each has one version more than
        before, and nothing else has come or gone.

        Raises:
            NotTheSame: With what differs, in numbers.
        """
        record_type = RECORD_TYPES[changed.resource]
        with self._connect(out_dir) as connection:
            self._take_served(connection, [str(rendered(changed).keys)])
            for table in (record_type.current, record_type.versions):
                same = f"row.center_id = served.center_id AND {record_type.key} = record_id"
                if table == record_type.versions:
                    same += " AND epoch_us(updated_at) = updated_us"
                rows_of_them = f"(SELECT row.* FROM {table} AS row SEMI JOIN served ON {same})"
                connection.execute(
                    f"""CREATE OR REPLACE TEMP TABLE landed AS
                    {self._select(out_dir, changed.resource, rows_of_them)}"""
                )
                _compare(connection, table)
            counts = connection.execute(
                f"""SELECT (SELECT count(*) FROM {record_type.current}),
                    (SELECT count(*) FROM {record_type.versions})"""
            ).fetchone()
        if counts != (rows, rows + changed.count):
            raise NotTheSame(
                f"{changed.resource}: {changed.count} changes of {rows} records make {rows} current rows and "
                f"{rows + changed.count} versions; there are {counts}"
            )

    def _take_served(self, connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
        connection.execute(
            f"""CREATE TEMP TABLE served AS
            SELECT {self._center_id}, * EXCLUDE (center_id) FROM read_parquet(?)""",
            [keys],
        )

    @property
    def _center_id(self) -> str:
        """Return the column of the center: of what others land the id says it, which is made from it."""
        return "center_id" if self.form == "lake" else "NULL::VARCHAR AS center_id"

    def _connect(self, out_dir: Path) -> duckdb.DuckDBPyConnection:
        if self.form == "lake":
            return connect(out_dir / self.place)
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        if self.form == "duckdb":
            connection.execute(f"ATTACH '{out_dir / self.place}' AS landed_in (READ_ONLY)")
        return connection

    def _select(self, out_dir: Path, resource: str, of_lake: str = "") -> str:
        source = {
            "lake": of_lake or RECORD_TYPES[resource].current,
            "parquet": f"read_parquet('{out_dir}/{self.place.format(resource=resource)}')",
            "duckdb": f"landed_in.bench.{resource}",
        }[self.form]
        identity = RECORD_TYPES[resource].key if self.form == "lake" else "id"
        columns = (
            self._center_id,
            f"{identity} AS record_id",
            "epoch_us(updated_at::TIMESTAMPTZ) AS updated_us",
            *_COMPARED[resource],
        )
        return f"SELECT {', '.join(columns)} FROM {source}"


def _compare(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    served, landed = (
        connection.execute(
            f"SELECT count(*), count(DISTINCT record_id), bit_xor(hash({table})) FROM {table}"
        ).fetchone()
        for table in ("served", "landed")
    )
    differing = connection.execute(
        """SELECT (SELECT count(*) FROM (FROM served EXCEPT ALL FROM landed)),
            (SELECT count(*) FROM (FROM landed EXCEPT ALL FROM served))"""
    ).fetchone()
    if served != landed or differing != (0, 0):
        raise NotTheSame(
            f"{name}: served (rows, ids, checksum) {served}, landed {landed}; rows missing and too many: "
            f"{differing}"
        )
