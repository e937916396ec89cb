"""A copy of the catalog in one file, and the way back from it. Data files are copied by any file tool.

The catalog alone says which data files belong to which snapshot; data files never change once written.
A backup is an SQLite file of its own: the catalog and, in one more table, a manifest.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

import dispatchlake
from dispatchlake.errors import CatalogBusy, ConfigError, LakeError, LakeTooNew
from dispatchlake.lake import catalog_file, inventory, migrations, scratch
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.opened import make_folder
from dispatchlake.lake.reading import connect_unnoted, no_lake
from dispatchlake.lake.writers_lock import held, writers_lock
from dispatchlake.settings import Settings

_MANIFEST_TABLE = "dispatchlake_backup"
MISSING_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is.

    Attributes:
        created_at: When it was made (UTC, ISO 8601).
        version: Of the dispatchlake that made it.
        layout: Migrations that the lake has had.
        snapshot: Newest snapshot in it.
        files: Data and delete files that its snapshots need, and their bytes.
    """

    created_at: str
    version: str
    layout: tuple[str, ...]
    snapshot: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore put back, and where the catalog is that was there before; None if there was none."""

    manifest: Manifest
    replaced: Path | None


def back_up(settings: Settings, target: Path, *, overwrite: bool = False) -> Manifest:
    """Write a backup of the lake's catalog; readers and writers go on meanwhile, but for a moment.

    The file appears whole and checked, or not at all.

    Args:
        settings: Where the lake is.
        target: The file.
        overwrite: Whether one of that name is replaced.

    Raises:
        ConfigError: There is no lake yet, or the file is there already or cannot be written.
        LakeError: The catalog cannot be read, or the copy is not whole.
    """
    catalog = catalog_path(settings.lake_dir)
    if not catalog.exists():
        raise no_lake(settings.lake_dir)
    if target.exists() and not overwrite:
        raise ConfigError(
            f"{target} is there already, and may be the only backup there is. Name another, or replace it "
            "with --overwrite once the new one is whole."
        )
    with connect_unnoted(settings.lake_dir) as reader:
        layout = tuple(sorted(migrations.applied(reader)))
    partial = target.with_name(f".{target.name}.partial")
    with _writing(target):
        partial.unlink(missing_ok=True)  # of one that was killed
        try:
            with held(writers_lock(settings.lake_dir, settings.lock_wait_s)):
                catalog_file.copy(catalog, partial)
            if damage := catalog_file.find_damage(partial):
                raise LakeError(f"The catalog is damaged, and so would be its backup: {catalog} ({damage}).")
            manifest = _write_manifest(partial, layout)
            catalog_file.sync(partial)
            partial.replace(target)
            catalog_file.sync(target.parent)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def read_manifest(backup: Path) -> Manifest:
    """Return what a file is a backup of.

    Raises:
        ConfigError: It cannot be read, or is no backup.
        LakeTooNew: A newer version of this software made it.
        LakeError: It is damaged.
    """
    if not backup.is_file():
        raise ConfigError(
            f"There is no file {backup} to restore from. Give one that `dispatchlake backup` wrote."
        )
    try:
        with catalog_file.read_only(backup) as connection:
            (text,) = connection.execute(f"SELECT manifest FROM {_MANIFEST_TABLE}").fetchone()
        content = orjson.loads(text)
        manifest = Manifest(**content | {"layout": tuple(content["layout"])})
    except (sqlite3.Error, OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{backup} is no backup of a catalog ({error}). Give a file that `dispatchlake backup` wrote."
        ) from None
    if damage := catalog_file.find_damage(backup):
        raise LakeError(f"The backup is damaged: {backup} ({damage}). Give another one; nothing was changed.")
    if _numbers(manifest.version) > _numbers(dispatchlake.__version__):
        raise LakeTooNew(
            f"This backup was made by dispatchlake {manifest.version}, which is newer than this "
            f"({dispatchlake.__version__}). Upgrade dispatchlake; nothing was changed."
        )
    migrations.refuse_newer(set(manifest.layout))
    return manifest


def restore(settings: Settings, backup: Path) -> Restored:
    """Put a backup in the place of the lake's catalog, which is kept beside it under a dated name.

    The next ingest goes on from the watermarks of the backup: what came later is read again.

    Raises:
        ConfigError: The file is no backup.
        LakeTooNew: A newer version of this software made it.
        CatalogBusy: A process has the lake open for writing.
        LakeError: It is damaged, or data files that it needs are missing; nothing was changed.
    """
    manifest = read_manifest(backup)
    lake_dir = settings.lake_dir
    make_folder(lake_dir)
    with held(writers_lock(lake_dir, settings.lock_wait_s)):
        refuse_others(lake_dir)
        _refuse_missing(backup, lake_dir)
        with _writing(catalog_path(lake_dir)):
            replaced = _put_in_place(backup, lake_dir)
    return Restored(manifest, replaced)


def _put_in_place(backup: Path, lake_dir: Path) -> Path | None:
    """Exchange the catalog for the backup. Killed in between, there is none, and restoring again goes on."""
    catalog = catalog_path(lake_dir)
    incoming = catalog.with_name(f"{catalog.name}.incoming")
    was_killed = incoming.exists()
    incoming.unlink(missing_ok=True)
    catalog_file.create_private(incoming)
    shutil.copyfile(backup, incoming)
    with contextlib.closing(sqlite3.connect(incoming)) as connection:  # a file that nobody else has open
        connection.execute(f"DROP TABLE {_MANIFEST_TABLE}")
        connection.commit()
    catalog_file.sync(incoming)
    # Of a catalog that one who was killed has kept already, the rest is moved.
    kept = catalog_file.newest_replaced(lake_dir) if was_killed and not catalog.exists() else None
    replaced = kept or catalog_file.replaced_path(catalog, datetime.now(UTC))
    _move(catalog, replaced)
    try:
        refuse_others(lake_dir)  # who opened it since we looked; who comes now finds none, and waits for us
    except CatalogBusy:
        _move(replaced, catalog)
        incoming.unlink()
        raise
    is_kept = replaced.exists()
    if is_kept:
        os.utime(replaced)  # orphans count their age from here: see `removal`
    incoming.rename(catalog)
    catalog_file.sync(lake_dir)
    return replaced if is_kept else None


def _move(catalog: Path, target: Path) -> None:
    # The catalog first: without it, nobody takes its write-ahead log for that of another.
    for suffix in ("", "-wal", "-shm"):
        part = catalog.with_name(catalog.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))


def refuse_others(lake_dir: Path) -> None:
    """Raise CatalogBusy where another process has a lake open for writing."""
    if others := scratch.count_others(lake_dir):
        raise CatalogBusy(
            f"{others} other process{'es have' if others > 1 else ' has'} the lake open for writing. Stop "
            "ingestion (pause its deployment, and let its runs end), then try again; nothing was changed."
        )


def _refuse_missing(backup: Path, lake_dir: Path) -> None:
    root = inventory.data_dir(lake_dir)
    with catalog_file.read_only(backup) as connection:
        rows = connection.execute(inventory.NAMED_FILES.format(catalog="")).fetchall()
    missing = [
        path
        for path, is_relative, size in rows
        if not _is_there(inventory.place(root, path, is_relative=is_relative), size)
    ]
    if missing:
        shown = ", ".join(sorted(missing)[:MISSING_SHOWN])
        raise LakeError(
            f"{len(missing):,} of {len(rows):,} data files that the backup needs are missing or cut short in "
            f"{root}, such as {shown}. Copy them back from where the data files are backed up; nothing was "
            "changed."
        )


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _write_manifest(copy: Path, layout: tuple[str, ...]) -> Manifest:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        (snapshot,) = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
        rows = connection.execute(inventory.NAMED_FILES.format(catalog="")).fetchall()
        manifest = Manifest(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=dispatchlake.__version__,
            layout=layout,
            snapshot=snapshot,
            files=len(rows),
            bytes=sum(row[2] for row in rows),
        )
        connection.execute(f"CREATE TABLE {_MANIFEST_TABLE} (manifest TEXT)")
        text = orjson.dumps(asdict(manifest)).decode()
        connection.execute(f"INSERT INTO {_MANIFEST_TABLE} VALUES (?)", [text])
        connection.commit()
    return manifest


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
