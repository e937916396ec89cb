"""One cell from login to committed rows: where `api` and `lake`, which do not know each other, meet."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time, timedelta

from dispatchlake.api import CenterClient, Patience
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.lake import Cell, Lake, LoadSummary, open_lake
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
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
    resource = center.resource(resource_name)
    started_at = datetime.now(UTC)
    with open_lake(settings) as lake:
        watermark = lake.watermark(center.center_id, resource_name)
        window = _window(watermark, since, settings.lookback if lookback is None else lookback)
        cell = Cell(center.center_id, resource, window)
        logger.info("Reading %s", "everything" if window.start is None else f"since {window.start:%F %T} UTC")
        try:
            with open_client(center, settings) as client:
                return lake.load(client.iter_pages(resource, window), cell=cell, run_id=run_id)
        except Exception as error:
            _record_failure(lake, cell, error, run_id=run_id, started_at=started_at)
            raise


def _record_failure(lake: Lake, cell: Cell, error: Exception, *, run_id: str, started_at: datetime) -> None:
    """Record a failure in the lake; if even that fails, the failure itself is still what is raised."""
    try:
        lake.record_failure(cell, run_id=run_id, started_at=started_at, error=describe(error))
    except DispatchLakeError as second:
        logger.warning("The failure could not be recorded in the lake: %s", second)


def open_client(center: DispatchCenter, settings: Settings) -> CenterClient:
    """Return a client of the center, as patient as these settings say."""
    patience = Patience(settings.timeout_s, settings.page_timeout_s, settings.retry_budget_s)
    return CenterClient(center, state_dir=settings.state_dir, patience=patience)


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
        return Window(datetime.combine(since, time(), UTC), now)
    return next_window(watermark, lookback=lookback, now=now)
