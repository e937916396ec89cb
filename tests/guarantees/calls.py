"""Calls of a center that are born, change and stray: what the kills and races of these tests land."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dispatchlake.model import DispatchCenter
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

CAD = "cad_incidents"
BEGINNING = datetime(2024, 3, 1, tzinfo=UTC)
EPOCH = BEGINNING + timedelta(hours=1)

CALLS = 60
"""One each minute until the epoch, then one every two; every third is closed, half an hour later."""


def _version(number: int, at: datetime, created: datetime, **fields: Any) -> dict[str, Any]:
    record = {
        "id": f"call-{number}",
        "created_at": created.isoformat(),
        "updated_at": at.isoformat(),
        "incident_type": "TRAFFIC",
        "priority": str(number % 5),
        **fields,
    }
    return {"visible_at": at.isoformat(), "record": record}


def _versions() -> list[dict[str, Any]]:
    versions = []
    for number in range(CALLS + CALLS // 2):
        minutes = number if number < CALLS else CALLS + 2 * (number - CALLS)
        created = BEGINNING + timedelta(minutes=minutes)
        # One in ten has a latitude that is none: it is set aside.
        strange = {"lat": {"degrees": number}} if number % 10 == 9 else {"lat": 29.76, "lng": -95.36}
        versions.append(_version(number, created, created, **strange))
        if number % 3 == 0:
            closed = created + timedelta(minutes=30)
            versions.append(
                _version(number, closed, created, **strange, closed_at=closed.isoformat(), disposition="DONE")
            )
    return sorted(versions, key=lambda version: str(version["visible_at"]))


def put_busy_center(sandbox: SandboxProcess, **sandbox_side: Any) -> DispatchCenter:
    """Create a center whose calls change as the sandbox's clock moves on; its pages are small."""
    return put_center(
        sandbox,
        sandbox_side={
            "dataset": {"records": {CAD: _versions()}},
            "epoch": EPOCH.isoformat(),
            "page_size_cap": 10,
            **sandbox_side,
        },
        override={"since_param": "updated_since"},
    )


def is_typed(record: dict[str, Any]) -> bool:
    """Say whether a record of these calls can be typed; the others are set aside."""
    return not isinstance(record["lat"], dict)
