"""`dispatchlake ingest`: the scheduled run, here and now."""

from __future__ import annotations

import sys
from typing import Literal

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.progress import ingest_with_progress
from dispatchlake.settings import load_settings


def ingest(
    *centers: str,
    resource: list[Literal["incident_events", "cad_incidents"]] | None = None,
) -> None:
    """Read what changed at each dispatch center since the last run, and land it.

    Exit status 1 if any center failed; what the others brought is landed all the same.

    Args:
        centers: Ids of the centers to read; every enabled one if none is given.
        resource: Listing to read; give it twice for both; all that the scopes allow if not given.
    """
    with prefect_api(load_settings()):
        results = ingest_with_progress(list(centers), list(resource or []))
    if any(result.error for result in results):
        sys.exit(1)


