"""What is kept for longer than the rules say, removed: from the lake, what is derived from it, media, spool.

Shares its steps with `erasure`, but goes by age and not by name, and proves nothing byte by byte: it runs
every night over all centers. Stopped anywhere and run again it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import orjson

from dispatchlake.erasure import lakes, scrub
from dispatchlake.errors import CatalogBusy, LakeError
from dispatchlake.ingest import describe
from dispatchlake.lake import Lake, erasing, ledger, open_existing_lake, open_lake, retention, retention_rules
from dispatchlake.lake.calls import remove_rows, tables_of_calls
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.erasure_plan import plans_dir
from dispatchlake.lake.lake import Outdated
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.replay import Resources
from dispatchlake.lake.retention_rules import Due, RetentionClass, Rule
from dispatchlake.landing import land_deliveries
from dispatchlake.media_folder import find_media, remove_media
from dispatchlake.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Transact = Callable[[Callable[[], Any]], Any]

_UNDER_WAY = "retention"
"""Name of the file, beside the plans of erasures, that is there while a run is not done."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What one class of one center lost: counts only, safe to show anywhere.

    Attributes:
        cutoff: What is older was due.
        counts: Rows by table, pages redacted as `raw_pages`, files removed as `media files`.
    """

    center_id: str
    of: RetentionClass
    cutoff: datetime
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What one run removed, or, of a dry run, would remove."""

    removals: tuple[Removal, ...]
    is_dry_run: bool = False

    def headline(self) -> str:
        """Return it in one sentence."""
        if not self.removals:
            return "There is no rule of retention: everything is kept"
        total = sum(sum(one.counts.values()) for one in self.removals)
        verb = "are due" if self.is_dry_run else "were removed"
        centers = len({one.center_id for one in self.removals})
        return f"{total:,} rows, pages and files {verb} of {centers} centers"


def run(
    settings: Settings,
    *,
    dry_run: bool = False,
    resources: Resources | None = None,
    now: datetime | None = None,
) -> RetentionReport:
    """Remove what is older than the rules say; nothing where there is no rule.

    Args:
        settings: Where all lies.
        dry_run: Count the rows and files that are due, and change nothing; pages are not gone through.
        resources: Listings that a center has configured; any other is as declared.
        now: Instead of the clock.

    Raises:
        ConfigError: There is no lake yet.
        CatalogBusy: A reader keeps the catalog's log from being emptied; the next run does it.
        LakeError: The lake could not be written, or not all of a center be removed; of the others it was.
        SpoolError: What waits in the spool could not be landed.
    """
    if not catalog_path(settings.lake_dir).exists():
        raise no_lake(settings.lake_dir)
    moment = now or datetime.now(UTC)
    if not dry_run:
        land_deliveries(settings)  # what waits has no age until it is in the archive
    with lakes(settings) as (lake, derived):
        with lake.session() as connection:
            due = retention_rules.find_due(connection, retention_rules.read_rules(connection), moment)
        if dry_run:
            return RetentionReport(
                tuple(one for each in due for one in _count(settings, lake, each)), is_dry_run=True
            )
        under_way = plans_dir(settings.lake_dir) / _UNDER_WAY
        if not due and not under_way.exists():
            return RetentionReport(())
        was_stopped = under_way.exists()
        plans_dir(settings.lake_dir).mkdir(mode=0o700, exist_ok=True)
        ledger.write_private(under_way, orjson.dumps(moment.isoformat()))
        removals, failed = _apply_all(settings, (lake, derived), due, resources or {}, moment)
        if was_stopped or any(one.counts for one in removals):
            for one in (lake, *derived):
                erasing.clear(one)
    scrub(settings)
    if failed:
        raise _some_failed(failed, len(due)) from next(iter(failed.values()))
    under_way.unlink(missing_ok=True)
    report = RetentionReport(tuple(removals))
    logger.info("%s.", report.headline())
    return report


def centers(settings: Settings) -> list[str]:
    """Return the centers that a rule is about; none where there is no lake."""
    if not catalog_path(settings.lake_dir).exists():
        return []
    with open_lake(settings) as lake, lake.session() as connection:
        rules = retention_rules.read_rules(connection)
        return [one.center_id for one in retention_rules.find_due(connection, rules, datetime.now(UTC))]


def read_rules(settings: Settings) -> list[Rule]:
    """Return the rules of retention, by center and class."""
    with open_existing_lake(settings) as lake, lake.session() as connection:
        return retention_rules.read_rules(connection)


def set_rule(settings: Settings, rule: Rule) -> None:
    """Set a rule; from the next run on what is older goes, for good."""
    with open_lake(settings) as lake, lake.session() as connection:
        lake.transact(partial(retention_rules.set_rule, connection, rule))


def unset_rule(settings: Settings, center_id: str, of: RetentionClass) -> None:
    """Remove a rule. What is gone is gone; what was created before the last cut-off is not taken again."""
    with open_existing_lake(settings) as lake, lake.session() as connection:
        lake.transact(partial(retention_rules.unset_rule, connection, center_id, of))


def _apply_all(
    settings: Settings,
    all_lakes: tuple[Lake, list[Lake]],
    due: Sequence[Due],
    resources: Resources,
    now: datetime,
) -> tuple[list[Removal], dict[str, Exception]]:
    """Remove what is due of each center; return what that was, and of which centers it failed and why."""
    removals: list[Removal] = []
    failed: dict[str, Exception] = {}
    for each in due:
        try:
            removals += _apply(settings, all_lakes, each, resources, now)
        except CatalogBusy:  # for the next one too
            raise
        except Exception as error:  # noqa: BLE001 - of one center, and told once the others are done
            failed[each.center_id] = error
    return removals, failed


