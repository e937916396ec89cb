"""Keeping the lake small: steps that may stop anywhere and run at any time, beside readers and writers.

No step changes what any kept snapshot says. Each holds the commit lock no longer than it needs and lets
waiting writers in between; one that fails is named in the report, and the others still run.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb

from dispatchlake.errors import DispatchLakeError, LakeError
from dispatchlake.lake import catalog_file, inventory, removal, scratch
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.inventory import CATALOG, LakeSize, TableSize
from dispatchlake.lake.lake import open_lake
from dispatchlake.lake.publication import find_published
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.removal import Removed
from dispatchlake.lake.sql import fetch_row
from dispatchlake.settings import Settings, Zone

logger = logging.getLogger(__name__)

TURN_S = 1.0
PAUSE_S = 0.05
"""After so long with the lock, a pause: writers look for it every 5 ms, and would never find it free."""

MERGED_AT_ONCE = 8
LARGE_BYTES = 32 * 2**20
"""Files made in one holding of the lock; a file of that size is left as it is."""

REWRITE_ALL_BYTES = 64 * 2**20
MANY_REMOVED = 0.1
"""While a table's files with removed rows are smaller together, all are rewritten; beyond, only those that
have lost this share of their rows. A file with removed rows is never merged: small ones would pile up."""

_LOOKED_UP_AT_ONCE = 10 * removal.BATCH
"""Old files that are compared with the catalog in one holding of the lock; few of them are orphans."""

EXPIRED_AT_ONCE = 5_000
"""Measured: 10,000 snapshots expire in one second."""


TOTALS = ["", "before", "after"]
TABLES = ["table", "files before", "after", "bytes before", "after", "inlined rows before", "after"]
STEPS = ["step", "state", "what it did", "seconds", "longest lock, s"]
"""Columns of what a report tells: `totals`, `tables`, `steps`."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step ended.

    Attributes:
        done: What it did, in a few words; "" if nothing was to be done.
        seconds: How long it took, waiting included.
        held_s: Longest that it kept writers waiting at a stretch.
        error: Why it failed, or why a part of it did; "" if it did not.
    """

    name: str
    done: str
    seconds: float
    held_s: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What one maintenance did, and how large the lake was and is: numbers and sentences only."""

    before: LakeSize
    after: LakeSize
    steps: tuple[StepResult, ...]

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """Return the steps that failed."""
        return tuple(step for step in self.steps if step.error)

    def totals(self) -> list[tuple[str, int, int]]:
        """Return a name and two numbers, before and after, of each thing that costs."""
        before, after = self.before, self.after
        return [
            ("data files", before.files, after.files),
            ("bytes of data", before.bytes, after.bytes),
            ("bytes of the catalog", before.catalog_bytes, after.catalog_bytes),
            ("bytes of its log", before.wal_bytes, after.wal_bytes),
            ("snapshots", before.snapshots, after.snapshots),
            ("inlined rows", before.inlined_rows, after.inlined_rows),
        ]

    def tables(self) -> list[tuple[str, int, int, int, int, int, int]]:
        """Return each table's name and its files, bytes and inlined rows, each before and after."""
        earlier = {table.name: table for table in self.before.tables}
        return [
            (t.name, b.files, t.files, b.bytes, t.bytes, b.inlined_rows, t.inlined_rows)
            for t in self.after.tables
            for b in [earlier.get(t.name, TableSize(t.name, 0, 0, 0, 0))]
        ]

    def headline(self) -> str:
        """Return the maintenance in one sentence."""
        before, after = self.before, self.after
        sentence = (
            f"{before.files:,} data files to {after.files:,}, {before.bytes:,} bytes to {after.bytes:,}, "
            f"{before.inlined_rows:,} inlined rows to {after.inlined_rows:,}, "
            f"{before.snapshots:,} snapshots to {after.snapshots:,}"
        )
        if not self.failed:
            return sentence
        names = ", ".join(step.name for step in self.failed)
        return f"{len(self.failed)} of {len(self.steps)} steps failed: {names}. {sentence}"


def maintain(
    settings: Settings,
    *,
    zone: Zone = "restricted",
    keep_snapshots_days: float | None = None,
    keep_files_days: float | None = None,
) -> MaintenanceReport:
    """Flush, rewrite, merge, expire, remove and compact; the lake holds the same as before.

    Args:
        settings: Where the lake is, and how long things are kept.
        zone: Which of its two lakes.
        keep_snapshots_days: Instead of the setting of that name.
        keep_files_days: Instead of the setting of that name.

    Raises:
        ConfigError: There is no lake yet.
        LakeError: The lake cannot be opened or measured; what fails later is in the report.
    """
    if not catalog_path(settings.zone_dir(zone)).exists():
        raise no_lake(settings.zone_dir(zone))
    snapshots_days = settings.keep_snapshots_days if keep_snapshots_days is None else keep_snapshots_days
    files_days = settings.keep_files_days if keep_files_days is None else keep_files_days
    return _Maintenance(settings, zone, timedelta(days=snapshots_days), timedelta(days=files_days)).run()


