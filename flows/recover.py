"""Recovery: end runs whose process is gone, begin crashed ones again that resume, set slots right.

Wraps `tasks.recovery.recover`. It happens by itself beside every worker (`dispatchlake recover --every 60`),
and not on a schedule: runs of a schedule pile up while there is no worker, and would all start at once with
it. This flow is for a person who wants it now, from the UI.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.recovery import hold_run
from tasks.recovery import recover as look_after_runs


@flow(name="recover", on_running=[hold_run])
def recover() -> State[Any]:
    """End every run that is dead, begin again what resumes, and set the slots of deployments right."""
    done = look_after_runs()
    get_run_logger().info("%s", done.headline())
    return Completed(message=done.headline(), data=done)
