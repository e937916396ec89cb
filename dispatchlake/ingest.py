"""One cell from login to committed rows: where `api` and `lake`, which do not know each other, meet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day

from dispatchlake.api import CenterClient, Patience
from dispatchlake.errors import Cancelled, ConfigError, DispatchLakeError
from dispatchlake.lake import Cell, Lake, LoadSummary, open_lake
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from dispatchlake.stop import Stop
from dispatchlake.windows import Window, next_window

logger = logging.getLogger(__name__)


def ingest_cell(
    center: DispatchCenter,
    resource_name: str,
    *,
    settings: Settings,
    run_id: str,
    since: date | None = None,
) -> LoadSummary:
    """Read one center's resource from its watermark (or the day `since`, UTC) to now, and land it.

    Stopping anywhere and running again gives the same lake. A failure is recorded in `coverage` and raised.

    Raises:
        CenterError: The center could not be read; nothing but archived pages was written.
        LakeError: The lake could not take it.
    """
    resource = center.resource(resource_name)
    started_at = datetime.now(UTC)
    with open_lake(settings) as lake:
        window = _window(lake.watermark(center.center_id, resource_name), since, settings)
        cell = Cell(center.center_id, resource, window)
        logger.info("Reading %s", "everything" if window.start is None else f"since {window.start:%F %T} UTC")
        try:
            with open_client(center, settings) as client:
                return lake.load(client.iter_pages(resource, window), cell=cell, run_id=run_id)
        except Exception as error:
            _record_failure(lake, cell, error, run_id=run_id, started_at=started_at)
            raise


def backfill_windows(
    center: DispatchCenter,
    resource_name: str,
    windows: Sequence[Window],
    *,
    settings: Settings,
    run_id: str,
    stop: Stop | None = None,
) -> LoadSummary:
    """Read some windows of one center's resource at once, and land them in one commit.

    The watermark stays. Live ingestion keeps its part of the center's rate budget. A failure is recorded in
    `coverage` for every window and raised; being asked to stop is no failure, and leaves the lake as it was.

    Args:
        center: Whom to read.
        resource_name: Which listing.
        windows: Oldest first; what lies between them is read too, and covered by none.
        settings: Where the lake is, and how patient we are.
        run_id: Kept with all that is written.
        stop: Asked between pages, and ends every wait of ours.

    Raises:
        Cancelled: It was asked to stop.
        CenterError: The center could not be read; nothing but archived pages was written.
        LakeError: The lake could not take it.
    """
    stop = stop or Stop()
    started_at = datetime.now(UTC)
    span = Window(windows[0].start, windows[-1].end)
    cell = Cell(center.center_id, center.resource(resource_name), span, kind="backfill")
    with open_lake(settings) as lake:
        try:
            with open_client(center, settings, is_backfill=True, sleep=stop.sleep) as client:
                pages = stop.heeded(client.iter_pages(cell.resource, span))
                return lake.load(pages, cell=cell, run_id=run_id, windows=windows)
        except Cancelled:
            raise
        except Exception as error:
            _record_failure(lake, cell, error, run_id=run_id, started_at=started_at, windows=windows)
            raise


def record_untried(
    center: DispatchCenter,
    resource_name: str,
    windows: Sequence[Window],
    *,
    settings: Settings,
    run_id: str,
    error: str,
) -> None:
    """Record windows of a backfill as failed that were not even tried, and why.

    Raises:
        LakeError: The lake could not take it.
    """
    span = Window(windows[0].start, windows[-1].end)
    cell = Cell(center.center_id, center.resource(resource_name), span, kind="backfill")
    with open_lake(settings) as lake:
        lake.record_failure(cell, run_id=run_id, started_at=datetime.now(UTC), error=error, windows=windows)


def _record_failure(
    lake: Lake,
    cell: Cell,
    error: Exception,
    *,
    run_id: str,
    started_at: datetime,
    windows: Sequence[Window] = (),
) -> None:
    """Record a failure in the lake; if even that fails, the failure itself is still what is raised."""
    try:
        lake.record_failure(
            cell, run_id=run_id, started_at=started_at, error=describe(error), windows=windows
        )
    except DispatchLakeError as second:
        logger.warning("The failure could not be recorded in the lake: %s", second)


def open_client(
    center: DispatchCenter,
    settings: Settings,
    *,
    is_backfill: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> CenterClient:
    """Return a client of the center, as patient as these settings say."""
    patience = Patience(settings.timeout_s, settings.page_timeout_s, settings.retry_budget_s)
    return CenterClient(
        center, state_dir=settings.state_dir, patience=patience, is_backfill=is_backfill, sleep=sleep
    )


def describe(error: BaseException) -> str:
    """Return what may be stored and shown of an error: our own sentences, of others only their kind."""
    if isinstance(error, DispatchLakeError):
        return str(error)
    return f"Unexpected {type(error).__name__}; the log of the run has more."


def refuse_future(since: date | None) -> None:
    """Raise ConfigError for a day that has not begun: there is nothing to read since then."""
    if since is not None and since > datetime.now(UTC).date():
        raise ConfigError(
            f"Nothing can be read since {since}: that day has not begun. Give a day in the past."
        )


def _window(watermark: datetime | None, since: date | None, settings: Settings) -> Window:
    now = datetime.now(UTC)
    if since is not None:
        return Window(datetime.combine(since, time_of_day(), UTC), now)
    return next_window(watermark, lookback=settings.lookback, now=now)
