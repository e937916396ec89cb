"""How tasks behave under Prefect: when one is tried again. The only place Prefect options are chosen."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from dispatchlake.errors import is_transient
from dispatchlake.settings import load_settings

RETRY_DELAYS_S = [60.0, 300.0]
"""Minutes between tries of a cell. Seconds are spent inside `dispatchlake.api`, and nowhere else."""


def worth_retrying(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Ask the product's one judge whether a failed task may succeed later with nothing changed."""
    if not load_settings().retry_tasks:
        return False
    return isinstance(state.data, BaseException) and is_transient(state.data)
