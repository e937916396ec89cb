"""A lake that this process has open for writing: one DuckDB for all its writers, and what they know of it.

Opening a lake takes a tenth of a second and more; another session of one that is open, milliseconds.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from filelock import FileLock

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import holds, ledger, ledger_table, log_holder, migrations, scratch
from dispatchlake.lake.centers import CenterFacts
from dispatchlake.lake.connection import another_session, catalog_path, connect_writer, lake_transaction
from dispatchlake.lake.in_common import InCommon
from dispatchlake.lake.watermarks import KnownWatermarks
from dispatchlake.lake.writers_lock import held


@dataclass(frozen=True, slots=True)
class _Key:
    """What a DuckDB is of: of a lake it has one memory budget, however many cells it loads at once."""

    lake_dir: Path
    memory_limit_mb: int
    given_up: int


@dataclass(slots=True)
class Opened:
    """One DuckDB that has the lake open, and what is known of that while it has.

    Attributes:
        watermarks: Those read or landed.
        centers: What is known to be in the lake of centers, by their id.
    """

    _key: _Key
    _connection: duckdb.DuckDBPyConnection | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    watermarks: KnownWatermarks = field(default_factory=KnownWatermarks)
    centers: dict[str, CenterFacts] = field(default_factory=dict)

    def open(self, lock: FileLock, *, encrypt: bool) -> None:
        """Open the lake, or have it made; bring it to this version's layout, if need be."""
        with self._opening:
            if self._connection is None:
                self._connection = self._open(lock, encrypt=encrypt)

    def session(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own, whose transactions and temporary tables no other one sees."""
        assert self._connection is not None, "nobody has a lake before it is open"  # noqa: S101
        return another_session(self._connection)

    def close(self) -> None:
        """Let go of the lake."""
        self._undo.close()

    def _open(self, lock: FileLock, *, encrypt: bool) -> duckdb.DuckDBPyConnection:
        lake_dir = self._key.lake_dir
        make_folder(lake_dir)
        with contextlib.ExitStack() as undo:
            undo.callback(scratch.enter(lake_dir))
            connection = _open_or_make(lake_dir, lock, self._key.memory_limit_mb, encrypt=encrypt)
            undo.callback(connection.close)
            undo.callback(log_holder.hold(catalog_path(lake_dir)))
            _bring_up(connection, lake_dir, lock)
            self._undo = undo.pop_all()
        return connection


_OPENED = InCommon(Opened, lambda _, opened: opened.close())
_GIVEN_UP: Counter[Path] = Counter()


def enter(lake_dir: Path, memory_limit_mb: int) -> tuple[Opened, Callable[[], None]]:
    """Return what this process has of a lake, in use until the other is called."""
    return _OPENED.enter(_Key(lake_dir, memory_limit_mb, _GIVEN_UP[lake_dir]))


def begin_anew(lake_dir: Path) -> None:
    """Let the next who opens the lake in this process do so with another DuckDB than the one in use.

    DuckLake 1.5.5 does not let go of a DuckDB in which the catalog refused a COMMIT (its disk was full): once
    its sessions are closed, a new one would wait for ever.
    """
    _GIVEN_UP[lake_dir] += 1


def _bring_up(connection: duckdb.DuckDBPyConnection, lake_dir: Path, lock: FileLock) -> None:
    """Bring the lake to this version's layout, and what it says is erased or held to what is."""
    if not migrations.is_current(connection):
        with held(lock):
            migrations.migrate(connection)
    if ledger_table.reconciled(connection, lake_dir) is not None:
        with held(lock):
            if (known := ledger_table.reconciled(connection, lake_dir)) is not None:
                ledger.write(lake_dir, known)
    if holds.unknown_to(connection, ledger.read(lake_dir)):
        with held(lock), lake_transaction(connection):
            holds.bring_back(connection, ledger.read(lake_dir))


def _open_or_make(
    lake_dir: Path, lock: FileLock, memory_limit_mb: int, *, encrypt: bool
) -> duckdb.DuckDBPyConnection:
    if catalog_path(lake_dir).exists():
        # Another writer may be making it at this moment: wait for that.
        with contextlib.suppress(LakeError):
            return connect_writer(lake_dir, memory_limit_mb=memory_limit_mb, create=False)
    with held(lock):
        _refuse_orphans(lake_dir)
        return connect_writer(lake_dir, memory_limit_mb=memory_limit_mb, create=True, encrypt=encrypt)


def _refuse_orphans(lake_dir: Path) -> None:
    """Raise LakeError where data lies without a catalog: a new lake beside it would begin from nothing."""
    if not catalog_path(lake_dir).exists() and next((lake_dir / "data").rglob("*.parquet"), None):
        raise LakeError(
            f"There are Parquet files in {lake_dir / 'data'}, and the catalog that knows them is gone: "
            f"{catalog_path(lake_dir)}. Restore it from a backup, or move the files away to begin anew."
        )


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