class _Maintenance:
    """One maintenance under way."""

    def __init__(
        self, settings: Settings, zone: Zone, keep_snapshots: timedelta, keep_files: timedelta
    ) -> None:
        self._settings = settings
        self._zone = zone
        self._lake_dir = settings.zone_dir(zone)
        self._keep_snapshots = keep_snapshots
        self._keep_files = keep_files
        self._lake = open_lake(settings, zone)
        self._errors: list[str] = []
        self._held_s = 0.0
        self._turn_s = 0.0

    def run(self) -> MaintenanceReport:
        try:
            before = self._measure()
            steps = tuple(self._run_step(name, step) for name, step in self._steps().items())
            return MaintenanceReport(before, self._measure(), steps)
        finally:
            self._lake.close()

    def _steps(self) -> dict[str, Callable[[], str]]:
        return {
            "flush inlined rows": self._flush,
            "rewrite files with removed rows": self._rewrite,
            "merge small files": self._merge,
            "expire snapshots": self._expire,
            "remove unneeded files": self._remove_listed,
            "remove orphans": self._remove_orphans,
            "remove leftovers": self._remove_leftovers,
            "compact the catalog": self._compact,
        }

    def _run_step(self, name: str, step: Callable[[], str]) -> StepResult:
        self._errors, self._held_s, started_s = [], 0.0, time.monotonic()
        done = ""
        with self._reporting():
            done = step()
        seconds = time.monotonic() - started_s
        logger.info("%s: %s (%.1f s)", name, done or "nothing to do", seconds)
        return StepResult(name, done, seconds, self._held_s, " ".join(self._errors))

    @contextlib.contextmanager
    def _reporting(self, place: str = "") -> Iterator[None]:
        """Note a failure instead of raising it, and go on with a lake opened anew."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DispatchLakeError):
                sentence = str(error)
                logger.error("%s%s", place, sentence)  # noqa: TRY400 - the sentence says it; the cause is in it
            else:
                sentence = f"Unexpected {type(error).__name__}; the log has more."
                logger.exception("%sA step of the maintenance failed", place)
            self._errors.append(f"{place}{sentence}")
            self._lake.close()  # after a fatal error DuckDB answers nothing more
            self._lake = open_lake(self._settings, self._zone)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Hold the commit lock for one stretch; now and then let waiting writers in before the next."""
        if self._turn_s > TURN_S:
            time.sleep(PAUSE_S)
            self._turn_s = 0.0
        with self._lake.held() as connection:
            started_s = time.monotonic()
            try:
                yield connection
            finally:
                held_s = time.monotonic() - started_s
                self._held_s = max(self._held_s, held_s)
                self._turn_s += held_s

    def _measure(self) -> LakeSize:
        with self._turn() as connection:
            return inventory.measure(connection, self._lake_dir)

    def _tables(self) -> list[tuple[int, str]]:
        with self._turn() as connection:
            return inventory.tables(connection)

    def _flush(self) -> str:
        rows = 0
        for _, table in self._tables():
            with self._reporting(f"{table}: "), self._turn() as connection:
                rows += flush_table(connection, table)
        return f"{rows:,} rows" if rows else ""

    def _expire(self) -> str:
        expired = 0
        now = datetime.now(UTC)
        all_since = now - timedelta(days=self._settings.keep_all_snapshots_days)
        shown = find_published(self._settings) if self._zone == "restricted" else None
        spared = shown.state.snapshot if shown else None
        while True:
            with self._turn() as connection:
                old, more = _old_snapshots(connection, now - self._keep_snapshots, all_since, spared)
                if old:
                    connection.execute(
                        f"CALL ducklake_expire_snapshots('lake', versions => {old})"
                    ).fetchall()
            expired += len(old)
            if not more:
                return f"{expired:,} snapshots" if expired else ""

    def _rewrite(self) -> str:
        files = 0
        for table_id, table in self._tables():
            with self._reporting(f"{table}: "), self._turn() as connection:
                files += _rewrite_table(connection, table_id, table)
        return f"{files:,} files" if files else ""

    def _merge(self) -> str:
        before = after = 0
        for _, table in self._tables():
            with self._reporting(f"{table}: "):
                while True:
                    with self._turn() as connection:
                        processed, created = _compact_call(
                            connection,
                            f"ducklake_merge_adjacent_files('lake', '{table}', "
                            f"max_compacted_files => {MERGED_AT_ONCE}, max_file_size => {LARGE_BYTES})",
                        )
                    before, after = before + processed, after + created
                    if processed <= created:
                        break
        return f"{before:,} files to {after:,}" if before else ""

    def _remove_listed(self) -> str:
        total, more = Removed(), True
        while more:
            with self._turn() as connection:
                removed, more = removal.remove_listed(connection, self._lake_dir, age=self._keep_files)
            total = replace(total + removed, spared=removed.spared)  # each time the same are
        if total.spared:
            raise LakeError(
                f"{total.spared:,} files are listed for removal although a snapshot needs them; they were "
                "left. That is a fault of DuckLake: report it."
            )
        return _removed(total)

    def _remove_orphans(self) -> str:
        total = Removed()
        candidates = removal.find_old(self._lake_dir, age=self._keep_files)
        for start in range(0, len(candidates), _LOOKED_UP_AT_ONCE):
            with self._turn() as connection:
                batch = candidates[start : start + _LOOKED_UP_AT_ONCE]
                total += removal.remove_orphans(connection, self._lake_dir, batch)
        return _removed(total)

    def _remove_leftovers(self) -> str:
        scratch.remove_dead_readers()
        freed = scratch.remove_dead(self._lake_dir, older_than_s=self._keep_files.total_seconds())
        return f"{freed:,} bytes of ended processes" if freed else ""

    def _compact(self) -> str:
        with self._turn():
            compacted = catalog_file.compact(catalog_path(self._lake_dir))
        parts = [f"{compacted.freed_bytes:,} bytes freed"] if compacted.freed_bytes else []
        parts += [] if compacted.log_is_empty else ["a reader keeps the write-ahead log from being emptied"]
        return ", ".join(parts)


