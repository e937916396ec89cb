"""The catalog's file as a file: compacted, copied, checked. What is in it is `inventory`'s business."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from dispatchlake.errors import CatalogBusy, LakeError

_SCRIPT = Path(__file__).with_name("sqlite_script.py")
TIMEOUT_S = 600.0
"""Far beyond what a catalog of a few gigabytes takes."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compacting a catalog gave back, and whether its write-ahead log could be emptied."""

    freed_bytes: int
    log_is_empty: bool


def compact(catalog: Path) -> Compacted:
    """Give free pages back to the disk and empty the write-ahead log. The caller holds the commit lock."""
    return Compacted(**_run("compact", catalog))


def scrub(catalog: Path) -> Compacted:
    """Write a catalog anew, so that nothing deleted is left in it, and empty its write-ahead log.

    The caller holds the commit lock.
    """
    return Compacted(**_run("scrub", catalog))


def copy(source: Path, target: Path) -> None:
    """Copy a catalog that others may have open, as it is at one moment. The copy is its owner's alone."""
    create_private(target)
    _run("copy", source, target)
    sync(target)


def create_private(path: Path) -> None:
    """Make an empty file that is its owner's alone; it must not be there yet."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def sync(path: Path) -> None:
    """Have a file, or a folder's entries, on the disk and not only on the way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_only(path: Path) -> contextlib.closing[sqlite3.Connection]:
    """Open an SQLite file that nothing has open and nothing writes, such as a backup; leaves no trace."""
    name = urllib.parse.quote(str(path.resolve()))
    return contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro&immutable=1", uri=True))


def is_catalog(path: Path) -> bool:
    """Say whether a file that nobody has open is a lake's catalog, or a backup of one."""
    try:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return False
        with read_only(path) as connection:
            found = connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ducklake_snapshot'"
            ).fetchone()
    except (sqlite3.Error, OSError):
        return False
    return found is not None


def find_damage(path: Path) -> str | None:
    """Return what is wrong with an SQLite file, or None if it is whole."""
    try:
        with read_only(path) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else str(found)


def replaced_path(catalog: Path, moment: datetime) -> Path:
    """Return the name under which a catalog is kept that a restore replaced at a moment."""
    return catalog.with_name(f"catalog-replaced-{moment:%Y%m%dT%H%M%S.%fZ}.sqlite")


def newest_replaced(lake_dir: Path) -> Path | None:
    """Return the catalog that a restore replaced last, or None if none did."""
    return max(_all_replaced(lake_dir), default=None)  # the moment is in its name


def last_replaced_s(lake_dir: Path) -> float:
    """Return when a restore last replaced the catalog, in seconds since 1970; 0.0 if none did."""
    return max((path.stat().st_mtime for path in _all_replaced(lake_dir)), default=0.0)


def _all_replaced(lake_dir: Path) -> Iterator[Path]:
    return lake_dir.glob("catalog-replaced-*.sqlite")


def script_command(verb: str, *files: Path) -> list[str]:
    """Return the command that does something to files, in a process of its own: see the script why."""
    return [sys.executable, "-I", str(_SCRIPT), verb, *map(str, files)]


def _run(verb: str, *files: Path) -> dict[str, Any]:
    """Run the script on files and return its answer."""
    ended = subprocess.run(  # noqa: S603 - our own interpreter and script
        script_command(verb, *files),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if ended.returncode:
        reason = ended.stderr.strip().rpartition("\n")[2]
        if "locked" in reason or "busy" in reason:
            raise CatalogBusy(f"The catalog is locked by another program: {files[0]}. Try again later.")
        raise LakeError(f"The catalog cannot be read as one or written: {files[0]} ({reason}).")
    answer: dict[str, Any] = orjson.loads(ended.stdout)
    return answer
