"""The lock that orders the writers of a lake: those of one process among themselves, then all processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchlake.errors import CatalogBusy, ConfigError

_POLL_S = 0.005
"""A small commit takes some hundredths of a second: to look seldom whether it is done would cost more."""

_THREADS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
"""What threads of this process wait at, by the lock's file: they are woken, where a file has to be looked at
again and again, and eight that look keep a core from the one that works."""


def writers_lock(lake_dir: Path, wait_s: float) -> FileLock:
    """Return the lock that orders the writers of a lake, in all processes; take it with `held`."""
    return FileLock(lake_dir / "commit.lock", timeout=wait_s, mode=0o600, poll_interval=_POLL_S)


@contextlib.contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Hold the writers' lock.

    Raises:
        CatalogBusy: Another writer held it for too long.
        ConfigError: It cannot be taken.
    """
    until_s = time.monotonic() + lock.timeout
    threads = _THREADS[lock.lock_file]
    if not threads.acquire(timeout=lock.timeout):
        raise _too_long(lock)
    try:
        lock.acquire(timeout=max(0.0, until_s - time.monotonic()))
    except BaseException as error:
        threads.release()
        if isinstance(error, Timeout):
            raise _too_long(lock) from None
        if isinstance(error, OSError):
            raise ConfigError(
                f"The lake's lock cannot be taken: {lock.lock_file} ({error.strerror}). Mend the permissions "
                "of the lake's folder."
            ) from None
        raise
    try:
        yield
    finally:
        lock.release()
        threads.release()


def _too_long(lock: FileLock) -> CatalogBusy:
    return CatalogBusy(
        f"Another writer has held the lake for more than {lock.timeout:.0f} s ({lock.lock_file}). "
        "It may be a long load; try again later."
    )
