"""Which runs have a process on this machine: a locked file each, which the kernel unlocks at any death.

`state_dir/runs/RUN.lock` is locked from a run's beginning until its process ends, be it by SIGKILL, for want
of memory or of power. So whether a run is alive is seen and not guessed. `RUN.json` beside it says which
attempt at the run that was, and on which machine: a folder may be copied, or shared.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from dispatchlake.clock import boot_id

Fate = Literal["alive", "dead", "unknown"]

KEEP_S = 3600.0
"""How long the files of a run that is over are kept: longer than it takes to begin it again."""

_LOOKED_AT_S = 10.0
"""Whoever looks whether a lock is free holds it for a moment."""

_held: dict[Path, FileLock] = {}
"""What this process holds: until it ends, not until its runs do, since their end is still to be reported."""


def hold(state_dir: Path, run_id: str, attempt: str) -> None:
    """Say that this process works on a run, from now on until it ends.

    Raises:
        OSError: The file cannot be written.
    """
    path = _path(state_dir, run_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path not in _held:
        lock = FileLock(path, mode=0o600)
        lock.acquire(timeout=_LOOKED_AT_S)
        _held[path] = lock
    # Only now: a note without a lock would be that of a dead process.
    note = {"attempt": attempt, "pid": os.getpid(), "host": socket.gethostname(), "boot": boot_id()}
    path.with_suffix(".json").write_text(json.dumps(note))


def read_fate(state_dir: Path, run_id: str, attempt: str | None = None) -> Fate:
    """Say whether a process of this machine works on a run ("alive") or did so and is gone ("dead").

    Args:
        state_dir: Of this machine.
        run_id: Which run.
        attempt: Which attempt at it; None for any.

    Returns:
        Fate: "unknown" where no process of this machine has ever held this attempt, or it is not to be seen.
    """
    path = _path(state_dir, run_id)
    if path in _held:
        return "alive"
    if not path.exists():
        return "unknown"
    note = _note(path)  # before the look: one that is written later is of a process that lives
    try:
        with FileLock(path, mode=0o600).acquire(timeout=0):
            pass
    except Timeout:
        return "alive"
    except OSError:
        return "unknown"
    is_meant = attempt is None or note.get("attempt") == attempt
    return "dead" if is_meant and _is_of_this_machine(note) else "unknown"


def known_runs(state_dir: Path) -> list[str]:
    """Return the ids of the runs that have files here."""
    return sorted(path.stem for path in (state_dir / "runs").glob("*.lock"))


def forget(state_dir: Path, is_over: Callable[[str], bool]) -> None:
    """Remove the files of runs that are over and have had no process for a while."""
    for run_id in _old(state_dir):
        if read_fate(state_dir, run_id) != "alive" and is_over(run_id):
            for suffix in (".json", ".silent", ".lock"):
                with contextlib.suppress(OSError):  # another janitor was quicker, or it is another user's
                    _path(state_dir, run_id).with_suffix(suffix).unlink(missing_ok=True)


def silent_since(state_dir: Path, run_id: str, *, is_silent: bool) -> float | None:
    """Note whether a run is silent; return since when it has been noted so (Unix time), None if it is not."""
    path = _path(state_dir, run_id).with_suffix(".silent")
    if not is_silent:
        path.unlink(missing_ok=True)
        return None
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        path.touch(mode=0o600, exist_ok=False)
    return path.stat().st_mtime


def _path(state_dir: Path, run_id: str) -> Path:
    return state_dir / "runs" / f"{run_id}.lock"


def _old(state_dir: Path) -> Iterator[str]:
    oldest = time.time() - KEEP_S
    for note in (state_dir / "runs").glob("*.json"):  # a look touches the lock, so its age says nothing
        with contextlib.suppress(OSError):
            if note.stat().st_mtime < oldest:
                yield note.stem


def _note(path: Path) -> dict[str, object]:
    try:
        note = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):  # its process is about to write it, or was killed before it had
        return {}
    return note if isinstance(note, dict) else {}


def _is_of_this_machine(note: dict[str, object]) -> bool:
    """Say whether the process ran under this kernel, in whatever container, or on this host before a boot."""
    return note.get("boot") == boot_id() or note.get("host") == socket.gethostname()
