"""Lakes of many months, built in bulk through the product's own tables, kept, and lent out as copies.

Records are those of `rows`, made in SQL: number n of a center was created n minutes after the first and has
the same id there and here, so that a server can say that it has changed. Every other one belongs to an
incident, and some of those have two locations of its caller. A center's month is one file, as after
maintenance. Built again when the product's layout changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path

import duckdb

from bench import rows as made_up
from bench.listings import DATA_DIR
from bench.processes import scratch_folder
from dispatchlake.lake import bookkeeping, watermarks
from dispatchlake.lake.connection import connect_writer
from dispatchlake.lake.lake import Lake
from dispatchlake.lake.migrations import MIGRATIONS
from dispatchlake.lake.record_types import CAD_INCIDENTS
from dispatchlake.lake.schemas import TABLES, record_columns
from dispatchlake.model import RESOURCES
from dispatchlake.windows import Window

CENTERS = 5
ZONES = ("America/Chicago", "America/Los_Angeles", "America/New_York", "America/Denver", "America/Phoenix")
_SPACING_S = 60
_MEMORY_MB = 2048


@contextmanager
def copy(rows: int) -> Iterator[Path]:
    """Yield a data folder with a lake of so many CAD incidents, for the caller to change.

    Its Parquet files are hard links: nobody ever writes into one.
    """
    original = _built(rows)
    with scratch_folder() as temporary:
        # On the same file system, which a temporary folder may not be.
        folder = original.parent / temporary.name
        try:
            shutil.copytree(original, folder, copy_function=_link_or_copy)
            Lake.open(folder / "lake").close()  # the views of this version, whichever built it
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _built(rows: int) -> Path:
    layout = repr([astuple(table) for table in TABLES]) + repr(list(MIGRATIONS)) + duckdb.__version__
    name = hashlib.sha256(f"{rows}|{layout}|{made_up.EDITION}".encode()).hexdigest()[:20]
    folder = DATA_DIR / "lakes" / name
    if not (folder / "built").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _build(folder, rows)
        (folder / "built").touch()
    return folder


def _build(folder: Path, rows: int) -> None:
    lake_dir = folder / "lake"
    Lake.open(lake_dir).close()
    connection = connect_writer(lake_dir, memory_limit_mb=_MEMORY_MB, create=False)
    per_center = rows // CENTERS
    per_insert = 500_000
    try:
        for number in range(CENTERS):
            center_id = f"center-{number:02}"
            for first in range(0, per_center, per_insert):
                _insert(connection, center_id, first, min(first + per_insert, per_center))
            _mark_as_read(connection, center_id, per_center)
            connection.execute(
                "INSERT INTO centers VALUES (?, ?, ?, now())", [center_id, center_id, ZONES[number]]
            )
    finally:
        connection.close()


def _insert(connection: duckdb.DuckDBPyConnection, center_id: str, first: int, end: int) -> None:
    """Insert records of one center into the versions and the current table, month by month."""
    known = {
        "center_id": "$center",
        "cad_incident_id": "id",
        "incident_id": "CASE WHEN chance % 2 = 0 THEN md5(id)::UUID::VARCHAR END",
        "cad_partner_incident_id": "format('{:02}-{:07}', year(created_at) % 100, n)",
        "agency_type": f"{list(made_up.AGENCY_TYPES)}[chance % 3 + 1]",
        "incident_type": f"{list(made_up.INCIDENT_TYPES)}[chance % {len(made_up.INCIDENT_TYPES)} + 1]",
        "priority": "(chance % 4 + 1)::VARCHAR",
        "alarm_level": "chance % 3",
        "address": f"(chance % 99 + 1) || '00 Block of ' || {list(made_up.STREETS)}[chance % 5 + 1]",
        "city": "'Exampleton'",
        "lat": "39.5 + (chance % 300_000) / 1e6",
        "lng": "-105 + (chance // 7 % 300_000) / 1e6",
        "units": "[format('E{:03}', chance % 60), format('M{:03}', chance // 3 % 40)]",
        "call_received_at": "created_at",
        "dispatched_at": "dispatched_at",
        "closed_at": "closed_at",
        "created_at": "created_at",
        "updated_at": "closed_at",
        "version_hash": "md5(id || '|0')",  # as wide as a real one; only equality counts
        "received_at": "closed_at",
        "source": "'rest'",
        "raw_id": "uuid()::VARCHAR",
    }
    columns = ", ".join(
        f'{known.get(column.name, "NULL")}::{column.type} AS "{column.name}"'
        for column in record_columns(CAD_INCIDENTS)
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE made AS SELECT {columns} FROM (
            SELECT *, dispatched_at + to_seconds(300 + chance % 3600) AS closed_at FROM (
                SELECT *, created_at + to_seconds(20 + chance % 600) AS dispatched_at FROM (
                    SELECT n, $starts_at + to_seconds(n * {_SPACING_S}) AS created_at,
                        md5($center || '|' || n)::UUID::VARCHAR AS id,
                        ('0x' || left(md5($center || '|' || n), 8))::BIGINT AS chance
                    FROM range($first, $end) AS numbers(n))))""",
        {"center": center_id, "starts_at": made_up.STARTS_AT, "first": first, "end": end},
    )
    for table in (CAD_INCIDENTS.versions, CAD_INCIDENTS.current):
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM made ORDER BY created_at")
    connection.execute(
        """INSERT INTO caller_locations BY NAME
        SELECT center_id, incident_id || '-' || fix AS location_id, incident_id,
            lat + 0.001 * (2 - fix) AS lat, lng, ['WPH1', 'WPH2'][fix] AS class_of_service,
            'ali' AS location_source, created_at + to_seconds(10 * fix) AS created_at,
            md5(incident_id || fix) AS version_hash, received_at, 'webhook' AS source, raw_id
        FROM made, unnest([1, 2]) AS fixes(fix)
        WHERE incident_id IS NOT NULL AND alarm_level = 0 AND right(incident_id, 1) IN ('0', '1')
        ORDER BY created_at"""
    )


def _mark_as_read(connection: duckdb.DuckDBPyConnection, center_id: str, count: int) -> None:
    """Write watermark and coverage as if an hour after the last record all had been read."""
    read_at = made_up.STARTS_AT + timedelta(seconds=count * _SPACING_S + 3600)
    cell = bookkeeping.Cell(center_id, RESOURCES["cad_incidents"], Window(None, read_at))
    landed = bookkeeping.Landed(cell, "bench", count, read_at, took=timedelta(0))
    bookkeeping.cover(connection, [landed])
    watermarks.advance(connection, [landed])
