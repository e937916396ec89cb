"""A damaged open zone, removed so that another can be made: all of it comes from the restricted one."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import duckdb

from dispatchlake.errors import CatalogBusy, ConfigError, LakeError, LakeTooNew
from dispatchlake.lake import catalog_file, migrations
from dispatchlake.lake.backup import refuse_others
from dispatchlake.lake.connection import catalog_path, connect_reader
from dispatchlake.lake.publication import read_published
from dispatchlake.lake.writers_lock import held, writers_lock
from dispatchlake.settings import Settings

logger = logging.getLogger(__name__)


def remove_if_damaged(settings: Settings) -> None:
    """Remove the open zone's catalog and files where they cannot be gone on from; its folder stays as it is.

    Raises:
        CatalogBusy: Another process has it open for writing.
        LakeTooNew: Made by a newer version; untouched.
    """
    folder = settings.open_dir
    if not folder.exists():
        return
    with held(writers_lock(folder, settings.lock_wait_s)):
        if not (damage := _find_damage(folder)):
            return
        refuse_others(folder)
        # The files first: without them a catalog is damaged still, if we are killed in between.
        shutil.rmtree(folder / "data", ignore_errors=True)
        for part in folder.glob(f"{catalog_path(folder).name}*"):
            part.unlink(missing_ok=True)
    logger.warning("The open zone was damaged, and is made of the restricted one again: %s.", damage)


def _find_damage(folder: Path) -> str:
    """Return why an open zone cannot be gone on from, or "" if it can."""
    catalog = catalog_path(folder)
    if not catalog.exists():
        return "its catalog is gone" if next((folder / "data").rglob("*.parquet"), None) else ""
    try:
        if damage := _damage_of_catalog(catalog):
            return damage
        with connect_reader(folder) as connection:
            migrations.refuse_newer(migrations.applied(connection))
            read_published(connection)
    except (CatalogBusy, ConfigError, LakeTooNew):
        raise
    except (duckdb.Error, LakeError) as error:
        return f"its catalog cannot be read ({type(error).__name__})"
    return ""


def _damage_of_catalog(catalog: Path) -> str:
    """Return what is wrong with a catalog as a database, or "" if nothing is."""
    # Others may have it open: see `sqlite_script`.
    copy = catalog.with_name(f".{catalog.name}.checked")
    copy.unlink(missing_ok=True)  # of one that was killed
    try:
        catalog_file.copy(catalog, copy)
        return catalog_file.find_damage(copy) or ""
    finally:
        copy.unlink(missing_ok=True)
