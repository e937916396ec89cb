"""Webhook deliveries that wait, as a Prefect task: a thin wrapper of `dispatchlake.landing`."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import landing, redaction, spool
from dispatchlake.errors import DispatchLakeError
from dispatchlake.settings import load_settings


def land_waiting() -> None:
    """Land what waits; where nothing does, there is no task run. A fault is shown and stops nothing."""
    try:
        is_anything_waiting = spool.is_anything_waiting(load_settings().spool_dir)
    except DispatchLakeError:  # the task meets the same, and shows it
        is_anything_waiting = True
    if is_anything_waiting:
        land_deliveries(return_state=True)


@task(task_run_name="deliveries")
def land_deliveries() -> State[Any]:
    """Land what waits in the spool.

    Returns:
        Completed with a `LandingSummary`, or Failed with the error as its data and its sentence as message.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        summary = landing.land_deliveries(load_settings())
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("%s", summary.sentence())
    return Completed(message=summary.sentence(), data=summary)
