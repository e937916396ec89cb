"""Backfill: read a span of days of the past, cell by cell, and skip what is complete already.

Wraps `tasks.backfills.read_windows`, one task run per reading. Start it from the UI under the deployment
`backfill`, or here and now with `dispatchlake backfill`. How it is used: docs/backfill.md.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from dispatchlake.backfill import DaysAre, Mode, Request
from dispatchlake.backfill.days import span_label
from dispatchlake.backfill.grid import Grid
from dispatchlake.errors import DispatchLakeError
from dispatchlake.model import ResourceName
from dispatchlake.reading_slots import READINGS_AT_ONCE
from tasks.backfill_board import Board, dry_run_headline, headline, publish_plan, publish_summary
from tasks.backfill_run import BackfillRun
from tasks.backfills import plan_run
from tasks.cells import lake_kept_open
from tasks.policy import final_state
from tasks.publishing import publish_what_changed
from tasks.recovery import hold_run


def run_name() -> str:
    """Return what a run is called in the UI: which centers and days it reads."""
    parameters = flow_run.parameters or {}
    parts = [
        *(["dry run"] if parameters.get("dry_run") else []),
        span_label(parameters["first_day"], parameters["last_day"]),
        ", ".join(parameters.get("centers") or []) or "all centers",
        *(parameters.get("resources") or []),
    ]
    return f"backfill {' '.join(parts)}"  # what tells runs apart comes first: the UI cuts long names off


@flow(
    name="backfill",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=READINGS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's are narrow
    on_running=[hold_run],
)
def backfill(  # noqa: PLR0913 - a form has as many fields as a person needs
    *,
    centers: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default and copies it per run
    resources: list[ResourceName] = [],  # noqa: B006 - the same
    first_day: date,
    last_day: date,
    days_are: DaysAre = "center local time",
    slice_days: Annotated[int, Field(ge=1, le=366)] = 1,
    mode: Mode = "missing and failed",
    dry_run: bool = False,
    confirm_cells: Annotated[int, Field(ge=0)] = 0,
) -> State[Any]:
    """Read days of the past, and skip what is complete; live ingestion and its watermarks are not touched.

    Args:
        centers: Ids of the dispatch centers to read, such as houston-tx. None means every enabled one.
        resources: Listings to read. None means all that a center's credentials open.
        first_day: First day to read, included.
        last_day: Last day to read, included. Today is read up to now; a later day is refused.
        days_are: Where days begin and end: at midnight in each center's time zone (then a day may have 23 or
            25 hours), or at midnight UTC. A record belongs to the day on which it was last changed.
        slice_days: Days in one cell of the grid: what is read, shown, skipped and tried again as one. 1 suits
            most; 7 or 30 for years of a quiet center.
        mode: Which cells to read. "missing": never read before. "missing and failed": also those that failed.
            "everything again": also those that are complete; nothing is doubled.
        dry_run: Only show the grid and how much would be read; no center is called.
        confirm_cells: Only for more than 1,000 cells: their number, to confirm it. Else leave it at 0: if it
            is needed, the run refuses at once and names the number.
    """
    request = Request(first_day, last_day, days_are, slice_days, mode, confirm_cells)
    try:
        plan = plan_run(request, centers, list(resources))
    except DispatchLakeError as error:
        return Failed(message=str(error), data=error)
    if dry_run:
        publish_plan(plan, dry_run_headline(plan))
        return Completed(message=dry_run_headline(plan), data=[])
    grid = Grid(plan)
    board = Board(grid)
    with lake_kept_open():
        results = BackfillRun(plan, grid, board).read_all()
        trouble, _open_zone = publish_what_changed()
    board.ended(grid)
    message = headline(grid, results)
    publish_summary(request, results, message)
    return final_state(results, message, trouble=trouble)