def flush_table(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Write a table's inlined rows into files; return how many. The caller holds the commit lock."""
    # One table a call: over all of them at once it ends the process (docs/decisions/0005).
    rows = connection.execute(f"CALL ducklake_flush_inlined_data('lake', table_name => '{table}')").fetchall()
    return sum(int(row[2]) for row in rows)


def _rewrite_table(connection: duckdb.DuckDBPyConnection, table_id: int, table: str) -> int:
    """Write files anew without the rows that were removed from them.

    Flushes first, in the same holding of the lock: removals that are still inlined when their file is
    rewritten are flushed onto the old file later, and earlier snapshots show rows twice
    (duckdb/ducklake#1406).
    """
    flush_table(connection, table)
    files, size_bytes = fetch_row(
        connection,
        f"""SELECT count(*), coalesce(sum(f.file_size_bytes), 0) FROM {CATALOG}.ducklake_data_file AS f
        JOIN {CATALOG}.ducklake_delete_file AS d ON d.data_file_id = f.data_file_id
        WHERE f.table_id = {table_id} AND f.end_snapshot IS NULL AND d.end_snapshot IS NULL""",
    )
    if not files:
        return 0
    threshold = 0 if size_bytes <= REWRITE_ALL_BYTES else MANY_REMOVED
    call = f"ducklake_rewrite_data_files('lake', '{table}', delete_threshold => {threshold})"
    return _compact_call(connection, call)[0]


def _compact_call(connection: duckdb.DuckDBPyConnection, call: str) -> tuple[int, int]:
    """Return how many files a call took and how many it made of them."""
    rows = connection.execute(f"CALL {call}").fetchall()
    return sum(int(row[2]) for row in rows), sum(int(row[3]) for row in rows)


def _old_snapshots(
    connection: duckdb.DuckDBPyConnection, until: datetime, all_since: datetime, spared: int | None
) -> tuple[list[int], bool]:
    """Return the oldest snapshots that are not needed to look back to `until`, and whether there are more.

    Needed is the last one before it, which is what the lake held at that moment; of those since then the last
    of each hour; and all since `all_since`, the newest always. And `spared` if it is not before `until`: the
    open zone shows it, and goes on from there. DuckLake reads the list of snapshots as each
    transaction begins: a lake of fifty centers would have 200,000 in a week, and be slow to ask anything.
    """
    rows = connection.execute(
        f"""SELECT snapshot_id FROM (
            SELECT snapshot_id, snapshot_time::TIMESTAMPTZ AS taken_at,
                lead(taken_at) OVER (ORDER BY snapshot_id) AS next_at
            FROM {CATALOG}.ducklake_snapshot)
        WHERE next_at <= $until OR (
            taken_at > $until AND next_at <= $all_since
            AND time_bucket(INTERVAL 1 HOUR, taken_at) = time_bucket(INTERVAL 1 HOUR, next_at)
            AND snapshot_id IS DISTINCT FROM $spared)
        ORDER BY snapshot_id LIMIT {EXPIRED_AT_ONCE + 1}""",
        {"until": until, "all_since": all_since, "spared": spared},
    ).fetchall()
    old = [int(row[0]) for row in rows]
    return old[:EXPIRED_AT_ONCE], len(old) > EXPIRED_AT_ONCE


def _removed(removed: Removed) -> str:
    return f"{removed.files:,} files, {removed.bytes:,} bytes" if removed.files else ""
