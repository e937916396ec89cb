"""An ingest run as a person watches it: what each cell is doing, then the table of what landed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from dispatchlake.cli.terminal import console, table, waiting
from dispatchlake.errors import ConfigError, LakeError

if TYPE_CHECKING:  # Prefect takes seconds to import, and its environment must be set up before
    from tasks.artifacts import CellResult


def ingest_with_progress(
    centers: list[str], resources: list[str], *, since: date | None = None
) -> list[CellResult]:
    """Run the `ingest` flow in this process, showing each cell as it goes.

    Returns:
        How each cell ended.

    Raises:
        ConfigError: There was nothing to run.
        LakeError: Every cell landed, and what comes after that failed.
    """
    # Whoever waits at a terminal would rather be told now than have it tried again in some minutes.
    os.environ.setdefault("DISPATCHLAKE_RETRY_TASKS", "false")
    with waiting("Starting the run ..."):
        from flows.ingest import ingest

    with cell_messages():
        state = ingest(centers, resources, since, return_state=True)
    outcome: Any = state.result(raise_on_failure=False)
    if isinstance(outcome, Exception):
        raise outcome if isinstance(outcome, ConfigError) else ConfigError(str(state.message)) from outcome
    results: list[CellResult] = list(outcome)
    show_results(results)
    console.print(f"[bold]{state.message}[/]")
    if not state.is_completed() and not any(result.error for result in results):
        raise LakeError("All that was read has landed, and the run ended with a trouble: see above.")
    return results


def show_results(results: list[CellResult]) -> None:
    """Print one row per cell, and under it the sentence of each that failed."""
    columns = ["", "records", "new", "changed", "unchanged", "quarantined", "seconds"]
    rows: list[list[Any]] = []
    for result in results:
        s = result.summary
        numbers = (
            ["failed", None, None, None, None, None]
            if s is None
            else [s.records, s.new, s.changed, s.unchanged, s.quarantined, round(s.seconds, 1)]
        )
        rows.append([f"{result.cell.center_id} {result.cell.resource}", *numbers])
    if not any(result.summary and result.summary.quarantined for result in results):
        columns, rows = columns[:5] + columns[6:], [row[:5] + row[6:] for row in rows]
    console.print(table(columns, rows))
    for result in results:
        if result.error:
            console.print(f"[red]{result.cell.center_id} {result.cell.resource}[/]: {escape(result.error)}")


@contextmanager
def cell_messages() -> Iterator[None]:
    """Show what the cells log, one short line each, for the length of a run."""
    handler = _CellLines()
    logger = logging.getLogger("prefect.task_runs")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


_OURS = {"cells.py", "backfills.py"}


class _CellLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        name = getattr(record, "task_run_name", "")
        if Path(record.pathname).name in _OURS:  # not Prefect's own remarks, which are for its UI
            message = "failed" if record.levelno >= logging.ERROR else record.getMessage()
            console.print(f"  [dim]{name}[/]  {escape(message)}", soft_wrap=True)
