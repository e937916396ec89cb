"""What is done to a catalog's file as an SQLite database: `python sqlite_script.py VERB FILE [FILE]`.

A program of its own and never imported, for DuckDB brings its own copy of SQLite: where two copies have one
file open in one process, closing it in one takes away the locks of the other (sqlite.org/howtocorrupt.html,
2.2.1), and another process may then take the write-ahead log from under them. Only the standard library is
imported, so that it starts at once. Prints its answer as JSON; says why it cannot, with exit status 1.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import urllib.parse
from collections.abc import Callable
from typing import Any

BUSY_TIMEOUT_S = 10.0
FREE_SHARE = 10
"""The file is written anew when at least one page in so many is free: it costs a write of the whole."""


def compact(path: str) -> dict[str, Any]:
    """Give free pages back to the disk and empty the write-ahead log, as far as readers allow."""
    return _compact(path, always=False)


def scrub(path: str) -> dict[str, Any]:
    """Write the file anew, so that nothing is left in free pages or in the gaps of others; empty the log."""
    return _compact(path, always=True)


def _compact(path: str, *, always: bool) -> dict[str, Any]:
    with _open(path) as catalog:
        pages = _pragma(catalog, "page_count")
        free = _pragma(catalog, "freelist_count")
        if always or free * FREE_SHARE >= pages:
            catalog.execute("VACUUM")
        freed_pages = pages - _pragma(catalog, "page_count")
        busy = _pragma(catalog, "wal_checkpoint(TRUNCATE)")
        return {
            "freed_bytes": max(0, freed_pages) * _pragma(catalog, "page_size"),
            "log_is_empty": not busy,
        }


def copy(source: str, target: str) -> dict[str, Any]:
    """Copy a database as it is at one moment, whoever has it open, to a file that stands alone."""
    with _open(source) as catalog, contextlib.closing(sqlite3.connect(target, isolation_level=None)) as sink:
        catalog.backup(sink)
        sink.execute("PRAGMA journal_mode = DELETE")
    return {}


def hold(path: str) -> dict[str, Any]:
    """Have a database open, reading nothing, until standard input ends."""
    with _open(path) as catalog:
        _pragma(catalog, "schema_version")  # SQLite opens a file when it is first asked something
        sys.stdin.read()
    return {}


def _open(path: str) -> contextlib.closing[sqlite3.Connection]:
    connection = sqlite3.connect(
        f"file:{urllib.parse.quote(path)}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    return contextlib.closing(connection)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "compact": compact,
    "scrub": scrub,
    "copy": copy,
    "hold": hold,
}

if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
    except (sqlite3.Error, OSError) as error:
        sys.exit(str(error))
