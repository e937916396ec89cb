"""A backfill under way: which reading is begun when, what becomes of it, and how all of it is stopped."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.futures import wait as wait_for
from prefect.states import Failed

from dispatchlake.backfill import Lanes, Plan, Reading
from dispatchlake.backfill.grid import AGAIN, FAILED, READ, TO_DO, UNDER_WAY, Grid
from dispatchlake.errors import AuthRejected, ConfigError, DispatchLakeError, is_transient
from dispatchlake.ingest import describe
from dispatchlake.reading_slots import READINGS_AT_ONCE
from dispatchlake.settings import load_settings
from dispatchlake.stop import Stop
from tasks.backfill_board import Board
from tasks.backfills import ReadingResult, read_windows, record_untried, stop_of_run
from tasks.policy import RETRY_DELAYS_S

PER_CENTER = 4
"""So that a center that does not answer leaves threads to the others."""

STOP_LIMIT_S = 15.0
"""How long a cancelled run waits for its readings to stop before it says how far it came; Prefect's worker
kills it after 30."""

_LOOK_S = 1.0


class BackfillRun:
    """Reads what a plan asks for, in the threads of the flow run's task runner."""

    def __init__(self, plan: Plan, grid: Grid, board: Board) -> None:
        self._grid, self._board = grid, board
        delays_s = RETRY_DELAYS_S if load_settings().retry_tasks else []
        self._lanes = Lanes(plan.readings, per_center=PER_CENTER, retry_delays_s=delays_s)
        self._under_way: dict[PrefectFuture[Any], Reading] = {}
        self._ended: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._results: list[ReadingResult] = []

    def read_all(self) -> list[ReadingResult]:
        """Read everything; return how each reading ended.

        Whatever interrupts it (a cancellation, Ctrl-C) stops the readings within a page and is raised again;
        what has landed by then stays.
        """
        stop = Stop()
        stop_of_run.set(stop)
        with self._stopping(stop):
            while not self._lanes.is_done:
                self._begin()
                with contextlib.suppress(queue.Empty):
                    self._end(self._ended.get(timeout=self._patience_s()))
                self._board.show(self._grid)
        return self._results

    def _patience_s(self) -> float:
        wait_s = self._lanes.wait_s(time.monotonic())
        return _LOOK_S if wait_s is None else min(_LOOK_S, max(wait_s, 0.01))

    def _begin(self) -> None:
        """Begin as many readings as may be under way."""
        while len(self._under_way) < READINGS_AT_ONCE:
            reading = self._lanes.take(time.monotonic())
            if reading is None:
                return
            tries = self._lanes.tries(reading)
            run_name = reading.name if tries == 1 else f"{reading.name} (try {tries})"
            future = read_windows.with_options(task_run_name=run_name).submit(reading)
            self._under_way[future] = reading
            future.add_done_callback(self._ended.put)
            self._grid.mark(reading, UNDER_WAY)

    def _end(self, future: PrefectFuture[Any]) -> None:
        """Take note of how a reading ended, and decide what follows."""
        state = _state_of(future)  # which waits, and may be interrupted: then it is still under way
        reading = self._under_way.pop(future)
        result = ReadingResult.of(reading, state)
        if result.summary is not None:
            self._lanes.landed(reading)
            self._grid.mark(reading, READ, records=sum(result.summary.window_records))
            self._results.append(result)
            return
        error = state.result(raise_on_failure=False)
        given_up = self._lanes.failed(
            reading,
            time.monotonic(),
            is_worth_retrying=isinstance(error, BaseException) and is_transient(error),
            is_for_all=isinstance(error, AuthRejected | ConfigError),
        )
        if given_up is None:
            self._grid.mark(reading, AGAIN)
            return
        self._grid.mark(reading, FAILED)
        self._results.append(result)
        if given_up:
            self._give_up(given_up, result.error)

    def _give_up(self, readings: list[Reading], error: str) -> None:
        sentence = f"Not tried, because others of this listing failed: {error}"
        try:
            record_untried(readings, sentence)
        except DispatchLakeError as second:  # they are still in the run's summary
            get_run_logger().warning("What was not tried could not be recorded in the lake: %s", second)
        for reading in readings:
            self._grid.mark(reading, FAILED)
            self._results.append(ReadingResult(reading, None, sentence))

    @contextlib.contextmanager
    def _stopping(self, stop: Stop) -> Iterator[None]:
        try:
            yield
        except BaseException:  # Prefect's cancellation and Ctrl-C are none of Exception
            stop.ask()
            ended = wait_for(list(self._under_way), timeout=STOP_LIMIT_S).done
            for future, reading in list(self._under_way.items()):
                if future in ended and _state_of(future).is_completed():
                    self._end(future)
                else:
                    self._grid.mark(reading, TO_DO)
            self._board.stopped(self._grid)
            raise


def _state_of(future: PrefectFuture[Any]) -> State[Any]:
    """Return the final state of a task run that has ended; also of one that Prefect could not run."""
    try:
        future.wait()
    except Exception as error:  # noqa: BLE001 - it is this reading's failure, and no other's
        return Failed(message=describe(error), data=error)
    return future.state
