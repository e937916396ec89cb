"""The readings of a backfill as Prefect task runs: planned from the register and the lake's coverage."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled as CancelledState
from prefect.states import Completed, Failed

from dispatchlake import ingest, redaction
from dispatchlake.backfill import Plan, Reading, Request, Source, plan_backfill
from dispatchlake.errors import Cancelled, ConfigError, DispatchLakeError
from dispatchlake.lake import LoadSummary, open_lake
from dispatchlake.settings import load_settings
from dispatchlake.stop import Stop
from tasks.blocks import DispatchCenterBlock
from tasks.cells import outcome
from tasks.centers import choose_centers, configured, load_blocks, load_center

stop_of_run: ContextVar[Stop] = ContextVar("stop_of_run")
"""How the task runs of a run, in threads that have its context, are asked to stop."""


@dataclass(frozen=True, slots=True)
class ReadingResult:
    """How one reading ended.

    Attributes:
        summary: What was landed, or None when it failed.
        error: The sentence to show, or "" when it landed.
    """

    reading: Reading
    summary: LoadSummary | None
    error: str = ""

    @classmethod
    def of(cls, reading: Reading, state: State[Any]) -> ReadingResult:
        """Return how the task run of a reading ended, from its final state."""
        if state.is_completed():
            return cls(reading, cast("LoadSummary", state.result()))
        return cls(reading, None, state.message or "It failed; its log says more.")


def plan_run(request: Request, centers: Sequence[str], resources: Sequence[str]) -> Plan:
    """Return the grid and the readings of a run.

    Args:
        request: Which days, in which slices, and which of them.
        centers: Center ids; empty means every enabled one.
        resources: Resource names; empty means all.

    Raises:
        ConfigError: The request cannot be met; the sentence says what to change.
        LakeError: The lake cannot be opened.
    """
    sources = choose_sources(centers, resources)
    with open_lake(load_settings()) as lake:
        covered = lake.coverage({source.center_id for source in sources})
    return plan_backfill(request, sources, covered, now=datetime.now(UTC), run_id=str(flow_run.id))


def choose_sources(centers: Sequence[str], resources: Sequence[str]) -> list[Source]:
    """Return the listings to read: of each named center, or each enabled one, what its scopes allow.

    Raises:
        ConfigError: A named center is not registered, is disabled, has no credentials for what is asked, or
            its configuration cannot be used; or nothing is left to read.
    """
    blocks = load_blocks()
    sources: list[Source] = []
    for center_id in dict.fromkeys(choose_centers(centers, blocks)):
        block = blocks[center_id]
        if centers and not block.enabled:
            raise ConfigError(
                f"Dispatch center {center_id} is disabled. Enable it in its block, or leave it out."
            )
        names = [name for name in block.resource_names() if not resources or name in resources]
        if centers and not names:
            raise ConfigError(
                f"Dispatch center {center_id} has no credentials for {' or '.join(resources) or 'anything'}. "
                f"Register some: dispatchlake centers add {center_id} --scope ..."
            )
        if block.enabled:
            sources += _sources(center_id, block, names, is_named=bool(centers))
    if not sources:
        raise ConfigError(
            "There is nothing to read: no enabled dispatch center has credentials for what was asked. "
            "See `dispatchlake centers list`."
        )
    return sources


def _sources(
    center_id: str, block: DispatchCenterBlock, names: Sequence[str], *, is_named: bool
) -> list[Source]:
    try:
        center = configured(center_id, block, time_zone=block.time_zone)
    except ConfigError:
        if is_named:
            raise
        # Of many, one that cannot be used fails alone, with this sentence, when it is read.
        return [Source(center_id, name, "UTC", is_cell_by_cell=False) for name in names]
    return [Source.of(center_id, center.time_zone, center.resource(name)) for name in names]


@task(task_run_name="{reading.name}")
def read_windows(reading: Reading) -> State[Any]:
    """Land the windows of one reading.

    It is tried again by the run and not by Prefect, which would sleep for minutes in a thread that nobody can
    wake: a cancelled run would not end, and others' cells would wait for the thread.

    Returns:
        Completed with a `LoadSummary`; Failed with the error as its data and its sentence as message; or
        Cancelled, with the lake as it was.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        summary = ingest.backfill_windows(
            load_center(reading.center_id),
            reading.resource,
            reading.windows,
            settings=load_settings(),
            run_id=str(flow_run.id),
            stop=stop_of_run.get(),
        )
    except Cancelled as error:
        return CancelledState(message=str(error))
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    logger.info("Landed %s", outcome(summary))
    return Completed(message=outcome(summary), data=summary)


def record_untried(readings: Sequence[Reading], error: str) -> None:
    """Record readings of one listing as failed that were not tried, and why, so that a later run reads them.

    Raises:
        DispatchLakeError: The lake could not take it, or the center is no longer registered.
    """
    first = readings[0]
    slices = sorted((one for reading in readings for one in reading.slices), key=lambda one: one.first)
    ingest.record_untried(
        load_center(first.center_id),
        first.resource,
        [one.window for one in slices],
        settings=load_settings(),
        run_id=str(flow_run.id),
        error=error,
    )
