"""The replay of one center's archived pages as a Prefect task: a thin wrapper of `Lake.replay`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.errors import DispatchLakeError
from dispatchlake.lake import ReplaySummary, Selection, open_lake
from dispatchlake.settings import load_settings
from tasks.centers import load_resources
from tasks.policy import RETRY_DELAYS_S, worth_retrying


def plan_centers(selection: Selection) -> list[str]:
    """Return the centers whose archived pages are selected.

    Raises:
        ConfigError: A center is named that has no archived page.
    """
    with open_lake(load_settings()) as lake:
        return lake.selected_centers(selection)


@task(
    task_run_name="{center_id}",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=worth_retrying,
)
def replay_center(center_id: str, selection: Selection) -> State[Any]:
    """Replay one center's selected pages.

    Returns:
        Completed with its `ReplaySummary` per listing, or Failed with the error as its data and its sentence
        as message.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        with open_lake(load_settings()) as lake:
            summaries = lake.replay(replace(selection, center_ids=(center_id,)), load_resources([center_id]))
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    message = replay_outcome(summaries)
    logger.info("Replayed %s", message)
    return Completed(message=message, data=summaries)


def replay_outcome(summaries: list[ReplaySummary]) -> str:
    """Return one line on what a replay did, numbers only."""
    parts = [f"{sum(s.records for s in summaries):,} records in {sum(s.pages for s in summaries):,} pages"]
    for count, what in (
        (sum(s.added for s in summaries), "versions added"),
        (sum(s.removed for s in summaries), "versions removed"),
        (sum(s.released for s in summaries), "left quarantine"),
        (sum(s.set_aside for s in summaries), "set aside"),
        (sum(s.unreadable for s in summaries), "pages unreadable"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return ", ".join(parts if len(parts) > 1 else [*parts, "nothing changed"])
