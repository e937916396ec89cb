"""Scheduled ingestion: read what changed at each dispatch center since its last run, and land it.

Wraps `tasks.cells.ingest_cell`, one task run per center and resource. Run it here and now with
`dispatchlake ingest`; schedule it with `prefect.yaml`.
"""

from __future__ import annotations

import random
import time
from datetime import date
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from dispatchlake.errors import ConfigError
from dispatchlake.ingest import refuse_both, refuse_future
from dispatchlake.model import ResourceName
from dispatchlake.settings import Days
from tasks.artifacts import CellResult, headline, publish_summary
from tasks.cells import ingest_cell, lake_kept_open, plan_cells
from tasks.policy import final_state
from tasks.status import report_status

LONGEST_SPREAD_S = 240.0
"""Longest random pause before a run; it counts as running, so it must fit between two runs."""

CELLS_AT_ONCE = 8
"""Cells under way in one run. A center's own limit is its rate budget, kept across runs and processes."""


@flow(
    name="ingest",
    task_runner=ThreadPoolTaskRunner(max_workers=CELLS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's are narrow
)
def ingest(
    centers: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default and copies it per run
    resources: list[ResourceName] = [],  # noqa: B006 - the same
    since: date | None = None,
    lookback_days: Days = 0,
    spread_s: Annotated[float, Field(ge=0, le=LONGEST_SPREAD_S)] = 0,
) -> State[Any]:
    """Land what each dispatch center changed since its last run; one failing center never stops another.

    Args:
        centers: Ids of the dispatch centers to read; empty means every enabled one.
        resources: Which listings to read; empty means all that the scopes allow.
        since: Read what changed since this day (UTC) instead of since the last run.
        lookback_days: Read again this many days before where the last run ended, to find what a source
            changed without saying so; 0 means the setting (an hour).
        spread_s: Begin after a random pause of up to this many seconds, so that a schedule does not call
            every center on the very minute. A run you start yourself needs none.
    """
    try:
        refuse_future(since)
        refuse_both(since, lookback_days)
        cells = plan_cells(centers, list(resources))
    except ConfigError as error:
        return Failed(message=str(error), data=error)
    time.sleep(random.uniform(0, spread_s))  # noqa: S311 - no secret
    with lake_kept_open():
        futures = [ingest_cell.submit(cell.center_id, cell.resource, since, lookback_days) for cell in cells]
        wait(futures)
        results = [CellResult.of(cell, future.state) for cell, future in zip(cells, futures, strict=True)]
        publish_summary(results)
        report_status()
    return final_state(results, headline(results))
