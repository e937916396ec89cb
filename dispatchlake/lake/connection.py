"""A DuckDB connection with the lake attached: extensions from their wheels, nothing from the network."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import duckdb

from dispatchlake.errors import ConfigError, LakeError

_EXTENSIONS = ("ducklake", "sqlite_scanner")
_BUSY_TIMEOUT_MS = 10_000
_INLINE_ROWS = 100
"""Loads of at most this many rows are kept in the catalog until flushed, instead of as a file each."""


def catalog_path(lake_dir: Path) -> Path:
    """Return where the catalog of a lake lies."""
    return lake_dir / "catalog.sqlite"


def connect(lake_dir: Path, *, read_only: bool, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB with the lake attached as `lake` and in use, its session in UTC.

    Raises:
        LakeError: The catalog cannot be read as one.
        ConfigError: An extension is missing for this platform.
    """
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "memory_limit": f"{memory_limit_mb}MB"}
    )
    try:
        for name in _EXTENSIONS:
            _load_extension(connection, name)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")
        if not read_only:
            connection.execute(f"SET temp_directory = {_quoted(lake_dir / 'tmp')}")
        _attach(connection, lake_dir, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, lake_dir: Path, *, read_only: bool) -> None:
    options = (
        "READ_ONLY"
        if read_only
        else f"DATA_PATH {_quoted(lake_dir / 'data')}, META_JOURNAL_MODE 'WAL', DATA_INLINING_ROW_LIMIT {_INLINE_ROWS}"
    )
    source = _quoted(f"ducklake:sqlite:{catalog_path(lake_dir)}")
    try:
        connection.execute(f"ATTACH {source} AS lake ({options}, META_BUSY_TIMEOUT {_BUSY_TIMEOUT_MS})")
        connection.execute("USE lake")
    except duckdb.Error as error:
        raise LakeError(
            f"The lake's catalog cannot be opened: {catalog_path(lake_dir)}. It may be damaged or not a lake; "
            f"restore it from a backup. ({_first_line(error)})"
        ) from error


def _load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    package = f"duckdb_extension_{name}"
    try:
        root = importlib.resources.files(package)
        file = next(Path(str(root)).glob(f"extensions/v{duckdb.__version__}/**/{name}.duckdb_extension"))
        connection.execute(f"LOAD {_quoted(file)}")
    except (ModuleNotFoundError, StopIteration, duckdb.Error):
        # No wheel fits this platform: DuckDB's own way, which needs the network once.
        try:
            connection.install_extension(name)
            connection.load_extension(name)
        except duckdb.Error as error:
            raise ConfigError(
                f"DuckDB's extension {name} is not available for this platform: the package "
                f"{package.replace('_', '-')} has none, and downloading it failed. ({_first_line(error)})"
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _quoted(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"
