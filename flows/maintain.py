"""Maintenance of both zones of the lake: small files merged, old snapshots expired, unneeded files removed.

Wraps `dispatchlake.lake.maintenance.maintain`; safe beside loads and queries. Run it here and now with
`dispatchlake maintain`; schedule it with `prefect.yaml`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from dispatchlake.lake.lake import existing_zones
from dispatchlake.settings import Days, load_settings
from tasks.maintenance import maintain_lake
from tasks.publishing import publish_open_zone
from tasks.recovery import hold_run


def _run_name() -> str:
    return f"maintain {datetime.now(UTC):%F %H:%M}"


@flow(name="maintain", flow_run_name=_run_name, on_running=[hold_run])
def maintain(
    keep_snapshots_days: Days | None = None,
    keep_files_days: Days | None = None,
) -> State[Any]:
    """Keep the lake small: flush, rewrite, merge, expire, remove and compact; what fails is named.

    Args:
        keep_snapshots_days: Days the lake can be asked back what it held (AT); empty means the setting.
        keep_files_days: Days a file stays that no snapshot needs; longer than any query; empty: the setting.
    """
    states = []
    for zone in existing_zones(load_settings()):
        if zone == "open":
            states.append(publish_open_zone(return_state=True))
        states.append(maintain_lake(zone, keep_snapshots_days, keep_files_days, return_state=True))
    # That of the restricted zone, unless it went well and something of the other did not.
    state = next((one for one in states if not one.is_completed()), states[0])
    return State(type=state.type, name=state.name, message=state.message, data=state.data)
