"""The only place where files of the lake are removed: each if the catalog, asked just then, needs it not.

Two kinds: files that DuckLake has listed because no kept snapshot needs them any more, and orphans that no
catalog knows of, left by writers that were killed. Both wait for an age, for a reader may still be at work
with what it found in the catalog a while ago.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from dispatchlake.lake import catalog_file, inventory
from dispatchlake.lake.inventory import CATALOG

BATCH = 500
"""Files removed in one holding of the commit lock."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed, and how many files were listed for removal although a snapshot needs them."""

    files: int = 0
    bytes: int = 0
    spared: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.files + other.files, self.bytes + other.bytes, self.spared + other.spared)


def remove_listed(
    connection: duckdb.DuckDBPyConnection, lake_dir: Path, *, age: timedelta
) -> tuple[Removed, bool]:
    """Remove files that DuckLake listed at least `age` ago; returns what went, and whether more are left.

    The caller holds the commit lock. Files go before their entries: stopped in between, the entries are left,
    and the next time finds nothing more to remove of them.
    """
    named = inventory.named_files(connection, lake_dir)
    rows = connection.execute(
        f"""SELECT path, path_is_relative FROM {CATALOG}.ducklake_files_scheduled_for_deletion
        WHERE schedule_start::TIMESTAMPTZ <= $until ORDER BY ALL""",
        {"until": datetime.now(UTC) - age},
    ).fetchall()
    root = inventory.data_dir(lake_dir)
    due = {path: inventory.place(root, path, is_relative=is_relative) for path, is_relative in rows}
    batch = [(entry, path) for entry, path in due.items() if path not in named]
    spared = len(due) - len(batch)
    removed = _unlink(path for _, path in batch[:BATCH])
    if batch:
        connection.execute(
            f"""DELETE FROM {CATALOG}.ducklake_files_scheduled_for_deletion
            WHERE path IN (SELECT unnest($entries))""",
            {"entries": [entry for entry, _ in batch[:BATCH]]},
        )
    return Removed(removed.files, removed.bytes, spared), len(batch) > BATCH


def find_old(lake_dir: Path, *, age: timedelta) -> list[Path]:
    """Return the files on the disk that are old enough to be orphans; needs no lock.

    None is, until the last restore is as long ago: should it have been the wrong one, the way back is open.
    """
    until_s = time.time() - age.total_seconds()
    if catalog_file.last_replaced_s(lake_dir) > until_s:
        return []
    return [path for path, status in inventory.iter_disk(lake_dir) if status.st_mtime <= until_s]


def remove_orphans(
    connection: duckdb.DuckDBPyConnection, lake_dir: Path, candidates: Iterable[Path]
) -> Removed:
    """Remove those of the files that no catalog knows of; the caller holds the commit lock: nobody writes."""
    known = inventory.named_files(connection, lake_dir) | inventory.listed_files(connection, lake_dir)
    return _unlink(itertools.filterfalse(known.__contains__, candidates))


def _unlink(paths: Iterable[Path]) -> Removed:
    removed = Removed()
    for path in paths:
        try:
            size = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:  # gone with an earlier maintenance that was stopped
            continue
        removed += Removed(1, size)
    return removed
