"""The open zone brought up to date at the end of a run, as a Prefect task: a thin wrapper."""

from __future__ import annotations

from typing import Any, cast

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.errors import DispatchLakeError
from dispatchlake.lake.publishing import Publication, publish
from dispatchlake.open_zone import OpenZone
from dispatchlake.settings import load_settings


def publish_what_changed() -> tuple[str, OpenZone | None]:
    """Publish; a fault is returned as a sentence, for the run must not look as if there were none.

    Returns:
        What failed, or ""; and how the open zone stands, if that is known now.
    """
    state = publish_open_zone(return_state=True)
    if state.is_completed():
        return "", OpenZone(cast("Publication", state.result()).at)
    return f"The open zone was not published: {state.message or 'the log says more.'}", None


@task(task_run_name="open zone")
def publish_open_zone() -> State[Any]:
    """Bring the open zone up to what the restricted zone holds.

    Returns:
        Completed with a `Publication`, or Failed with the error as its data and its sentence as message.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        publication = publish(load_settings())
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("%s", publication.sentence())
    return Completed(message=publication.sentence(), data=publication)
