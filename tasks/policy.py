"""How runs behave under Prefect: when a task is tried again, how a run ends. The one place for options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from prefect import Task
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.states import Completed, Failed

from dispatchlake.errors import is_transient
from dispatchlake.settings import load_settings

RETRY_DELAYS_S = [60.0, 300.0]
"""Minutes between tries of a cell. Seconds are spent inside `dispatchlake.api`, and nowhere else."""

SCHEDULED_RETRY_DELAYS_S = RETRY_DELAYS_S[:1]
"""The same in a run of a schedule: a center that is down must not hold up the next run of the others."""


def worth_retrying(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Ask the product's one judge whether a failed task may succeed later with nothing changed."""
    if not load_settings().retry_tasks:
        return False
    return isinstance(state.data, BaseException) and is_transient(state.data)


class Ended(Protocol):
    """How one part of a run ended."""

    @property
    def error(self) -> str:
        """Return the sentence to show, or "" when it went well."""


def final_state(results: Sequence[Ended], message: str, *, trouble: str = "") -> State[Any]:
    """Return Completed if every part of a run went well; Failed otherwise, named Partial if some did.

    A run that left a center behind must not look like one that did not.

    Args:
        results: How each part ended.
        message: The run in one sentence.
        trouble: What went wrong after them, a sentence; "" if nothing did.
    """
    failures = sum(1 for result in results if result.error)
    message = f"{message}. {trouble}" if trouble else message
    if not failures and not trouble:
        return Completed(message=message, data=results)
    if failures == len(results) and failures:
        return Failed(message=message, data=results)
    return State(type=StateType.FAILED, name="Partial", message=message, data=results)
