"""Scheduled ingestion: read what changed at each dispatch center since its last run, and land it.

Lands the webhook deliveries that wait, then wraps `tasks.cells.ingest_cell`, one task run per center and
resource, and publishes the open zone. Run it here and now with `dispatchlake ingest`; schedule it with
`prefect.yaml`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Annotated, Any

from prefect import Task, flow
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from dispatchlake.errors import ConfigError
from dispatchlake.ingest import refuse_both, refuse_future
from dispatchlake.model import ResourceName
from dispatchlake.reading_slots import CELLS_AT_ONCE
from dispatchlake.settings import Days
from tasks.artifacts import CellResult, headline, publish_summary, summary_table
from tasks.cells import CellName, ingest_cell, lake_kept_open, plan_cells, read_failing, remember_centers
from tasks.deliveries import land_waiting
from tasks.policy import SCHEDULED_RETRY_DELAYS_S, final_state
from tasks.publishing import publish_what_changed
from tasks.quality import check_what_came
from tasks.recovery import hold_run
from tasks.status import report_status

LONGEST_SPREAD_S = 240.0
"""Longest random pause before a run; it counts as running, so it must fit between two runs."""


@flow(
    name="ingest",
    on_running=[hold_run],
    task_runner=ThreadPoolTaskRunner(max_workers=CELLS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's are narrow
)
def ingest(
    centers: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default and copies it per run
    resources: list[ResourceName] = [],  # noqa: B006 - the same
    since: date | None = None,
    lookback_days: Days = 0,
    spread_s: Annotated[float, Field(ge=0, le=LONGEST_SPREAD_S)] = 0,
    rest_failing: bool = False,
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
        rest_failing: Leave alone for a while what failed several times in a row, up to half an hour.
            Schedules do; a run of your own should not.
    """
    try:
        refuse_future(since)
        refuse_both(since, lookback_days)
        time.sleep(random.uniform(0, spread_s))  # noqa: S311 - no secret
        cells = plan_cells(centers, list(resources))
    except ConfigError as error:
        return Failed(message=str(error), data=error)
    with lake_kept_open():
        remember_centers()
        land_waiting()
        failing = read_failing() if rest_failing else {}
        resting = {cell: one for cell, one in failing.items() if one.is_resting(datetime.now(UTC))}
        futures = {
            cell: _task(cell, rest_failing, failing).submit(
                cell.center_id, cell.resource, since, lookback_days
            )
            for cell in cells
            if cell not in resting
        }
        wait(list(futures.values()))
        results = [
            CellResult.of(cell, futures[cell].state)
            if cell in futures
            else CellResult.resting(cell, resting[cell])
            for cell in cells
        ]
        sentence = headline(results)
        publish_summary(summary_table(results), sentence)
        trouble, open_zone = publish_what_changed()
        report_status(check_what_came(result.summary for result in results), open_zone)
    return final_state(results, sentence, trouble=trouble)


def _task(cell: CellName, is_scheduled: bool, failing: Collection[CellName]) -> Task[..., Any]:
    """Return the task that reads a cell: the next run of a schedule is a retry too, and comes soon."""
    if not is_scheduled:
        return ingest_cell
    delays_s = [] if cell in failing else SCHEDULED_RETRY_DELAYS_S
    return ingest_cell.with_options(retries=len(delays_s), retry_delay_seconds=delays_s)
