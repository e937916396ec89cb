"""DuckDB with the extensions a lake needs, from their wheels: nothing unsigned, nothing of the network.

DuckDB checks a signature with every DuckDB that loads it, a tenth of a second each time: longer than a load
with nothing new takes. Here the first of a process checks a file, and again when it is another than it was.
"""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path

import duckdb

from dispatchlake.errors import ConfigError
from dispatchlake.lake.sql import first_line, quoted

_TO_READ = ("ducklake", "sqlite_scanner")
_OPENSSL = "httpfs"
"""DuckDB encrypts what it writes, spills too, only with the OpenSSL of this one."""
_ITS_FILE_SYSTEMS = "HTTPFileSystem,S3FileSystem,HuggingFaceFileSystem"
_EXTENSIONS = (*_TO_READ, _OPENSSL)
_NOTHING_INSTALLED = "autoinstall_known_extensions"
_UNSIGNED_ALLOWED = "allow_unsigned_extensions"
_LOCKED = (
    f"SET GLOBAL {_UNSIGNED_ALLOWED} = false",
    f"SET GLOBAL disabled_filesystems = '{_ITS_FILE_SYSTEMS}'",
)
"""DuckDB knows no way back from either."""

_Identity = tuple[Path, int, int, int, int, int]
_SIGNED: set[_Identity] = set()
"""Files that a DuckDB of this process has loaded as signed by its makers."""


def connect(config: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """Connect to a new DuckDB with the extensions loaded; after them it takes signed ones only, and no URL.

    Raises:
        ConfigError: An extension is missing for this platform.
    """
    files = {extension: _packaged(extension) for extension in _EXTENSIONS}
    identities = {extension: _identity(file) for extension, file in files.items() if file is not None}
    are_signed = len(identities) == len(files) and _SIGNED.issuperset(identities.values())
    connection = duckdb.connect(
        config={_NOTHING_INSTALLED: "false", _UNSIGNED_ALLOWED: str(are_signed).lower(), **config}
    )
    try:
        for extension, file in files.items():
            if _load(connection, extension, file):
                _SIGNED.add(identities[extension])
        for statement in _LOCKED:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def loading_statements() -> list[str]:
    """Return the statements that load what reading needs in any DuckDB of this version."""
    files = {extension: _packaged(extension) for extension in _TO_READ}
    return [
        statement
        for extension, file in files.items()
        for statement in ([f"LOAD {quoted(file)}"] if file else [f"INSTALL {extension}", f"LOAD {extension}"])
    ]


@functools.cache
def _packaged(extension: str) -> Path | None:
    """Return the file that the extension's package has for this DuckDB and platform."""
    try:
        root = Path(str(importlib.resources.files(f"duckdb_extension_{extension}")))
    except ModuleNotFoundError:
        return None
    found = root.glob(f"extensions/v{duckdb.__version__}/**/{extension}.duckdb_extension")
    return next(found, None)


def _identity(file: Path) -> _Identity:
    status = file.stat()
    return file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load(connection: duckdb.DuckDBPyConnection, extension: str, file: Path | None) -> bool:
    """Load an extension, from its file if it can be; return whether that is what was loaded."""
    try:
        if file is not None:
            connection.execute(f"LOAD {quoted(file)}")
            return True
    except duckdb.Error:
        pass  # it does not fit this platform
    try:  # DuckDB's own way, which needs the network once
        connection.install_extension(extension)
        connection.load_extension(extension)
    except duckdb.Error as error:
        raise ConfigError(
            f"DuckDB's extension {extension} is not available for this platform: the package "
            f"duckdb-extension-{extension.replace('_', '-')} has none, and downloading it failed. "
            f"({first_line(error)})"
        ) from error
    return False
