"""What a backfill shows in the Prefect UI: the grid and its progress while it runs, a summary at its end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from dispatchlake.backfill import Plan, Request
from dispatchlake.backfill.grid import Grid, days_of
from tasks.backfills import ReadingResult

GRID_KEY, PROGRESS_KEY, SUMMARY_KEY = "backfill-grid", "backfill-progress", "backfill-summary"

SHOW_EVERY_S = 3.0
"""Between two versions of the grid: each is some kilobytes for the server to take."""

_AGAIN = (
    "To read only what failed: start `backfill` again with the same fields and the mode "
    "**missing and failed**. At a terminal:"
)

SENTENCES = 50
"""Failures that a summary names one by one."""


class Board:
    """The grid and the progress of one run, kept current in one artifact each."""

    def __init__(self, grid: Grid, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = self._shown_s = clock()
        headline = grid.headline()
        self._grid_id = UUID(
            str(create_markdown_artifact(grid.to_markdown(headline), key=GRID_KEY, description=headline))
        )
        self._progress_id = UUID(str(create_progress_artifact(0.0, key=PROGRESS_KEY, description=headline)))

    def show(self, grid: Grid) -> None:
        """Show how far the run is, if it was not shown a moment ago."""
        if self._clock() - self._shown_s >= SHOW_EVERY_S:
            self._update(grid, f"{grid.headline()}{self._time_left(grid)}")

    def ended(self, grid: Grid) -> None:
        """Show how the run ended."""
        self._update(grid, grid.headline())

    def stopped(self, grid: Grid) -> None:
        """Show how far the run came until it was stopped, and how to go on."""
        self._update(
            grid,
            f"Stopped: {grid.headline()}. What was read stays. To read the rest, retry this run or start "
            "one with the same fields",
        )

    def _time_left(self, grid: Grid) -> str:
        left = grid.asked - grid.ended
        if not grid.ended or not left:
            return ""
        seconds = (self._clock() - self._began_s) / grid.ended * left
        return f"; {duration(seconds)} left"

    def _update(self, grid: Grid, headline: str) -> None:
        self._shown_s = self._clock()
        progress = 100.0 * grid.ended / grid.asked if grid.asked else 100.0
        try:
            with get_client(sync_client=True) as client:
                page = ArtifactUpdate(data=grid.to_markdown(headline), description=headline)
                client.update_artifact(self._grid_id, page)
            update_progress_artifact(self._progress_id, progress, description=headline)
        except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: the work goes on unseen
            get_run_logger().warning("The grid could not be shown: %s", type(error).__name__)


def duration(seconds: float) -> str:
    """Return a length of time as an estimate is told."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def dry_run_headline(plan: Plan) -> str:
    """Return what a run would do, in one sentence of numbers."""
    whole = sum(1 for reading in plan.readings if len(reading.slices) > 1)
    note = f", {whole:,} of them of a whole listing, which has no filter for single days" if whole else ""
    return (
        f"Dry run, nothing was read: {plan.asked:,} of {len(plan.cells):,} cells would be read, in "
        f"{len(plan.readings):,} readings{note}"
    )


def publish_plan(plan: Plan, headline: str) -> None:
    """Publish the grid of a run that reads nothing."""
    create_markdown_artifact(Grid(plan).to_markdown(headline), key=GRID_KEY, description=headline)


def headline(grid: Grid, results: Sequence[ReadingResult]) -> str:
    """Return how a run ended, in one sentence, and which listings failed."""
    failed = dict.fromkeys(f"{r.reading.center_id} {r.reading.resource}" for r in results if r.error)
    return f"{grid.headline()}. Failed: {', '.join(failed)}" if failed else grid.headline()


def retry_command(request: Request, results: Sequence[ReadingResult]) -> str:
    """Return the command that reads only what failed."""
    failed = [result.reading for result in results if result.error]
    words = ["dispatchlake", "backfill", *dict.fromkeys(reading.center_id for reading in failed)]
    for resource in dict.fromkeys(reading.resource for reading in failed):
        words += ["--resource", resource]
    words += ["--from", f"{request.first_day}", "--to", f"{request.last_day}"]
    if request.days_are == "UTC":
        words.append("--utc")
    if request.slice_days != 1:
        words += ["--slice-days", f"{request.slice_days}"]
    return shlex.join([*words, "--mode", "missing-and-failed"])


def summary(request: Request, results: Sequence[ReadingResult]) -> str:
    """Return what failed, why, and what reads only that, as Markdown."""
    by_reason: dict[tuple[str, str, str], list[ReadingResult]] = {}
    for result in results:
        if result.error:
            key = (result.reading.center_id, result.reading.resource, result.error)
            by_reason.setdefault(key, []).append(result)
    if not by_reason:
        return "Nothing failed."
    lines = ["| center | resource | cells | days | why |", "| --- | --- | ---: | --- | --- |"]
    for (center_id, resource, error), failed in list(by_reason.items())[:SENTENCES]:
        slices = [one for result in failed for one in result.reading.slices]
        lines.append(
            f"| {center_id} | {resource} | {len(slices):,} | {days_of(slices)} | {error.replace('|', '/')} |"
        )
    if len(by_reason) > SENTENCES:
        lines += ["", f"And {len(by_reason) - SENTENCES:,} more."]
    return "\n".join(
        [
            *lines,
            "",
            _AGAIN,
            "",
            "```",
            retry_command(request, results),
            "```",
        ]
    )


@task(task_run_name="summary")
def publish_summary(request: Request, results: Sequence[ReadingResult], headline: str) -> None:
    """Publish how a run ended as the artifact `backfill-summary`."""
    text = f"**{headline}**\n\n{summary(request, results)}"
    create_markdown_artifact(text, key=SUMMARY_KEY, description=headline)
