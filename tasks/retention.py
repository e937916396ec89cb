"""Retention as a Prefect task, and the page it leaves in the UI: counts only, never anything of a record."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import redaction, retention
from dispatchlake.errors import DispatchLakeError
from dispatchlake.retention import RetentionReport
from dispatchlake.settings import load_settings
from tasks.centers import load_resources
from tasks.policy import RETRY_DELAYS_S, worth_retrying


@task(
    task_run_name="remove what is due",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=worth_retrying,
)
def remove_due(*, dry_run: bool = False) -> State[Any]:
    """Remove what is older than the rules say.

    Returns:
        Completed with a `RetentionReport` as its data, or Failed with the error.
    """
    redaction.install()
    logger = get_run_logger()
    settings = load_settings()
    try:
        resources = load_resources(retention.centers(settings))
        report = retention.run(settings, dry_run=dry_run, resources=resources)
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("%s", report.headline())
    create_markdown_artifact(page(report), key="retention-summary", description=report.headline())
    return Completed(message=report.headline(), data=report)


def page(report: RetentionReport) -> str:
    """Return the report as Markdown."""
    lines = [f"{report.headline()}.", ""]
    if report.removals:
        lines += [
            "| center | class | older than | from | rows, pages or files |",
            "| --- | --- | --- | --- | ---: |",
        ]
    for one in report.removals:
        lines += [
            f"| {one.center_id} | {one.of} | {one.cutoff:%F %H:%M} UTC | {name} | {count:,} |"
            for name, count in sorted(one.counts.items())
        ]
    return "\n".join(lines)
