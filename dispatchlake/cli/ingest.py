"""`dispatchlake ingest`: the scheduled run, here and now."""

from __future__ import annotations

import sys
from datetime import date

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.progress import ingest_with_progress
from dispatchlake.errors import ConfigError
from dispatchlake.model import ResourceName
from dispatchlake.settings import load_settings


def ingest(
    *centers: str,
    resource: list[ResourceName] | None = None,
    since: str | None = None,
) -> None:
    """Read what changed at each dispatch center since the last run, and land it.

    Exit status 1 if any center failed; what the others brought is landed all the same.

    Args:
        centers: Ids of the centers to read; every enabled one if none is given.
        resource: Listing to read; give it twice for both; all that the scopes allow if not given.
        since: Read what changed since this day (YYYY-MM-DD, UTC) instead of since the last run.
    """
    day = None if since is None else parse_day(since)
    with prefect_api(load_settings()):
        results = ingest_with_progress(list(centers), list(resource or []), since=day)
    if any(result.error for result in results):
        sys.exit(1)


def parse_day(text: str) -> date:
    """Return the day that a person wrote.

    Raises:
        ConfigError: It is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text} is not a day of the calendar. Write it as YYYY-MM-DD, such as 2024-02-29."
        ) from None
