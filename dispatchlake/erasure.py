"""One call removed from everything this installation keeps, and the proof of it: where all of that meets.

The lake and what is derived from it, media files, the spool; then every byte below the data folder is
searched for what would betray the call. Until nothing is found the erasure is unfinished. Stopped anywhere
and run again, it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake, catalog_file, erasing, ledger, purge
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.erasure_plan import Plan, plans_dir
from dispatchlake.lake.lake import existing_zones, open_existing_lake, open_lake
from dispatchlake.lake.ledger import Erasure
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.replay import Resources
from dispatchlake.lake.search import Searched, search
from dispatchlake.lake.writers_lock import held, writers_lock
from dispatchlake.landing import land_deliveries
from dispatchlake.media_folder import remove_media
from dispatchlake.settings import Settings
from dispatchlake.spool import NAME, Spool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What one erasure removed and what was found of it after that: numbers and names, never content.

    Attributes:
        erasure_id: By which `erasures` and the chain know it.
        counts: Rows removed by table, pages redacted as `raw_pages`, files removed as `media files`.
        texts: How many texts were searched for.
        searched: Files and bytes that were.
        found: Path below the data folder, and what is in it still: the name of a column.
    """

    erasure_id: str
    center_id: str
    counts: dict[str, int]
    texts: int
    searched: Searched
    found: tuple[tuple[str, str], ...]

    @property
    def is_done(self) -> bool:
        """Say whether nothing was found, and every file could be searched."""
        return not self.found and not self.searched.unread


def erase(
    settings: Settings,
    center_id: str,
    incident_id: str,
    *,
    reason: str,
    requested_by: str,
    resources: Resources | None = None,
) -> ErasureReport:
    """Erase one call everywhere; nothing brings it back from the moment this has begun.

    Args:
        settings: Where all lies.
        center_id: Whose incident.
        incident_id: As `incidents.incident_id` has it.
        reason: Kept with the erasure; a code or a few words, nothing of the call.
        requested_by: Kept with it as well.
        resources: Listings that a center has configured; any other is as declared.

    Raises:
        ConfigError: There is no such incident, it is held, or copies of the catalog lie below the data
            folder.
        CatalogBusy: A reader is in the way; the erasure is begun and unfinished.
        LakeError: The lake could not be written; the same.
        SpoolError: What waits in the spool could not be landed; the same.
    """
    if not catalog_path(settings.lake_dir).exists():
        raise no_lake(settings.lake_dir)
    refuse_backups(settings)
    land_deliveries(settings)  # what waits is the call's too, and is told of in the chain
    with lakes(settings) as (lake, derived):
        plan = erasing.begin(
            lake, center_id, incident_id, reason=reason, requested_by=requested_by, others=derived
        )
    logger.info("Erasure %s of %s has begun.", plan.erasure_id, center_id)
    return _carry_out(settings, plan, resources or {})


def finish_unfinished(settings: Settings, *, resources: Resources | None = None) -> list[ErasureReport]:
    """Go on with every erasure that was begun and is not done, or that an older catalog has undone.

    Raises:
        ConfigError: There is no lake, or backups of the catalog lie below the data folder.
        CatalogBusy: A reader is in the way.
        LakeError: The lake could not be written.
        SpoolError: What waits in the spool could not be landed.
    """
    with open_existing_lake(settings) as lake:
        plans = erasing.plan_again(lake)
    if plans:
        refuse_backups(settings)
    return [_carry_out(settings, plan, resources or {}) for plan in plans]


def unfinished(settings: Settings) -> list[Erasure]:
    """Return the erasures that were begun and are not done; asks a file, not the lake.

    Raises:
        LakeError: It cannot be read.
    """
    return list(ledger.read(settings.lake_dir).unfinished)


def undone(settings: Settings) -> bool:
    """Say whether erasures are to be done, of which some may have been undone by an older catalog."""
    with open_lake(settings):  # compares the ledger with the catalog
        return bool(unfinished(settings))


def refuse_backups(settings: Settings) -> None:
    """Raise ConfigError if copies of the catalog lie below the data folder: they hold rows of calls."""
    live = {catalog_path(folder).resolve() for folder in _lake_dirs(settings)}
    ours = {path for folder in _lake_dirs(settings) for path in purge.replaced_catalogs(folder)}
    found = [
        path
        for folder, _, names in os.walk(settings.data_dir)
        for path in (Path(folder, name) for name in names)
        if path.resolve() not in live and path not in ours and catalog_file.is_catalog(path)
    ]
    if found:
        shown = ", ".join(str(path) for path in sorted(found)[:5])
        raise ConfigError(
            f"{len(found)} copies of the catalog lie below the data folder and hold rows of calls: {shown}. "
            "Delete them or move them to where backups are kept, and see that they go there too when their "
            "time has come; then erase again. Nothing was erased."
        )


def _lake_dirs(settings: Settings) -> list[Path]:
    """Return the home of the lake, and of the open one if there is one."""
    return [settings.zone_dir(zone) for zone in existing_zones(settings)]


@contextlib.contextmanager
def lakes(settings: Settings) -> Iterator[tuple[Lake, list[Lake]]]:
    """Open the lake, and those that are derived from it."""
    with contextlib.ExitStack() as opened:
        lake, *derived = [
            opened.enter_context(open_lake(settings, zone)) for zone in existing_zones(settings)
        ]
        yield lake, derived


def _carry_out(settings: Settings, plan: Plan, resources: Resources) -> ErasureReport:
    land_deliveries(settings)  # what came before the ledger had the call
    with lakes(settings) as (lake, derived):
        counts = Counter(erasing.remove(lake, plan, resources))
        for other in derived:
            removed = erasing.remove_derived(other, plan)
            counts.update({f"open {name}": count for name, count in removed.items()})
        for one in (lake, *derived):
            erasing.clear(one)
    scrub(settings)
    if files := _remove_media(settings, plan):
        counts["media files"] = files
    report = _prove(settings, plan, dict(counts))
    if report.is_done:
        with open_lake(settings) as lake:
            erasing.finish(lake, plan, report.counts)
    return report


def scrub(settings: Settings) -> None:
    """Leave nothing of what was deleted in free pages and logs of catalogs and spool; no lake is open here.

    Raises:
        CatalogBusy: A reader keeps a catalog's log from being emptied, or a writer is at work for too long.
        SpoolBusy: Another process is in the way.
    """
    for folder in _lake_dirs(settings):
        with held(writers_lock(folder, settings.lock_wait_s)):  # a commit under way would fail
            purge.scrub(folder)
    if (settings.spool_dir / NAME).exists():
        with Spool.open(settings.spool_dir) as spool:
            spool.scrub()


def _remove_media(settings: Settings, plan: Plan) -> int:
    # What was fetched since the erasure began is known by its name: that is the hash.
    hashes = [f"{plan.calls.center_id}/{one.text}" for one in plan.traces if one.name == "version_hash"]
    return remove_media(settings.media_dir, [*plan.calls.media_paths, *hashes])


def _prove(settings: Settings, plan: Plan, counts: dict[str, int]) -> ErasureReport:
    searched = search(
        settings.data_dir,
        [one.text for one in plan.traces],
        leaving_out=[plans_dir(settings.lake_dir)],
    )
    found = {(path, plan.traces[number].name) for path, number in searched.found}
    return ErasureReport(
        plan.erasure_id, plan.calls.center_id, counts, len(plan.traces), searched, tuple(sorted(found))
    )