def _some_failed(failed: Mapping[str, Exception], centers: int) -> LakeError:
    reasons = " ".join(f"{center_id}: {describe(error)}" for center_id, error in failed.items())
    return LakeError(
        f"What is older than the rules say could not be removed of {len(failed)} of {centers} centers. The "
        f"others are done, and the next run tries again. {reasons}"
    )


def _apply(
    settings: Settings, all_lakes: tuple[Lake, list[Lake]], due: Due, resources: Resources, now: datetime
) -> list[Removal]:
    """Remove what is due of one center; begin anew where a hold came meanwhile, which it must heed."""
    lake, _ = all_lakes
    counts: dict[RetentionClass, Counter[str]] = {of: Counter() for of in due.cutoffs}
    while True:
        with contextlib.suppress(Outdated):
            with lake.held() as connection:
                heeding = retention_rules.with_holds(connection, due)
                mark = retention_rules.enter_cutoff(lake.lake_dir, heeding)
            _remove(settings, all_lakes, heeding, resources, counts, mark)
            with lake.session() as connection:
                # A hold that was let go of meanwhile wants all to be gone through again.
                lake.transact(partial(retention.note_run, connection, heeding, counts, now), erased=mark)
            break
    return [
        Removal(due.center_id, of, cutoff, {name: count for name, count in counts[of].items() if count})
        for of, cutoff in due.cutoffs.items()
    ]


def _remove(
    settings: Settings,
    all_lakes: tuple[Lake, list[Lake]],
    due: Due,
    resources: Resources,
    counts: dict[RetentionClass, Counter[str]],
    mark: ledger.Mark,
) -> None:
    """Remove what is due: first from the archive, then from tables; add to `counts` what it was.

    Raises:
        Outdated: Something was held, or let go of, since the ledger was as `mark` says.
    """
    lake, derived = all_lakes
    transact = partial(lake.transact, erased=mark)
    with lake.session() as connection:
        run_id = f"retention {uuid.uuid4()}"
        pages = retention.redact(connection, transact, due, resources, run_id=run_id)
        if pages:
            of_pages = next(of for of in ("records", "caller-data", "raw") if of in due.cutoffs)
            counts[of_pages]["raw_pages"] += pages  # type: ignore[index]
        if "media" in due.cutoffs:

            def remove_old() -> int:
                cutoff = due.cutoffs["media"]
                retention.note_removed_media(connection, due, cutoff)
                return remove_media(settings.media_dir, retention.old_media(connection, due, cutoff))

            counts["media"]["media files"] += transact(remove_old)
    for of, removed in _from_tables(lake, due, transact, partial(remove_media, settings.media_dir)).items():
        counts[of].update(removed)
    for one in derived:
        heeding = partial(_transact_derived, lake, mark, one)
        for of, removed in _from_tables(one, due, heeding, lambda _paths: 0).items():
            counts[of].update({f"open {name}": count for name, count in removed.items()})


def _transact_derived(lake: Lake, mark: ledger.Mark, derived: Lake, write: Callable[[], T]) -> T:
    """Run `write` in one transaction of a derived lake, if nothing was held or let go of meanwhile.

    Under that lake's lock alone: a publication may hold it for minutes, and loads do not wait for it.
    """

    def heeding() -> T:
        result = write()
        lake.refuse_outdated(mark)
        return result

    return derived.transact(heeding)


def _from_tables(
    lake: Lake, due: Due, transact: _Transact, unlink: Callable[[Iterable[str]], int]
) -> dict[RetentionClass, dict[str, int]]:
    removed: dict[RetentionClass, dict[str, int]] = {}
    with lake.session() as connection:
        names = tables_of_calls(connection)

        def unlinked(find: Callable[[], list[str]]) -> dict[str, int]:
            # Nobody can hold them between this and the commit; stopped there, the next run has both again.
            files = unlink(find()) if "media_files" in names else 0
            return {"media files": files} if files else {}

        def delete() -> dict[str, int]:
            retention.doom_old(connection, due, due.cutoffs["records"])
            files = unlinked(partial(retention.doomed_media, connection, due.center_id))
            return remove_rows(connection, due.center_id) | files

        def null() -> dict[str, int]:
            retention.doom_old(connection, due, due.cutoffs["caller-data"])
            return retention.null_personal(connection, due.center_id)

        def delete_loose(cutoff: datetime) -> dict[str, int]:
            files = unlinked(partial(retention.loose_media, connection, due, cutoff))
            return retention.remove_loose(connection, due, cutoff) | files

        if "records" in due.cutoffs:
            removed["records"] = transact(delete)
        if "caller-data" in due.cutoffs:
            removed["caller-data"] = transact(null)
        cutoff = due.records_cutoff
        if cutoff is not None and "media" in names:
            loose = transact(partial(delete_loose, cutoff))
            of: RetentionClass = "caller-data" if "caller-data" in due.cutoffs else "records"
            removed[of] = dict(Counter(removed[of]) + Counter(loose))
    return removed


def _count(settings: Settings, lake: Lake, due: Due) -> list[Removal]:
    """Return what is due of one center, without a change."""
    removals = []
    with lake.session() as connection:
        for of, cutoff in due.cutoffs.items():
            counts: dict[str, int] = {}
            if of == "media":
                names = retention.old_media(connection, due, cutoff)
                counts["media files"] = len(find_media(settings.media_dir, names))
            elif of == "raw":
                counts["raw_pages"] = retention.count_pages(connection, due, cutoff)
            else:
                retention.doom_old(connection, due, cutoff)
                counts = retention.count_rows(connection, due.center_id)
            removals.append(
                Removal(due.center_id, of, cutoff, {name: count for name, count in counts.items() if count})
            )
    return removals
