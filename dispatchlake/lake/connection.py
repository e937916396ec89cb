"""A DuckDB connection with the lake attached, for writing and for reading."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake import extensions
from dispatchlake.lake.scratch import reader_scratch_dir, scratch_dir
from dispatchlake.lake.sql import first_line, quoted, transaction

Session = Callable[[], duckdb.DuckDBPyConnection]
"""Returns a session of a lake that this process has open, begun when it is first asked for."""

_BUSY_TIMEOUT_MS = 10_000
_GATHERED_ROWS = 32_768
"""So many rows are gathered before they are written to the files of their months: by default half a million
are, which at our memory limit takes a third more processor time."""

_SETTINGS = ("SET GLOBAL sqlite_disable_multithreaded_scans = true",)
"""Else each scan of a table of the catalog may open it anew, and one query see several states of it: harmless
while rows are only added, wrong counts while files are merged or rows flushed."""

_DOOR = threading.Lock()
"""Of the catalog's file: see `at_the_door`."""


@contextlib.contextmanager
def at_the_door() -> Iterator[None]:
    """Let no other thread of this process open or close the catalog meanwhile: for moments only.

    DuckDB has a connection to SQLite for each transaction. One that closes asks for the whole file, in vain
    and for a tenth of a millisecond; one that is opened just then is told that the file is busy, and sleeps
    for a whole second (docs/decisions/0023).
    """
    with _DOOR:
        yield


@contextlib.contextmanager
def lake_transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what is done to the lake within, or nothing of it."""
    with transaction(connection, ending=at_the_door):
        with at_the_door():
            connection.execute("USE lake")  # the first that asks the catalog opens it
        yield


def catalog_path(lake_dir: Path) -> Path:
    """Return where the catalog of a lake lies."""
    return lake_dir / "catalog.sqlite"


def connect_writer(
    lake_dir: Path, *, memory_limit_mb: int, create: bool, encrypt: bool = False
) -> duckdb.DuckDBPyConnection:
    """Open the lake for writing, attached as `lake` and in use, instants in UTC: a DuckDB of its own.

    Args:
        lake_dir: Home of the catalog and its data; a lake that was moved is found where it is now.
        memory_limit_mb: Beyond it DuckDB spills to a folder of this process's in the lake's `tmp`.
        create: Whether to make the catalog if there is none; two who make one at once spoil it for each
            other, so the caller holds the commit lock.
        encrypt: Whether the files of a lake that is made are to be encrypted.

    Raises:
        LakeError: The catalog cannot be read as one, or there is none and it is not to be made.
        ConfigError: An extension is missing for this platform.
    """
    # One thread for each statement, its caller's: what a load asks is too small for two, and one that waits
    # for the other costs processor time and memory (docs/benchmarks.md). Loads side by side use the cores.
    config = {
        "memory_limit": f"{memory_limit_mb}MB",
        "temp_directory": str(scratch_dir(lake_dir) / secrets.token_hex(4)),
        "threads": "1",
        "partitioned_write_flush_threshold": str(_GATHERED_ROWS),
    }
    options = f"META_JOURNAL_MODE 'WAL', CREATE_IF_NOT_EXISTS {str(create).lower()}"
    options += ", ENCRYPTED" if create and encrypt else ""
    return _connect(lake_dir, config, options)


def another_session(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Return a connection of its own to the lake that `connection` has open, for another thread."""
    other = connection.cursor()
    try:
        other.execute("SET enable_progress_bar = false")
        with at_the_door():
            other.execute("USE lake")
    except BaseException:
        other.close()
        raise
    return other


def connect_reader(lake_dir: Path, *, snapshot: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open the lake for reading: a DuckDB of its own, as large as the machine allows.

    Args:
        lake_dir: Home of the catalog and its data.
        snapshot: Number of the only snapshot to be seen; without it, always the newest.

    Raises:
        LakeError: The catalog cannot be read as one.
        ConfigError: An extension is missing for this platform.
    """
    config = {"temp_directory": str(reader_scratch_dir())}
    options = "READ_ONLY" if snapshot is None else f"READ_ONLY, SNAPSHOT_VERSION {snapshot}"
    return _connect(lake_dir, config, options)


def opening_statements(lake_dir: Path) -> str:
    """Return SQL that opens the lake for reading in a DuckDB of somebody else's, as `connect_reader` does.

    The extensions are named by the files of this installation, or where it has none, installed by DuckDB.
    """
    statements = [
        *extensions.loading_statements(),
        "SET TimeZone = 'UTC'",
        *_SETTINGS,
        _attach_statement(lake_dir, "READ_ONLY"),
        "USE lake",
    ]
    return "".join(f"{statement};\n" for statement in statements)


def _connect(lake_dir: Path, config: dict[str, str], options: str) -> duckdb.DuckDBPyConnection:
    connection = extensions.connect(config)
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET GLOBAL temp_file_encryption = true")  # with a key that only its memory has
        for statement in _SETTINGS:
            connection.execute(statement)
        _attach(connection, lake_dir, options)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, lake_dir: Path, options: str) -> None:
    try:
        connection.execute(_attach_statement(lake_dir, options))
        connection.execute("USE lake")
    except duckdb.Error as error:
        raise LakeError(
            f"The lake's catalog cannot be opened: {catalog_path(lake_dir)}. {_advice(error)} "
            f"({first_line(error)})"
        ) from error


def _attach_statement(lake_dir: Path, options: str) -> str:
    source = quoted(f"ducklake:sqlite:{catalog_path(lake_dir)}")
    # The catalog remembers where its data lay when it was made; where it is now counts.
    options += f", DATA_PATH {quoted(lake_dir / 'data')}, OVERRIDE_DATA_PATH true"
    options += f", META_BUSY_TIMEOUT {_BUSY_TIMEOUT_MS}"
    return f"ATTACH IF NOT EXISTS {source} AS lake ({options})"


def _advice(error: duckdb.Error) -> str:
    if "disk I/O error" in str(error) or "disk is full" in str(error):
        return "The disk may be full: check its free space."
    if "unable to open database file" in str(error):
        return "Its folder must be writable, also to read: SQLite keeps a log beside it."
    return (
        "It may be damaged or not a lake; restore it from a backup, or where it is the open zone's, have it "
        "made anew: dispatchlake publish --rebuild."
    )
