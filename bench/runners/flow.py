"""Ours, whole: the `ingest` flow under a local Prefect server, and a flow of as many empty tasks beside it.

What Prefect itself costs is what the empty flow takes: the same number of task runs, submitted to the same
number of threads, with the same options. Everything else is ours, also what our tasks ask the server for.

Beside another, a run counts until its final state: then Prefect waits for its heartbeat, which sleeps by
whole seconds, and a run that takes 1.9 s would seem to take twice as long as one of 1.1 s, or as long. And it
begins when the server is at rest: while that still writes the events of 40 task runs, it refuses the next run
(503), and the client asks again two seconds later.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Job, Meter
from bench.runners.library import center_of
from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.settings import load_settings

_UNTIL_AT_REST_S = 3.0


def main() -> None:
    """Register the centers, then run the flow and the empty one in turn, as often as the job says."""
    job = Job.of_command_line()
    os.environ["DISPATCHLAKE_DATA_DIR"] = str(Path(job.out_dir))
    os.environ["DISPATCHLAKE_LOCK_WAIT_S"] = "600"
    with prefect_api(load_settings()):
        _run(job)


def _run(job: Job) -> None:
    # Prefect reads its environment when it is imported, so not before the server is there.
    from flows.ingest import ingest
    from tasks.centers import save_center

    for center_id in job.centers:
        save_center(center_of(job, center_id))
    cells = len(job.centers) * len(job.resources)
    nothing = _empty_flow()
    nothing(2)  # whatever happens once in a process has happened
    repeats = job.options.get("repeats", 1)
    if job.options.get("is_first_run_apart"):
        ingest(job.centers, return_state=True)
    empty: list[_Run] = []
    ours: list[_Run] = []
    for _ in range(repeats):
        empty.append(_measured(lambda: nothing(cells, return_state=True)))
        ours.append(_measured(lambda: ingest(job.centers, return_state=True)))
    meter = ours[-1].meter
    meter.seconds = statistics.median(one.meter.seconds for one in ours)
    meter.cpu_s = statistics.median(one.meter.cpu_s for one in ours)
    pairs = list(zip(ours, empty, strict=True))
    meter.report(
        ("dispatchlake", "prefect", "duckdb"),
        until_done_s=statistics.median(one.until_done_s for one in ours),
        prefect_s=statistics.median(one.until_done_s for one in empty),
        beyond_prefect_s=statistics.median(one.until_done_s - other.until_done_s for one, other in pairs),
        beyond_prefect_cpu_s=statistics.median(one.meter.cpu_s - other.meter.cpu_s for one, other in pairs),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run took in all, and in seconds until its final state."""

    meter: Meter
    until_done_s: float


def _measured(run: Callable[[], Any]) -> _Run:
    time.sleep(_UNTIL_AT_REST_S)
    began_at = datetime.now(UTC)
    with Meter() as meter:
        state = run()
    if not state.is_completed():
        raise RuntimeError(f"The flow did not complete: {state.message}")
    return _Run(meter, (state.timestamp - began_at).total_seconds())


def _empty_flow() -> Callable[..., Any]:
    from prefect import flow, task
    from prefect.client.schemas.objects import State
    from prefect.futures import wait
    from prefect.states import Completed
    from prefect.task_runners import ThreadPoolTaskRunner

    from dispatchlake.reading_slots import CELLS_AT_ONCE
    from tasks.policy import RETRY_DELAYS_S, worth_retrying

    @task(
        task_run_name="{center_id} {resource}",
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=worth_retrying,
    )
    def nothing_cell(center_id: str, resource: str) -> State[Any]:  # noqa: ARG001 - they name the run
        return Completed(message="nothing")

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=CELLS_AT_ONCE))  # type: ignore[arg-type]
    def nothing(cells: int) -> State[Any]:
        futures = [nothing_cell.submit(f"center-{number:02}", "nothing") for number in range(cells)]
        wait(futures)
        return Completed(message="nothing")

    return nothing


if __name__ == "__main__":
    main()
