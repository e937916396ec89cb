"""The writer's side of the lake: opened once, loads cells, one committed transaction each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import duckdb
from filelock import FileLock, Timeout

from dispatchlake.errors import CatalogBusy, ConfigError, LakeError
from dispatchlake.lake import bookkeeping, commit, migrations, scratch
from dispatchlake.lake.archive import archive_pages, iter_batches
from dispatchlake.lake.bookkeeping import Cell, LoadSummary
from dispatchlake.lake.connection import begin_anew, catalog_path, connect_writer
from dispatchlake.lake.replay import ReplaySummary, Resources, Selection, replay, selected_centers
from dispatchlake.lake.schemas import record_type_of
from dispatchlake.lake.staging import Staging
from dispatchlake.model import Page
from dispatchlake.pauses import Failing
from dispatchlake.settings import Settings

T = TypeVar("T")

_POLL_S = 0.005
"""A small commit takes some hundredths of a second: to look seldom whether it is done would cost more."""


class Lake:
    """A lake open for writing. One thread at a time; any number of processes, one commit at a time."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lock: FileLock, leave: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._leave = leave

    @classmethod
    def open(cls, lake_dir: Path, *, memory_limit_mb: int = 192, lock_wait_s: float = 120.0) -> Lake:
        """Open the lake, creating it or bringing it to this version's layout if need be.

        Raises:
            ConfigError: The folder cannot be written.
            LakeTooNew: Made by a newer version; untouched.
            CatalogBusy: Another writer held the lock for longer than `lock_wait_s`.
        """
        make_folder(lake_dir)
        lock = writers_lock(lake_dir, lock_wait_s)
        leave = scratch.enter(lake_dir)
        try:
            connection = _open_or_make(lake_dir, lock, memory_limit_mb=memory_limit_mb)
        except BaseException:
            leave()
            raise
        lake = cls(connection, lock, leave)
        try:
            with _duckdb_errors():
                lake._migrate()
        except BaseException:
            begin_anew(lake_dir)
            lake.close()
            raise
        return lake

    def _migrate(self) -> None:
        done = migrations.applied(self._connection)
        migrations.refuse_newer(done)
        if done != set(migrations.MIGRATIONS):
            with held(self._lock):
                migrations.migrate(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lake; twice is as good as once."""
        self._connection.close()
        self._leave()

    def watermark(self, center_id: str, resource: str) -> datetime | None:
        """Return the newest `updated_at` fully committed, or None before the first load."""
        with _duckdb_errors():
            return bookkeeping.read_watermark(self._connection, center_id, resource)

    def failing(self) -> list[Failing]:
        """Return every cell whose last live readings failed, and how often in a row."""
        with _duckdb_errors():
            return bookkeeping.read_failing(self._connection)

    def load(self, pages: Iterable[Page], *, cell: Cell, run_id: str) -> LoadSummary:
        """Land the pages of one cell: archive each batch, then commit everything at once.

        Until that commit readers see nothing of the load but archived pages; a failure on the way leaves
        it at that, and the same load run again gives the same lake.

        Args:
            pages: Read lazily; at most one batch is held.
            cell: What the pages are; its window is covered by the commit.
            run_id: Kept with all that is written.
        """
        with _duckdb_errors():
            return self._load(pages, cell, run_id)

    def _load(self, pages: Iterable[Page], cell: Cell, run_id: str) -> LoadSummary:
        started_at, started_s = datetime.now(UTC), time.monotonic()
        staging = Staging(self._connection, record_type_of(cell.resource))
        try:
            for batch in iter_batches(pages):
                self._transact(partial(archive_pages, self._connection, batch, run_id=run_id))
                staging.add(batch)
            reading = timedelta(seconds=time.monotonic() - started_s)
            return self._transact(
                partial(self._commit, cell, staging, run_id=run_id, started_at=started_at, reading=reading)
            )
        finally:
            staging.close()

    def _commit(
        self, cell: Cell, staging: Staging, *, run_id: str, started_at: datetime, reading: timedelta
    ) -> LoadSummary:
        """Write what one load changes: tables, quarantine, coverage, watermark, run."""
        connection, center_id, resource = self._connection, cell.center_id, cell.resource.name
        span = commit.staged_span(connection)
        merged = commit.merge(connection, record_type_of(cell.resource), center_id, span)
        if staging.quarantined:
            commit.quarantine(connection, center_id=center_id, resource=resource)
        cell = bookkeeping.cover(connection, cell, records=staging.records, run_id=run_id)
        watermark = bookkeeping.advance_watermark(
            connection, cell, span.newest_updated_at, reading=reading, run_id=run_id
        )
        summary = LoadSummary(
            center_id=center_id,
            resource=resource,
            pages=staging.pages,
            records=staging.records,
            new=merged.new,
            changed=merged.changed,
            unchanged=staging.records - staging.quarantined - merged.new - merged.changed,
            quarantined=staging.quarantined,
            body_bytes=staging.body_bytes,
            seconds=(datetime.now(UTC) - started_at).total_seconds(),
            watermark=watermark,
            oldest_created_at=span.oldest_created_at,
            newest_updated_at=span.newest_updated_at,
        )
        bookkeeping.record_run(connection, summary, run_id=run_id, started_at=started_at)
        return summary

    def record_failure(self, cell: Cell, *, run_id: str, started_at: datetime, error: str) -> None:
        """Record that a cell failed and why; `error` must be fit to show."""

        def write() -> None:
            bookkeeping.cover_failure(self._connection, cell, error=error, run_id=run_id)
            bookkeeping.record_failed_run(
                self._connection, cell, run_id=run_id, started_at=started_at, error=error
            )

        self._transact(write)

    def replay(
        self, selection: Selection | None = None, resources: Resources | None = None
    ) -> list[ReplaySummary]:
        """Read archived pages again with today's parser, a batch a transaction; all of them by default.

        Args:
            selection: Which pages.
            resources: Listings that a center has configured; any other is as declared.

        Raises:
            ConfigError: A center is named that has no archived page.
        """
        with _duckdb_errors():
            return replay(self._connection, self._transact, selection or Selection(), resources or {})

    def selected_centers(self, selection: Selection) -> list[str]:
        """Return the centers a replay of the selection would read pages of.

        Raises:
            ConfigError: A center is named that has no archived page.
        """
        with _duckdb_errors():
            return selected_centers(self._connection, selection)

    @contextlib.contextmanager
    def held(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Hold the writers' lock and yield the connection, for statements that are each their own commit."""
        with held(self._lock), _duckdb_errors():
            yield self._connection

    def _transact(self, write: Callable[[], T]) -> T:
        """Run `write` in one transaction, under the lock that orders the writers of a SQLite catalog."""
        with held(self._lock), _duckdb_errors():
            self._connection.execute("BEGIN")
            try:
                result = write()
                self._commit_it()
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a failed COMMIT has already rolled back
                    self._connection.execute("ROLLBACK")
                raise
            return result

    def _commit_it(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except duckdb.Error:
            begin_anew(Path(self._lock.lock_file).parent)
            raise


def open_lake(settings: Settings) -> Lake:
    """Open the lake these settings name, for writing; raises what `Lake.open` does."""
    return Lake.open(
        settings.lake_dir, memory_limit_mb=settings.memory_limit_mb, lock_wait_s=settings.lock_wait_s
    )


def _open_or_make(lake_dir: Path, lock: FileLock, *, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    if catalog_path(lake_dir).exists():
        with contextlib.suppress(LakeError):  # another writer may be making it at this moment: wait for that
            return connect_writer(lake_dir, memory_limit_mb=memory_limit_mb, create=False)
    with held(lock):
        _refuse_orphans(lake_dir)
        return connect_writer(lake_dir, memory_limit_mb=memory_limit_mb, create=True)


def _refuse_orphans(lake_dir: Path) -> None:
    """Raise LakeError where data lies without a catalog: a new lake beside it would begin from nothing."""
    if not catalog_path(lake_dir).exists() and next((lake_dir / "data").rglob("*.parquet"), None):
        raise LakeError(
            f"There are Parquet files in {lake_dir / 'data'}, and the catalog that knows them is gone: "
            f"{catalog_path(lake_dir)}. Restore it from a backup, or move the files away to begin anew."
        )


@contextlib.contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Hold the writers' lock.

    Raises:
        CatalogBusy: Another writer held it for too long.
        ConfigError: It cannot be taken.
    """
    try:
        lock.acquire()
    except Timeout:
        raise CatalogBusy(
            f"Another writer has held the lake for more than {lock.timeout:.0f} s ({lock.lock_file}). "
            "It may be a long load; try again later."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The lake's lock cannot be taken: {lock.lock_file} ({error.strerror}). Mend the permissions of "
            "the lake's folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _duckdb_errors() -> Iterator[None]:
    """Turn the engine's errors into ours; its texts may quote a value, so only their kind is passed on."""
    try:
        yield
    except duckdb.Error as error:
        if "database is locked" in str(error):
            raise CatalogBusy("The lake's catalog is locked by another program. Try again later.") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise LakeError(
                "The load needs more memory than DISPATCHLAKE_MEMORY_LIMIT_MB allows; the lake is as it was "
                "before. Raise the limit, or ask for smaller pages (paging.page_size)."
            ) from error
        raise LakeError(
            f"The lake could not be read or written ({type(error).__name__}); it is as it was before. "
            "Check the disk's free space and the catalog."
        ) from error


def writers_lock(lake_dir: Path, wait_s: float) -> FileLock:
    """Return the lock that orders the writers of a lake, in all processes."""
    return FileLock(lake_dir / "commit.lock", timeout=wait_s, mode=0o600, poll_interval=_POLL_S)


def make_folder(lake_dir: Path) -> None:
    """Make the lake's folders, its owner's alone, or raise ConfigError if they cannot be written."""
    try:
        for folder in (lake_dir, lake_dir / "data", lake_dir / "tmp"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = lake_dir / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The lake's folder cannot be written: {lake_dir} ({error.strerror}). Give a folder of yours in "
            "DISPATCHLAKE_DATA_DIR, or mend its permissions."
        ) from None
