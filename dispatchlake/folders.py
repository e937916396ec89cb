"""Folders of this machine's state: for its owner alone, and a sentence where they cannot be used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dispatchlake.errors import ConfigError


def private_folder(folder: Path) -> Path:
    """Create a folder that only its owner may enter; one that others may enter is closed to them.

    Raises:
        ConfigError: It cannot be made.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a failure to use the folder into a sentence.

    Raises:
        ConfigError: The disk is full, the folder is read-only, or is none.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"The folder {folder} cannot be used: {reason}. Make room, give the right to write there, or set "
            "DISPATCHLAKE_DATA_DIR to another place."
        ) from error
