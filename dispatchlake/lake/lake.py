"""The writer's side of the lake: opened once, loads cells, each in one committed transaction."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import duckdb
from filelock import FileLock

from dispatchlake.clock import monotonic_s
from dispatchlake.errors import CatalogBusy, DispatchLakeError, LakeError
from dispatchlake.lake import (
    backfilled,
    bookkeeping,
    centers,
    holds,
    ledger,
    media_files,
)
from dispatchlake.lake.archive import ArchivedPage, archive_pages, iter_batches
from dispatchlake.lake.bookkeeping import Cell, Failure, LoadSummary
from dispatchlake.lake.centers import CenterFacts
from dispatchlake.lake.connection import another_session, catalog_path, lake_transaction
from dispatchlake.lake.forgetting import delivery_without_forgotten, without_forgotten
from dispatchlake.lake.group_commit import group_commit
from dispatchlake.lake.landing import land, type_or_set_aside
from dispatchlake.lake.ledger import Forgotten, Hold, Ledger
from dispatchlake.lake.loads import Load, land_loads
from dispatchlake.lake.media_files import ExpiredMedia, MediaAnswer, MediaLink, MediaOutcome
from dispatchlake.lake.opened import Opened, begin_anew, enter
from dispatchlake.lake.quality import CheckFigures, read_checks
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.reading_ahead import reading_ahead
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.lake.replay import ReplaySummary, Resources, replay
from dispatchlake.lake.retention_rules import known_calls
from dispatchlake.lake.selected_pages import Selection, selected_centers
from dispatchlake.lake.sql import memory_shortage_told, named_data_file, transaction
from dispatchlake.lake.staging import Staging
from dispatchlake.lake.standing import Figures, ask_figures
from dispatchlake.lake.told import Told, read_told, write_told
from dispatchlake.lake.typed_pages import TypedDeliveries, type_deliveries, type_pages
from dispatchlake.lake.writers_lock import held, writers_lock
from dispatchlake.landed import LandedDeliveries
from dispatchlake.model import Page
from dispatchlake.pauses import Failing
from dispatchlake.payload import expect_many_objects
from dispatchlake.settings import Settings, Zone
from dispatchlake.windows import Covered

T = TypeVar("T")


class Outdated(CatalogBusy):
    """Something was erased, or held, since that was read which was to be written."""


class Lake:
    """A lake open for writing. One thread at a time; any number of processes, one commit at a time."""

    def __init__(self, opened: Opened, lock: FileLock, leave: Callable[[], None]) -> None:
        self._begun: duckdb.DuckDBPyConnection | None = None
        self._opened = opened
        self._lock = lock
        self._leave = leave

    @classmethod
    def open(
        cls,
        lake_dir: Path,
        *,
        memory_limit_mb: int = 112,
        lock_wait_s: float = 120.0,
        encrypt: bool = False,
    ) -> Lake:
        """Open the lake, creating it, encrypted or not, or bringing it to this version's layout if need be.

        Args:
            lake_dir: Home of the lake.
            memory_limit_mb: DuckDB's memory budget in this process.
            lock_wait_s: How long a commit waits for another writer, in seconds.
            encrypt: Whether its files are encrypted, should it be made now.

        Raises:
            ConfigError: The folder cannot be written.
            LakeTooNew: Made by a newer version; untouched.
            CatalogBusy: Another writer held the lock for longer than `lock_wait_s`.
        """
        lock = writers_lock(lake_dir, lock_wait_s)
        opened, leave = enter(lake_dir, memory_limit_mb)
        try:
            with _duckdb_errors():
                opened.open(lock, encrypt=encrypt)
            return cls(opened, lock, leave)
        except BaseException:
            leave()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lake; twice is as good as once."""
        if self._begun is not None:
            self._begun.close()
        self._leave()

    def _session(self) -> duckdb.DuckDBPyConnection:
        """Return this lake's session, begun when first needed: most quiet cells are landed on another's."""
        if self._begun is None:
            with _duckdb_errors():
                self._begun = self._opened.session()
        return self._begun

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return self._session()

    def watermark(self, center_id: str, resource: str) -> datetime | None:
        """Return the newest `updated_at` fully committed, or None before the first load.

        Of what other processes have committed since this one opened the lake, some may be missing.
        """
        with _duckdb_errors():
            return self._opened.watermarks.find(self._session, center_id, resource)

    def coverage(self, center_ids: Collection[str]) -> dict[tuple[str, str], list[Covered]]:
        """Return what was read of some centers, or failed to be, by center id and resource."""
        with _duckdb_errors():
            return backfilled.read_coverage(self._connection, center_ids)

    def failing(self) -> list[Failing]:
        """Return every cell whose last live readings failed, and how often in a row."""
        with _duckdb_errors():
            return bookkeeping.read_failing(self._connection)

    def load(
        self, pages: Iterable[Page], *, cell: Cell, run_id: str, logins: Callable[[], int] = int
    ) -> LoadSummary:
        """Land the pages of one cell: archive each batch, then commit everything at once.

        Until that commit, which the last batch is archived with, readers see nothing of the load but archived
        pages; a failure on the way leaves it at that, and the same load run again gives the same lake. Loads
        of other threads that are ready by then may share the commit.

        Args:
            pages: Read in a thread of its own, a batch ahead.
            cell: What the pages are; its window is covered by the commit.
            run_id: Kept with all that is written.
            logins: Asked, once all pages are read, how many logins that took.
        """
        with _duckdb_errors():
            return self._load(pages, cell, run_id, logins)

    def _load(self, pages: Iterable[Page], cell: Cell, run_id: str, logins: Callable[[], int]) -> LoadSummary:
        started_at, started_s = datetime.now(UTC), monotonic_s()
        expect_many_objects()
        staging = Staging(self._session, record_type_of(cell.resource))
        last: list[ArchivedPage] = []
        source_now: datetime | None = None
        erased = ledger.read(self.lake_dir)
        if forgotten := erased.forgotten(cell.center_id):
            pages = (without_forgotten(page, cell.resource, forgotten) for page in pages)
        try:
            with reading_ahead(iter_batches(pages)) as batches:
                for batch in batches:
                    source_now = source_now or batch.pages[0].page.answered_at
                    # Nearly every load has one batch, and a commit costs as much as the rest of it: so the
                    # last one is archived with what is made of all.
                    last = batch.without_records().pages if batch.is_last else []
                    if not batch.is_last:
                        archive = partial(archive_pages, self._connection, batch.pages, run_id=run_id)
                        self._transact(archive, erased=erased.mark)
                    staging.add(type_pages(batch.pages, staging.record_type))
            took = timedelta(seconds=monotonic_s() - started_s)
            load = Load(cell, run_id, staging, last, erased.mark, started_at, took, source_now, logins())
            return group_commit(self.lake_dir).land(load, self._land)
        except (DispatchLakeError, duckdb.Error):  # the lake takes nothing
            raise
        except Exception:  # a fault of ours: the pages are kept all the same, to be replayed
            self._transact(partial(archive_pages, self._connection, last, run_id=run_id), erased=erased.mark)
            raise
        finally:
            staging.close()

    def _land(self, loads: Sequence[Load]) -> list[LoadSummary]:
        landed = self._transact(partial(land_loads, self._connection, loads), erased=loads[0].erased)
        self._opened.watermarks.note(landed)
        return landed

    def land(self, deliveries: Sequence[ArchivedPage], *, run_id: str) -> LandedDeliveries:
        """Land webhook deliveries of any centers in one transaction; those in the lake already, not again.

        Args:
            deliveries: Each center's in the order received, each with the id that it has had since then.
            run_id: Kept with each in the archive; landings of one id are one row of `runs` for each listing.

        Raises:
            MemoryShort: They are too much together; what one alone is too much for, `set_aside` takes.
        """
        return self._land_typed(deliveries, type_or_set_aside, run_id)

    def set_aside(self, delivery: ArchivedPage, reason: str, *, run_id: str) -> LandedDeliveries:
        """Land a webhook delivery as `land` does, but unread: what it brings is a row of quarantine."""
        return self._land_typed(
            [delivery], partial(type_deliveries, faults={delivery.raw_id: reason}), run_id
        )

    def _land_typed(
        self,
        deliveries: Sequence[ArchivedPage],
        type_them: Callable[[Sequence[ArchivedPage]], TypedDeliveries],
        run_id: str,
    ) -> LandedDeliveries:
        started_at = datetime.now(UTC)

        def prepare(kept: list[ArchivedPage]) -> Callable[[], LandedDeliveries]:
            typed = type_them([one for one in kept if one.page.received is None])
            return partial(land, self._connection, kept, typed, run_id=run_id, started_at=started_at)

        return self._transact_kept(deliveries, prepare)

    def record_failure(self, cell: Cell, failure: Failure, *, run_id: str, started_at: datetime) -> None:
        """Record that a cell failed, with each of its windows, and why."""

        def write() -> None:
            if cell.windows:
                backfilled.cover_windows_failed(self._connection, cell, error=failure.error, run_id=run_id)
            else:
                bookkeeping.cover_failure(self._connection, cell, error=failure.error, run_id=run_id)
            bookkeeping.record_failed_run(
                self._connection, cell, failure, run_id=run_id, started_at=started_at
            )

        self._transact(write)

    def figures(self) -> Figures:
        """Return how each listing stands that was ever tried, and each webhook that was ever delivered."""
        with _duckdb_errors():
            return ask_figures(self._connection)

    def remember_centers(self, facts: Iterable[CenterFacts]) -> None:
        """Note names and time zones of centers; without a commit where the lake has them so already."""
        with _duckdb_errors():
            centers.remember(self._session, self._transact, facts, self._opened.centers)

    def checks(self, newest: Mapping[str, datetime]) -> list[CheckFigures]:
        """Return how many records of the last days fail each check, of centers by their newest change."""
        with _duckdb_errors():
            return read_checks(self._connection, newest)

    def told(self) -> list[Told]:
        """Return the conditions that hold and were told."""
        with _duckdb_errors():
            return read_told(self._connection)

    def remember_told(self, before: list[Told], now: list[Told]) -> None:
        """Keep what has been told now, where `before` was what `told` answered."""
        if set(before) != set(now):
            self._transact(partial(write_told, self._connection, before, now))

    def holds(self) -> list[Hold]:
        """Return the incidents that may not be removed."""
        with _duckdb_errors():
            return holds.read_holds(self._connection)

    def hold(self, hold: Hold) -> bool:
        """Keep an incident from being removed; return False if it is kept already."""
        return self._transact(partial(holds.add_hold, self._connection, self.lake_dir, hold))

    def release(self, center_id: str, incident_id: str) -> None:
        """Let an incident be removed again.

        Raises:
            ConfigError: It is not held.
        """
        remove = partial(holds.remove_hold, self._connection, self.lake_dir, center_id, incident_id)
        self._transact(remove)

    def media_due(self, *, limit: int) -> list[MediaLink]:
        """Return media that are to be fetched now, the newest first."""
        with _duckdb_errors():
            return media_files.read_due(self._connection, datetime.now(UTC), limit=limit)

    def media_renewed(self, *, limit: int) -> list[MediaLink]:
        """Return media whose link had expired, with the fresh one of a later delivery."""
        with _duckdb_errors():
            return media_files.read_renewed(self._connection, datetime.now(UTC), limit=limit)

    def media_expired(self) -> list[ExpiredMedia]:
        """Return the media of one incident for whose links the API is to be asked now."""
        with _duckdb_errors():
            return media_files.read_expired(self._connection, datetime.now(UTC))

    def record_answer(
        self, expired: Sequence[ExpiredMedia], *, asked_at: datetime, answer: MediaAnswer, error: str
    ) -> None:
        """Note that the API was asked for links and gave none, and why."""
        record = media_files.record_answer
        self._transact(
            partial(record, self._connection, expired, asked_at=asked_at, answer=answer, error=error)
        )

    def archive(self, page: Page, *, run_id: str) -> None:
        """Archive a page of one record, that nothing is loaded from; without its body if that is erased."""
        self._transact_kept(
            [ArchivedPage(str(uuid.uuid4()), page)],
            lambda kept: partial(archive_pages, self._connection, kept, run_id=run_id),
        )

    def record_media(self, outcomes: Sequence[MediaOutcome]) -> list[MediaOutcome]:
        """Note what became of media files; return those that were erased meanwhile, whose file is to go."""
        return self._transact(partial(media_files.record, self._connection, outcomes))

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
        erased = ledger.mark_of(self.lake_dir)
        transact = partial(self._transact, erased=erased)
        with _duckdb_errors():
            return replay(self._connection, transact, selection or Selection(), resources or {})

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

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a session of its own, in one transaction: whatever it reads is of one moment."""
        with _duckdb_errors(), another_session(self._connection) as session, transaction(session):
            yield session

    @contextlib.contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield the connection, to read by and for `transact`."""
        with _duckdb_errors():
            yield self._connection

    def transact(self, write: Callable[[], T], *, erased: ledger.Mark | None = None) -> T:
        """Run `write`, which uses the connection of `session`, in one transaction under the writers' lock.

        Raises:
            Outdated: Something was erased or held since the ledger was `erased`, if that is given.
        """
        return self._transact(write, erased=erased)

    def refuse_outdated(self, erased: ledger.Mark) -> None:
        """Raise Outdated if something was erased or held since the ledger was `erased`."""
        if ledger.mark_of(self.lake_dir) != erased:
            raise Outdated(
                "Calls were erased while this was read: nothing of it was written. The next run reads again."
            )

    @property
    def lake_dir(self) -> Path:
        """Return the home of the lake."""
        return Path(self._lock.lock_file).parent

    def _transact_kept(
        self, pages: Sequence[ArchivedPage], prepare: Callable[[list[ArchivedPage]], Callable[[], T]]
    ) -> T:
        """Run what `prepare` makes of pages, without the bodies of those erased, as `_transact` does."""
        while True:
            erased = ledger.read(self.lake_dir)
            write = prepare(self._without_forgotten(pages, erased))
            with contextlib.suppress(Outdated):  # the pages are at hand: look again
                return self._transact(write, erased=erased.mark)

    def _without_forgotten(self, deliveries: Sequence[ArchivedPage], erased: Ledger) -> list[ArchivedPage]:
        """Return deliveries, with an empty body where they tell of what is not taken."""
        centers: dict[str, Forgotten | None] = {}
        for center_id in {one.page.center_id for one in deliveries}:
            forgotten = erased.forgotten(center_id)
            if forgotten is not None and forgotten.cutoff is not None:
                is_young = known_calls(self._session, center_id, since=forgotten.cutoff)
                forgotten = replace(forgotten, is_young=is_young)
            centers[center_id] = forgotten
        with _duckdb_errors():
            return [
                one
                if (forgotten := centers[one.page.center_id]) is None
                else delivery_without_forgotten(one, forgotten)
                for one in deliveries
            ]

    def _transact(
        self,
        write: Callable[[], T],
        connection: duckdb.DuckDBPyConnection | None = None,
        *,
        erased: ledger.Mark | None = None,
    ) -> T:
        """Run `write` in one transaction, under the lock that orders the writers of a SQLite catalog.

        Args:
            write: What to do.
            connection: The lake's own if not given.
            erased: What was known to be erased when that which is written was read: nothing may have been
                added, or it would come back.
        """
        connection = connection or self._connection
        with held(self._lock), _duckdb_errors():
            if erased is not None:
                self.refuse_outdated(erased)
            try:
                with lake_transaction(connection):
                    return write()
            except duckdb.Error:  # perhaps a refused COMMIT
                begin_anew(self.lake_dir)
                raise


