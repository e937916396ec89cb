"""Check: try every dispatch center with a few requests, and say what is wrong and what to do.

Wraps `tasks.checks.check_center`, one task run per center. Nothing is landed and nothing is saved; a person
who wants what was found written into a center's configuration runs `dispatchlake check --save`.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from dispatchlake.errors import ConfigError
from tasks.cells import plan_cells
from tasks.checks import CheckResult, check_center, check_headline, publish_checks
from tasks.policy import final_state
from tasks.recovery import hold_run
from tasks.status import report_status

CENTERS_AT_ONCE = 8
"""Centers tried at once; each is asked a few requests, within its rate budget."""


@flow(
    name="check",
    task_runner=ThreadPoolTaskRunner(max_workers=CENTERS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's are narrow
    on_running=[hold_run],
)
def check(
    centers: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default and copies it per run
) -> State[Any]:
    """Log in, read a page, probe paging and filters of each center; say what is wrong and what to do.

    Args:
        centers: Ids of the dispatch centers to try; empty means every enabled one.
    """
    try:
        planned = list(dict.fromkeys(cell.center_id for cell in plan_cells(centers, [])))
    except ConfigError as error:
        return Failed(message=str(error), data=error)
    futures = [check_center.submit(center_id) for center_id in planned]
    wait(futures)
    results = [
        CheckResult.of(center_id, future.state) for center_id, future in zip(planned, futures, strict=True)
    ]
    publish_checks(results)
    report_status()  # also while an ingest run is still waiting for a slow center
    return final_state(results, check_headline(results))
