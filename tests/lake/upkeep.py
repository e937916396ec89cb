"""A lake that needs maintenance, and what is in it: for the tests of maintenance, backup and restore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.lake import Lake
from dispatchlake.lake.maintenance import MaintenanceReport, maintain
from dispatchlake.lake.reading import connect
from dispatchlake.lake.schemas import TABLES
from dispatchlake.settings import Settings
from tests.lake.pages import cell, incident, incidents, instant, page

DAY_S = 86_400.0

State = dict[int, list[tuple[Any, ...]]]
"""By snapshot: the name, number of rows and a hash of all values of each table."""


def settings_of(lake_dir: Path) -> Settings:
    """Return settings whose lake is in that folder, which must be called `lake`."""
    return Settings(data_dir=lake_dir.parent, lock_wait_s=60)


def grow(lake: Lake, *, loads: int, first: int = 0) -> None:
    """Load in files and in the catalog, over months and two centers, each superseding rows of the last."""
    for number in range(first, first + loads):
        size = 4 if number % 2 else 120
        old = [incident("always", updated=number), incident(f"{number - 1}-1", created=3600, updated=10**6)]
        new = incidents(size, f"{number}-", note="x" * 40)
        far = [incident(f"{number}-far", created=40 * DAY_S, updated=40 * DAY_S)]
        center = f"center-{'ab'[number // 2 % 2]}"
        lake.load(
            [page(*old, *new, *far, f"no object {number}", center_id=center)],
            cell=cell(center, end=instant(10**7 + number)),
            run_id=f"run-{number}",
        )


def grown_lake(home: Path, empty_lake: Path, *, loads: int) -> Path:
    """Return a lake in the folder `home` that has grown by so many loads, and that nobody has open."""
    lake_dir = Path(shutil.copytree(empty_lake, home / "lake"))
    with Lake.open(lake_dir) as lake:
        grow(lake, loads=loads)
    return lake_dir


def state(lake_dir: Path, *, every: int = 6) -> State:
    """Return what the lake holds in one of so many of its snapshots, and in the newest."""
    with connect(lake_dir) as reader:
        reader.execute("SET threads = 1")
        known = versions(reader)
        return {v: at(reader, v) for v in known if v % every == 0 or v == known[-1]}


def versions(reader: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the snapshots there are, without the first, which has no tables."""
    rows = reader.execute("SELECT snapshot_id FROM lake.snapshots() WHERE schema_version > 0").fetchall()
    return sorted(int(row[0]) for row in rows)


def at(reader: duckdb.DuckDBPyConnection, version: int | None = None) -> list[tuple[Any, ...]]:
    """Return what the tables held in a snapshot, or hold now."""
    when = "" if version is None else f" AT (VERSION => {version})"
    queries = [
        f"SELECT '{table.name}', count(*), sum(hash(t::VARCHAR)::HUGEINT) FROM (FROM {table.name}{when}) AS t"
        for table in TABLES
    ]
    return reader.execute(" UNION ALL ".join(queries)).fetchall()


def keep_house(lake_dir: Path, **keep: float) -> MaintenanceReport:
    """Maintain the lake and expect that every step succeeds."""
    report = maintain(settings_of(lake_dir), **keep)
    assert not report.failed, report.failed
    return report


def files(lake_dir: Path) -> set[Path]:
    """Return the data files on the disk."""
    return set((lake_dir / "data").rglob("*.parquet"))


def make_old(*paths: Path) -> None:
    """Let files be as if nobody had touched them for ten days."""
    for path in paths:
        then = path.stat().st_mtime - 10 * DAY_S
        os.utime(path, (then, then))
