"""One cell from login to committed rows: where `api` and `lake`, which do not know each other, meet."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import partial

from dispatchlake.api import CenterClient, Patience
from dispatchlake.errors import Cancelled, ConfigError, DispatchLakeError
from dispatchlake.lake import Cell, CenterFacts, ColumnDecoder, Failure, Lake, LoadSummary, open_lake
from dispatchlake.model import DispatchCenter
from dispatchlake.reading_slots import reading_slot
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
    lookback: timedelta | None = None,
) -> LoadSummary:
    """Read one center's resource from its watermark (or the day `since`, UTC) to now, and land it.

    `lookback` is the overlap re-read before the watermark; None means the setting. Stopping anywhere and
    running again gives the same lake. A failure is recorded in `coverage` and raised.

    Raises:
        CenterError: The center could not be read; nothing but archived pages was written.
        LakeError: The lake could not take it.
    """
    # No upper bound: what changes while it is read would leave the list, and pull others over a page's edge.
    resource = center.resource(resource_name).model_copy(update={"until_param": None})
    with open_lake(settings) as lake:
        watermark = lake.watermark(center.center_id, resource_name)

        def cell_until_now() -> Cell:
            window = _window(watermark, since, settings.lookback if lookback is None else lookback)
            return Cell(center.center_id, resource, window)

        client_of = partial(open_client, center, settings)
        with _reading(lake, center, client_of, cell_until_now, run_id) as client:
            client.log_in(resource)
            with reading_slot() as slot:
                cell = cell_until_now()
                start = cell.window.start
                logger.info("Reading %s", "everything" if start is None else f"since {start:%F %T} UTC")
                pages = slot.until_read(client.iter_pages(resource, cell.window))
                return lake.load(pages, cell=cell, run_id=run_id, logins=lambda: client.logins)


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
    with open_lake(settings) as lake:
        stop = stop or Stop()
        cell = _backfill_cell(center, resource_name, windows)
        client_of = partial(open_client, center, settings, is_backfill=True, sleep=stop.sleep)
        with _reading(lake, center, client_of, lambda: cell, run_id) as client:
            pages = stop.heeded(client.iter_pages(cell.resource, cell.window))
            return lake.load(pages, cell=cell, run_id=run_id, logins=lambda: client.logins)


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
    cell = _backfill_cell(center, resource_name, windows)
    with open_lake(settings) as lake:
        lake.record_failure(cell, Failure(error), run_id=run_id, started_at=datetime.now(UTC))


def _backfill_cell(center: DispatchCenter, resource_name: str, windows: Sequence[Window]) -> Cell:
    span = Window(windows[0].start, windows[-1].end)
    return Cell(center.center_id, center.resource(resource_name), span, "backfill", tuple(windows))


@contextlib.contextmanager
def _reading(
    lake: Lake,
    center: DispatchCenter,
    client_of: Callable[[], CenterClient],
    cell_of: Callable[[], Cell],
    run_id: str,
) -> Iterator[CenterClient]:
    """Yield a client of the center; a failure is recorded in the lake, as one of that cell, and raised."""
    started_at = datetime.now(UTC)
    client = None
    try:
        lake.remember_centers([CenterFacts(center.center_id, center.name, center.time_zone)])
        with client_of() as client:
            yield client
    except Cancelled:
        raise
    except Exception as error:
        failure = Failure(describe(error), type(error).__name__, client.logins if client else 0)
        try:
            lake.record_failure(cell_of(), failure, run_id=run_id, started_at=started_at)
        except DispatchLakeError as second:  # the failure itself is still what is raised
            logger.warning("The failure could not be recorded in the lake: %s", second)
        raise


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
        center,
        state_dir=settings.state_dir,
        patience=patience,
        is_backfill=is_backfill,
        sleep=sleep,
        decode=ColumnDecoder(),
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


def refuse_both(since: date | None, lookback_days: float) -> None:
    """Raise ConfigError where two starts are asked for at once."""
    if since is not None and lookback_days:
        raise ConfigError(
            "since and lookback_days both say where reading starts. Give one: a day, or how many days before "
            "each center's watermark."
        )


def _window(watermark: datetime | None, since: date | None, lookback: timedelta) -> Window:
    now = datetime.now(UTC)
    if since is not None:
        return Window(datetime.combine(since, time_of_day(), UTC), now)
    return next_window(watermark, lookback=lookback, now=now)
