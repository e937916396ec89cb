"""Where DuckDB spills to: a folder of each process's own, and the lock that shows its owner is at work.

DuckDB names its spill files alike in every process (duckdb/duckdb#15173): two that share a folder write into
each other's files, and read wrong rows or crash. Of each writer there are two entries in the lake's `tmp`:
`<name>.lock`, held for as long as the process has the lake open, and the folder `<name>`. A reader may have
no right to write there: it has a folder among the system's temporary files, with a lock in it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchlake.lake.in_common import InCommon

_PROCESS = secrets.token_hex(4)
"""Beside the process's number, which another container on the same disk may have as well."""

_READERS = "dispatchlake-reader-"
"""How the names of readers' folders begin."""


def scratch_dir(lake_dir: Path) -> Path:
    """Return the folder this process spills to while it writes to the lake."""
    return lake_dir / "tmp" / f"{os.getpid()}-{_PROCESS}"


def reader_scratch_dir() -> Path:
    """Return a folder for one reader, which DuckDB makes when it spills and removes when it closes."""
    return _private_dir() / secrets.token_hex(4)


@functools.cache
def _private_dir() -> Path:
    begun = Path(tempfile.mkdtemp(prefix=f"new-{_READERS}"))  # its owner's alone
    lock = _readers_lock(begun)
    lock.acquire()
    folder = begun.rename(
        begun.with_name(begun.name.removeprefix("new-"))
    )  # never there without its lock held

    def leave() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()

    atexit.register(leave)
    remove_dead_readers()
    return folder


def remove_dead_readers() -> None:
    """Remove what readers of this user left that were killed: what they had spilled may be records.

    Looked for where this process's own would be, in the system's folder for temporary files, and by the lock:
    of whatever else is there by such a name we know nothing.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_READERS}*"):
        lock = _readers_lock(folder)
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            is_ours = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            if is_ours and Path(lock.lock_file).exists() and _take(lock):
                _delete(folder)
                lock.release()


def _readers_lock(folder: Path) -> FileLock:
    return FileLock(folder / "at-work.lock", mode=0o600, thread_local=False)


def enter(lake_dir: Path) -> Callable[[], None]:
    """Make this process's folder and show that it is at work, until what is returned is called.

    Of several that enter, the last to leave removes the folder.
    """
    _, leave = _FOLDERS.enter(scratch_dir(lake_dir))
    return leave


def _begin(folder: Path) -> FileLock:
    lock = _lock_of(folder)
    lock.acquire()
    folder.mkdir(mode=0o700, exist_ok=True)
    return lock


def count_others(lake_dir: Path) -> int:
    """Return how many other processes have the lake open for writing."""
    others = 0
    for lock in _iter_others(lake_dir):
        if _take(lock):
            lock.release()
        else:
            others += 1
    return others


def remove_dead(lake_dir: Path, *, older_than_s: float) -> int:
    """Remove what processes that have ended left behind; return how many bytes that were.

    Args:
        lake_dir: Home of the lake.
        older_than_s: What no lock belongs to is removed when nothing has touched it for so long.
    """
    freed = 0
    for lock in _iter_others(lake_dir):
        if _take(lock):
            folder = Path(lock.lock_file).with_suffix("")
            freed += _size(folder)
            _remove(folder, lock)
    for path in (lake_dir / "tmp").iterdir():
        if path.suffix != ".lock" and not path.with_suffix(".lock").exists() and _age_s(path) > older_than_s:
            freed += _size(path)
            _delete(path)
    return freed


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_suffix(".lock"), mode=0o600, thread_local=False)


def _iter_others(lake_dir: Path) -> Iterator[FileLock]:
    own = scratch_dir(lake_dir)
    for path in sorted((lake_dir / "tmp").glob("*.lock")):
        if path.with_suffix("") != own:
            yield _lock_of(path.with_suffix(""))


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _remove(folder: Path, lock: FileLock) -> None:
    """Remove a folder and then its lock, which the caller holds: what has a lock is never without it."""
    _delete(folder)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # of what cannot go, the next maintenance tells
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def _age_s(path: Path) -> float:
    newest = max(file.stat().st_mtime for file in [path, *path.rglob("*")])
    return time.time() - newest


_FOLDERS = InCommon(_begin, _remove)
