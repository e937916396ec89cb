"""Where an export goes: files that appear whole or not at all, and are their owner's alone.

What is written lies in a folder beside the target until it is whole. That folder is locked: two exports never
write to one target, and the next one removes what a killed one has left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import catalog_file

Form = Literal["parquet", "csv", "duckdb"]

MANIFEST = "export.json"
"""In a folder of exported files: of which snapshot they are, and what each holds."""

_SUFFIXES: dict[str, Form] = {".parquet": "parquet", ".csv": "csv", ".duckdb": "duckdb"}
_OF_A_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}")
"""Endings of files; those of folders are most often numbers, as in 2024.03."""

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Target:
    """A file, or a folder with a file for each thing exported, and how it is written.

    Attributes:
        form: Of what is in it.
        overwrite: Whether an earlier export may be replaced.
        exact: Whether CSV keeps texts that a spreadsheet would run as a formula as they are; otherwise they
            get an apostrophe before them.
    """

    path: Path
    form: Form
    is_folder: bool = False
    overwrite: bool = False
    exact: bool = False


def target_of(
    path: Path, *, form: Form | None = None, overwrite: bool = False, exact: bool = False
) -> Target:
    """Return what a path means: its ending says the form of a file; without one it is a folder.

    Raises:
        ConfigError: The form that was asked for is not that of the ending, or not one for a folder; or the
            ending is that of a form which is not written here.
    """
    of_suffix = _SUFFIXES.get(path.suffix.lower())
    if of_suffix is None and _OF_A_FILE.fullmatch(path.suffix) and not path.is_dir():
        raise ConfigError(
            f"{path} ends like a file of a form that is not written here: {path.suffix}. Name a file that "
            f"ends in {', '.join(_SUFFIXES)}, or a folder; one that is to be called so must be there already."
        )
    if of_suffix is None or path.is_dir():
        if form == "duckdb":
            raise ConfigError(f"A DuckDB file holds any number of tables: name it, as in {path}.duckdb.")
        return Target(path, form or "parquet", is_folder=True, overwrite=overwrite, exact=exact)
    if form not in {None, of_suffix}:
        raise ConfigError(f"{path} ends like a file of another form than {form}. Leave one of them out.")
    return Target(path, of_suffix, overwrite=overwrite, exact=exact)


def check_free(target: Target) -> None:
    """See to it, before anything is read, that a target may be written.

    Raises:
        ConfigError: Something is there that is not to be overwritten, or never is.
    """
    path = target.path
    if path.name in {"", ".."}:
        raise ConfigError(f"{path} is no name for an export. Name a file, or a folder to be made.")
    if not path.exists() or _is_empty_folder(path, target):
        return
    if target.is_folder != path.is_dir():
        raise LakeError(f"{path} could not be written. It is a {'folder' if path.is_dir() else 'file'}.")
    if target.is_folder and not (path / MANIFEST).exists():
        raise ConfigError(
            f"{path} has files that no export has written (there is no {MANIFEST}): such a folder is never "
            "overwritten. Name another."
        )
    if not target.overwrite:
        raise already_there(path)


def _is_empty_folder(path: Path, target: Target) -> bool:
    return target.is_folder and path.is_dir() and not any(path.iterdir())


def already_there(path: Path) -> ConfigError:
    """Return the error to raise where something is in the way."""
    return ConfigError(f"{path} is there already. Name another, or overwrite it with --overwrite.")


@contextlib.contextmanager
def whole_or_nothing(target: Target) -> Iterator[Path]:
    """Give a path to write to; what is there in the end becomes the target, unless something failed.

    Files are readable by their owner alone (mode 0600, folders 0700), and on the disk before they appear.

    Raises:
        ConfigError: The target has come to be meanwhile, and is not to be overwritten.
        LakeError: Another export writes to it, or it cannot be written.
    """
    path = target.path
    work = path.with_name(f".{path.name}.partial")
    with _explained(path):
        _make_private(work)
        lock = FileLock(work / _LOCK, timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise LakeError(f"{path} could not be written. Another export writes to it.") from None
    try:
        with _explained(path):
            _empty(work)
            made = work / path.name
            if target.is_folder:
                made.mkdir(mode=0o700)
        yield made
        with _explained(path):
            _close_to_others(made)
            _put_in_place(made, target)
            catalog_file.sync(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _make_private(work: Path) -> None:
    """Make the folder to write in, or take one that this user's export has left: never another's, nor a link.

    Whoever may write to the folder beside it could have made it, to read what is written or have it emptied.
    """
    try:
        work.mkdir(mode=0o700)
    except FileExistsError:
        found = work.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LakeError(
                f"{work} is in the way, and no export of yours has made it. Remove it, or export to a folder "
                "of your own."
            ) from None
        work.chmod(0o700)


def _put_in_place(made: Path, target: Target) -> None:
    path = target.path
    if not path.exists() or _is_empty_folder(path, target):
        made.rename(path)
    elif not target.overwrite:
        raise already_there(path)
    elif target.is_folder:  # one takes the place of an empty one only
        path.rename(made.with_name("replaced"))
        made.rename(path)
    else:
        made.replace(path)


def _empty(work: Path) -> None:
    """Remove what a killed export has left."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:
            entry.unlink()


def _close_to_others(made: Path) -> None:
    files = [path for path in made.rglob("*") if path.is_file()] if made.is_dir() else [made]
    for file in files:
        file.chmod(0o600)
        catalog_file.sync(file)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LakeError(f"{path} could not be written. {error.strerror or type(error).__name__}.") from None
