"""`dispatchlake backfill`: days of the past, here and now, by the same flow as from the UI."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators
from rich.markup import escape

from dispatchlake.cli.ingest import parse_day
from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.progress import cell_messages
from dispatchlake.cli.terminal import console, errors, table, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.model import ResourceName
from dispatchlake.settings import load_settings

CommandMode = Literal["missing", "missing-and-failed", "everything-again"]


def backfill(  # noqa: PLR0913 - as many as the form has fields
    *centers: str,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    resource: list[ResourceName] | None = None,
    utc: bool = False,
    slice_days: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=366))] = 1,
    mode: CommandMode = "missing-and-failed",
    dry_run: bool = False,
    confirm_cells: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
) -> None:
    """Read days of the past, cell by cell; what is complete already is skipped.

    Stop it with Ctrl-C, and start it again to go on. Exit status 1 if any cell failed; what the others
    brought is landed all the same.

    Args:
        centers: Ids of the centers to read; every enabled one if none is given.
        from_: First day to read, included (YYYY-MM-DD).
        to: Last day to read, included; today is read up to now.
        resource: Listing to read; give it twice for both; all that the scopes allow if not given.
        utc: Days begin and end at midnight UTC, and not at midnight where the center is.
        slice_days: Days in one cell.
        mode: Read what was never read; also what failed; or everything again.
        dry_run: Only say how much would be read.
        confirm_cells: The number of cells, to confirm a grid of more than 1,000.
    """
    first_day, last_day = parse_day(from_), parse_day(to)
    with prefect_api(load_settings()):
        is_good = _run(
            centers=list(centers),
            resources=list(resource or []),
            first_day=first_day,
            last_day=last_day,
            days_are="UTC" if utc else "center local time",
            slice_days=slice_days,
            mode=mode.replace("-", " "),
            dry_run=dry_run,
            confirm_cells=confirm_cells,
        )
    if not is_good:
        sys.exit(1)


def _run(**parameters: Any) -> bool:
    """Run the flow in this process; say whether everything landed."""
    # Whoever waits at a terminal would rather be told now than have it tried again in some minutes.
    os.environ.setdefault("DISPATCHLAKE_RETRY_TASKS", "false")
    with waiting("Starting the run ..."):
        from flows.backfill import backfill as flow
    try:
        with cell_messages():
            state = flow(**parameters, return_state=True)
    except KeyboardInterrupt:
        errors.print("Stopped. What was read stays; the same command reads the rest.", soft_wrap=True)
        raise
    outcome: Any = state.result(raise_on_failure=False)
    if isinstance(outcome, Exception):
        raise outcome if isinstance(outcome, ConfigError) else ConfigError(str(state.message)) from outcome
    _show(outcome)
    console.print(f"[bold]{escape(str(state.message))}[/]", soft_wrap=True)
    return bool(state.is_completed())


def _show(results: list[Any]) -> None:
    """Print one row per listing, and under it the sentence of each reading that failed."""
    rows: dict[tuple[str, str], list[int]] = {}
    for result in results:
        counts = rows.setdefault((result.reading.center_id, result.reading.resource), [0] * 6)
        cells = len(result.reading.slices)
        if (s := result.summary) is None:
            counts[1] += cells
            continue
        for place, more in enumerate([cells, 0, s.records, s.new, s.changed, s.quarantined]):
            counts[place] += more
    if not rows:
        return
    columns = ["", "cells read", "failed", "records", "new", "changed", "quarantined"]
    console.print(table(columns, [[" ".join(name), *counts] for name, counts in sorted(rows.items())]))
    for result in results:
        if result.error:
            console.print(f"[red]{result.reading.name}[/]: {escape(result.error)}", soft_wrap=True)
