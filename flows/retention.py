"""The nightly removal: what is older than the rules of retention say, and nothing where there is none.

Wraps `dispatchlake.retention.run`; safe beside loads. Run it here and now with `dispatchlake retention run`;
schedule it with `prefect.yaml`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.recovery import hold_run
from tasks.retention import remove_due


def _run_name() -> str:
    return f"retention {datetime.now(UTC):%F %H:%M}"


@flow(name="retention", flow_run_name=_run_name, on_running=[hold_run])
def retention(dry_run: bool = False) -> State[Any]:
    """Remove what is older than the rules of retention say; it cannot be undone.

    Args:
        dry_run: Count what is due, and change nothing.
    """
    state = remove_due(dry_run=dry_run, return_state=True)
    return State(type=state.type, name=state.name, message=state.message, data=state.data)
