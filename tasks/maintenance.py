"""Maintenance of the lake as a Prefect task, and the page it leaves in the UI."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.errors import DispatchLakeError
from dispatchlake.lake import maintenance
from dispatchlake.lake.maintenance import MaintenanceReport
from dispatchlake.settings import Zone, load_settings
from tasks.policy import RETRY_DELAYS_S, worth_retrying


@task(
    task_run_name="maintain the {zone} zone",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=worth_retrying,
)
def maintain_lake(
    zone: Zone = "restricted",
    keep_snapshots_days: float | None = None,
    keep_files_days: float | None = None,
) -> State[Any]:
    """Maintain the lake of a zone.

    Returns:
        Completed with a `MaintenanceReport` as its data, Failed with it where a step failed, or Failed with
        the error where the lake could not be opened.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        report = maintenance.maintain(
            load_settings(),
            zone=zone,
            keep_snapshots_days=keep_snapshots_days,
            keep_files_days=keep_files_days,
        )
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    for step in report.steps:
        logger.info("%s: %s", step.name, step.error or step.done or "nothing to do")
    key = "maintain-summary" if zone == "restricted" else "maintain-open-summary"
    create_markdown_artifact(page(report), key=key, description=report.headline())
    state = Failed if report.failed else Completed
    return state(message=report.headline(), data=report)


def page(report: MaintenanceReport) -> str:
    """Return the report as Markdown: totals, tables, steps, and each failure's sentence."""
    lines = [
        *_table(maintenance.TOTALS, report.totals()),
        *_table(maintenance.TABLES, report.tables()),
        *_table(
            maintenance.STEPS,
            [
                (s.name, "**failed**" if s.error else "ok", s.done, f"{s.seconds:.1f}", f"{s.held_s:.1f}")
                for s in report.steps
            ],
        ),
    ]
    if report.failed:
        lines += ["What failed:", "", *(f"- **{step.name}**: {step.error}" for step in report.failed)]
    return "\n".join(lines)


def _table(columns: list[str], rows: list[Any]) -> list[str]:
    content = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    head = [columns, ["---"] * len(columns)]
    return [*(f"| {' | '.join(row)} |" for row in [*head, *content]), ""]
