"""The lock that orders the writers of a lake, in all threads and processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchlake.errors import CatalogBusy, ConfigError

_POLL_S = 0.005
"""A small commit takes some hundredths of a second: to look seldom whether it is done would cost more.

Threads of one process look too: a lock beside the file at which each wakes the next made eight cells at once
no faster, and in most rounds a tenth slower (docs/benchmarks.md).
"""


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
