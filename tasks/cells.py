"""One cell of work, center x resource, as a Prefect task: a thin wrapper of `dispatchlake.ingest`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from dispatchlake import ingest, redaction
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.lake import CenterFacts, LoadSummary, open_lake
from dispatchlake.lake.lake import existing_zones
from dispatchlake.pauses import Failing
from dispatchlake.settings import load_settings
from tasks.centers import choose_centers, load_blocks, load_center, recent_blocks
from tasks.policy import RETRY_DELAYS_S, worth_retrying


@dataclass(frozen=True, slots=True)
class CellName:
    """Which cell: a dispatch center and one of its resources."""

    center_id: str
    resource: str


def plan_cells(centers: list[str], resources: list[str]) -> list[CellName]:
    """Return the cells to read: each enabled center, each resource its scopes allow.

    Args:
        centers: Center ids; empty means every enabled one. A center named here is read even if disabled.
        resources: Resource names; empty means all.

    Raises:
        ConfigError: No center is registered, one named here is not, or nothing is left to read: a run
            that would land nothing must not end green.
    """
    blocks = load_blocks()
    cells: list[CellName] = []
    for center_id in choose_centers(centers, blocks):
        block = blocks[center_id]
        if centers or block.enabled:
            allowed = block.resource_names()
            cells += [CellName(center_id, name) for name in allowed if not resources or name in resources]
    if not cells:
        raise ConfigError(
            "There is nothing to read: no enabled dispatch center has credentials for what was asked. "
            "See `dispatchlake centers list`."
        )
    return cells


def read_failing() -> dict[CellName, Failing]:
    """Return the cells whose last readings failed; none where the lake cannot say: each cell will."""
    try:
        with open_lake(load_settings()) as lake:
            return {CellName(one.center_id, one.resource): one for one in lake.failing()}
    except DispatchLakeError:
        return {}


def remember_centers() -> None:
    """Note every registered center's name and time zone in the lake, be it read or only delivered for.

    Where the lake cannot take it, each cell will meet the same, and its result says so.
    """
    facts = [
        CenterFacts(center_id, block.display_name, block.time_zone)
        for center_id, block in recent_blocks().items()
    ]
    with contextlib.suppress(DispatchLakeError), open_lake(load_settings()) as lake:
        lake.remember_centers(facts)


@contextlib.contextmanager
def lake_kept_open() -> Iterator[None]:
    """Keep this process's DuckDBs until all is published: opening one takes longer than a quiet cell.

    The open zone is opened beside the first cells. Where a zone cannot be, whoever needs it meets the same,
    and its result says so.
    """
    settings = load_settings()
    with contextlib.ExitStack() as kept, ThreadPoolExecutor(1) as beside:
        with contextlib.suppress(DispatchLakeError):
            kept.enter_context(open_lake(settings))
        opening = beside.submit(open_lake, settings, "open") if "open" in existing_zones(settings) else None
        try:
            yield
        finally:
            if opening is not None:
                with contextlib.suppress(DispatchLakeError):
                    opening.result().close()


@task(
    task_run_name="{center_id} {resource}",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=worth_retrying,
)
def ingest_cell(
    center_id: str, resource: str, since: date | None = None, lookback_days: float = 0
) -> State[Any]:
    """Land one center's resource; a lookback of 0 days means the setting.

    Returns:
        Completed with a `LoadSummary`, or Failed with the error as its data and its sentence as message:
        a known failure is a result to report, and not a traceback.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        summary = ingest.ingest_cell(
            load_center(center_id),
            resource,
            settings=load_settings(),
            run_id=str(flow_run.id),
            since=since,
            lookback=timedelta(days=lookback_days) if lookback_days else None,
        )
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("Landed %s", outcome(summary))
    return Completed(message=outcome(summary), data=summary)


def outcome(summary: LoadSummary) -> str:
    """Return one line on what a load did, numbers only."""
    parts = [f"{summary.records:,} records in {summary.pages:,} pages", f"{summary.new:,} new"]
    parts.append(f"{summary.changed:,} changed")
    if summary.quarantined:
        parts.append(f"{summary.quarantined:,} quarantined")
    return ", ".join(parts)