def existing_zones(settings: Settings) -> tuple[Zone, ...]:
    """Return the zones that are there: always the restricted one, whose lack is told."""
    return ("restricted", "open") if catalog_path(settings.open_dir).exists() else ("restricted",)


def open_lake(settings: Settings, zone: Zone = "restricted") -> Lake:
    """Open the lake these settings name, for writing; raises what `Lake.open` does."""
    return Lake.open(
        settings.zone_dir(zone),
        memory_limit_mb=settings.memory_limit_mb,
        lock_wait_s=settings.lock_wait_s,
        encrypt=settings.encrypt_lake and zone == "restricted",
    )


def open_existing_lake(settings: Settings) -> Lake:
    """Open the lake these settings name, for writing, where there is one.

    Raises:
        ConfigError: There is none yet; nothing is made.
    """
    if not catalog_path(settings.lake_dir).exists():
        raise no_lake(settings.lake_dir)
    return open_lake(settings)


@contextlib.contextmanager
def _duckdb_errors() -> Iterator[None]:
    """Turn the engine's errors into ours; its texts may quote a value, so only their kind is passed on."""
    try:
        with memory_shortage_told():
            yield
    except duckdb.Error as error:
        if "database is locked" in str(error):
            raise CatalogBusy("The lake's catalog is locked by another program. Try again later.") from error
        raise LakeError(
            f"The lake could not be read or written ({type(error).__name__}); it is as it was before. "
            f"{_advice(named_data_file(error))}"
        ) from error


def _advice(file: str) -> str:
    """Return what to do about an error of the engine that may be about a data file."""
    if not file:
        return "Check the disk's free space and the catalog."
    return (
        f"Check the disk's free space. It is about the file {file}: where that is missing or damaged, put it "
        "back from where the data files are backed up, or if it is the open zone's: dispatchlake publish "
        "--rebuild."
    )
