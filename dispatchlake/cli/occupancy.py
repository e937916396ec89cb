"""Which `dispatchlake up` runs on a data folder, and what one that was killed has left behind.

A lock says whether one runs: the kernel gives it back however its holder ends. A file beside it says which
one, and every process that it started carries its mark in its environment, so that only they are ever ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings

MARK = "DISPATCHLAKE_UP"
"""Environment variable of every process that an `up` started: the mark of that one."""


_LOOK_S = 2.0
"""How long to try for the lock: another process may be holding it for a moment, to look."""
_END_S = 5.0
"""How long a leftover may take to end when told to; then it is killed."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """One `up`.

    Attributes:
        pid: Its process.
        api_url: Where its Prefect server answers.
        mark: What its processes carry.
    """

    pid: int
    api_url: str
    mark: str

    @property
    def ui_url(self) -> str:
        """Return what a person opens in a browser."""
        return self.api_url.removesuffix("/api")


def make_folder(folder: Path) -> None:
    """Create a folder below the data folder, for us alone.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "" if is_writable else "permission denied"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigError(
            f"The data folder cannot be written: {folder} ({reason}). Give a folder of yours in "
            "DISPATCHLAKE_DATA_DIR."
        )


@contextlib.contextmanager
def occupy(settings: Settings, *, api_url: str) -> Iterator[Occupant]:
    """Be the one `up` of this data folder, with what an earlier one left ended.

    Raises:
        ConfigError: Another one runs here, or the folder cannot be written.
    """
    make_folder(settings.prefect_dir)
    lock = _lock(settings)
    try:
        lock.acquire(timeout=_LOOK_S)
    except Timeout:
        other = _read(settings)
        where = f" at {other.ui_url} (process {other.pid})" if other else ""
        raise ConfigError(
            f"It runs already on the data folder {settings.data_dir}{where}. End it with Ctrl-C where it "
            "runs, or with: dispatchlake down"
        ) from None
    try:
        if before := _read(settings):
            end_marked(before.mark)
        occupant = Occupant(os.getpid(), api_url, secrets.token_hex(16))
        _file(settings).write_text(json.dumps(asdict(occupant)))
        try:
            yield occupant
        finally:
            forget(settings)
    finally:
        lock.release()


def find_occupant(settings: Settings) -> Occupant | None:
    """Return the `up` that runs on this data folder, if one does."""
    return _read(settings) if is_occupied(settings) else None


def find_killed(settings: Settings) -> Occupant | None:
    """Return the `up` that ran on this data folder and did not end as it should, if there was one."""
    return None if is_occupied(settings) else _read(settings)


def is_occupied(settings: Settings) -> bool:
    """Say whether an `up` runs on this data folder."""
    if not _file(settings).exists():
        return False
    try:
        with _lock(settings).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # another user's folder: whoever goes on to use it is told so
        return False


def forget(settings: Settings) -> None:
    """Forget the one that was killed: nothing of it is left."""
    _file(settings).unlink(missing_ok=True)


def end_marked(mark: str, *, sparing: Collection[int] = ()) -> int:
    """End every process that carries this mark, but not this one; return how many there were.

    Args:
        mark: The mark of an `up`.
        sparing: Ids of processes that go on.
    """
    ended = 0
    for _ in range(3):  # one of them may have started another meanwhile
        found = [process for process in _with(MARK, mark) if process.pid not in sparing]
        if not found:
            break
        ended += len(found)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _gone, alive = psutil.wait_procs(found, timeout=_END_S)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_END_S)
    return ended


def _with(name: str, value: str) -> list[psutil.Process]:
    """Return every other process that has this variable of this value in its environment."""
    found = []
    for process in psutil.process_iter():
        # Of another user's process, of one that is just ending or of a zombie, the environment is not shown.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and process.pid != os.getpid():
                found.append(process)
    return found


def _read(settings: Settings) -> Occupant | None:
    try:
        return Occupant(**json.loads(_file(settings).read_text()))
    except (OSError, ValueError, TypeError):  # none, or cut off while it was written
        return None


def _file(settings: Settings) -> Path:
    return settings.prefect_dir / "up.json"


def _lock(settings: Settings) -> FileLock:
    return FileLock(settings.prefect_dir / "up.lock")
