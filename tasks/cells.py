"""One cell of work, center x resource, as a Prefect task: opens the client and the lake, lands the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.api import CenterClient
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.lake import Cell, Lake, LoadSummary
from dispatchlake.settings import Settings, load_settings
from dispatchlake.windows import Window, next_window
from tasks.centers import load_blocks, load_center, no_centers, unknown_centers
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
    if not blocks:
        raise no_centers()
    if unknown := sorted(set(centers) - set(blocks)):
        raise unknown_centers(unknown, list(blocks))
    cells: list[CellName] = []
    for center_id, block in blocks.items():
        if center_id in centers or (not centers and block.enabled):
            allowed = block.resource_names()
            cells += [CellName(center_id, name) for name in allowed if not resources or name in resources]
    if not cells:
        raise ConfigError(
            "There is nothing to read: no enabled dispatch center has credentials for what was asked. "
            "See `dispatchlake centers list`."
        )
    return cells


@task(
    task_run_name="{center_id} {resource}",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=worth_retrying,
)
def ingest_cell(center_id: str, resource: str, since: date | None = None) -> State[Any]:
    """Read one center's resource from its watermark (or the day `since`, UTC) to now, and land it.

    Returns:
        Completed with a `LoadSummary`, or Failed with the error as its data and its sentence as message:
        a known failure is a result to report, and not a traceback.
    """
    redaction.install()
    logger = get_run_logger()
    settings = load_settings()
    run_id = str(flow_run.id)
    try:
        with Lake.open(
            settings.lake_dir, memory_limit_mb=settings.memory_limit_mb, lock_wait_s=settings.lock_wait_s
        ) as lake:
            window = _window(lake.watermark(center_id, resource), since, settings)
            center = load_center(center_id)
            cell = Cell(center_id, center.resource(resource), window)
            logger.info("Reading %s", "everything" if window.start is None else f"from {window.start:%F %T}Z")
            try:
                with CenterClient(
                    center,
                    state_dir=settings.state_dir,
                    retry_budget_s=settings.retry_budget_s,
                    timeout_s=settings.timeout_s,
                ) as client:
                    summary = lake.load(client.iter_pages(cell.resource, window), cell=cell, run_id=run_id)
            except Exception as error:
                lake.record_failure(cell, run_id=run_id, error=describe(error))
                raise
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("Landed %s", outcome(summary))
    return Completed(message=outcome(summary), data=summary)


def refuse_future(since: date | None) -> None:
    """Raise ConfigError for a day that has not begun: there is nothing to read since then."""
    if since is not None and since > datetime.now(UTC).date():
        raise ConfigError(
            f"Nothing can be read since {since}: that day has not begun. Give a day in the past."
        )


def _window(watermark: datetime | None, since: date | None, settings: Settings) -> Window:
    now = datetime.now(UTC)
    if since is not None:
        return Window(datetime.combine(since, time(), UTC), now)
    return next_window(watermark, lookback=settings.lookback, now=now)


def describe(error: BaseException) -> str:
    """Return what may be stored and shown of an error: our own sentences, of others only their kind."""
    if isinstance(error, DispatchLakeError):
        return str(error)
    return f"Unexpected {type(error).__name__}; see the log of the run."


def outcome(summary: LoadSummary) -> str:
    """Return one line on what a load did, numbers only."""
    parts = [f"{summary.records:,} records in {summary.pages:,} pages", f"{summary.new:,} new"]
    parts.append(f"{summary.changed:,} changed")
    if summary.quarantined:
        parts.append(f"{summary.quarantined:,} quarantined")
    return ", ".join(parts)
