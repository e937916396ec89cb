"""`dispatchlake down`: end the `up` of this data folder, and whatever one that was killed has left."""

from __future__ import annotations

import time

import psutil

from dispatchlake.cli.occupancy import Occupant, end_marked, find_killed, find_occupant, forget, is_occupied
from dispatchlake.cli.terminal import console, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings, load_settings

STOP_LIMIT_S = 60.0


def down() -> None:
    """End what `dispatchlake up` runs on this data folder, and what one that was killed has left behind."""
    settings = load_settings()
    if occupant := find_occupant(settings):
        with waiting(f"Stopping what runs at {occupant.ui_url} ..."):
            _end(settings, occupant)
        console.print("Everything is stopped.")
    elif killed := find_killed(settings):
        ended = end_marked(killed.mark)
        forget(settings)
        left = f"{ended} processes were left, and are ended" if ended else "nothing was left of it"
        console.print(f"The last `dispatchlake up` was killed; {left}.")
    else:
        console.print(f"Nothing runs on the data folder {settings.data_dir}.", soft_wrap=True)


def _end(settings: Settings, occupant: Occupant) -> None:
    try:
        process = psutil.Process(occupant.pid)
        if is_occupied(settings):  # its lock is held still, so the number is its own and no other's
            process.terminate()
            _wait(process)
    except psutil.AccessDenied:
        raise ConfigError(f"Process {occupant.pid} is another user's: only they can end it.") from None
    except psutil.NoSuchProcess:  # it has ended
        pass
    end_marked(occupant.mark)


def _wait(process: psutil.Process) -> None:
    """Wait until a process has ended, whether or not who started it has taken notice."""
    deadline = time.monotonic() + STOP_LIMIT_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            raise ConfigError(f"Process {process.pid} does not end. Kill it, then: dispatchlake down")
        time.sleep(0.1)
