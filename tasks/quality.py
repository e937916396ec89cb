"""Whether what a run brought is worse than usual: checked after the cells, told of by `tasks.alerts`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.errors import DispatchLakeError
from dispatchlake.lake import LoadSummary, open_lake
from dispatchlake.quality import UNCHECKED, Quality, judge_quality
from dispatchlake.settings import load_settings


def check_what_came(summaries: Iterable[LoadSummary | None]) -> Quality:
    """Check the centers that something new came of; where nothing did, there is no task run.

    A fault is shown and does not fail the run: then nothing is known, and nothing is told.
    """
    newest: dict[str, datetime] = {}
    for one in summaries:
        if one is not None and one.new + one.changed and one.newest_updated_at is not None:
            had = newest.get(one.center_id, one.newest_updated_at)
            newest[one.center_id] = min(max(had, one.newest_updated_at), datetime.now(UTC))
    if not newest:
        return UNCHECKED
    state = check_quality(newest, return_state=True)
    quality = state.result(raise_on_failure=False)
    return quality if isinstance(quality, Quality) else UNCHECKED


@task(task_run_name="quality")
def check_quality(newest: dict[str, datetime]) -> State[Any]:
    """Compare the last days of some centers with those before, check by check.

    Args:
        newest: The newest change of each center, by its own clock.

    Returns:
        Completed with a `Quality` as its data, or Failed with the error.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        with open_lake(load_settings()) as lake:
            quality = judge_quality(newest, lake.checks(newest))
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    for doubt in quality.doubts:
        logger.warning("%s %s: %s", doubt.center_id, doubt.what, doubt.why)
    message = f"{len(quality.doubts)} checks fail more often than usual" if quality.doubts else "As usual"
    return Completed(message=message, data=quality)
