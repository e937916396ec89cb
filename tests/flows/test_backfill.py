"""The `backfill` flow on a real Prefect server, against the sandbox."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dispatchlake.lake.reading import query_arrow
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

pytestmark = pytest.mark.xdist_group("prefect")

DAYS = 6
FILTERED = {"since_param": "updated_since", "until_param": "updated_before"}


def put(sandbox: SandboxProcess, **options: Any) -> DispatchCenter:
    """Create a center with 6 days of records, and register it."""
    from tasks.centers import save_center

    synthetic = {"count": 300, "starts_at": "2024-03-01T00:00:00Z", "span_s": (DAYS - 1) * 86_400}
    side = {"dataset": {"synthetic": synthetic}, "epoch": "2024-03-07T00:00:00Z"}
    side |= options.pop("sandbox_side", {})
    center = put_center(sandbox, sandbox_side=side, **({"override": FILTERED} | options))
    save_center(center)
    return center


def backfill(*centers: DispatchCenter, **parameters: Any) -> Any:
    from flows.backfill import backfill as flow

    defaults = {
        "centers": [center.center_id for center in centers],
        "first_day": date(2024, 3, 1),
        "last_day": date(2024, 3, DAYS),
        "days_are": "UTC",
    }
    return flow(**(defaults | parameters), return_state=True)


def coverage(settings: Settings, center: DispatchCenter) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query_arrow(
        f"FROM coverage WHERE center_id = '{center.center_id}' ORDER BY ALL", lake_dir=settings.lake_dir
    ).to_pylist()
    return rows


def artifacts(state: Any) -> dict[str, Any]:
    """Return the artifacts of a run by key."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=of_this_run)
    assert len({artifact.key for artifact in found}) == len(found), "each is updated in its place"
    return {str(artifact.key): artifact for artifact in found}


def assert_truth(settings: Settings, sandbox: SandboxProcess, center: DispatchCenter) -> None:
    for resource in ("incident_events", "cad_incidents"):
        truth = sandbox.truth(center.center_id, resource)["current"]
        assert_equal(settings.lake_dir, center.center_id, resource, truth)


def test_each_cell_is_read_alone_and_the_lake_equals_the_truth(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put(sandbox)

    state = backfill(center)

    assert state.is_completed(), state.message
    assert state.message.startswith("12 of 12 cells read; ")
    assert_truth(settings, sandbox, center)
    rows = coverage(settings, center)
    assert {(r["kind"], r["state"]) for r in rows} == {("backfill", "complete")}
    assert len(rows) == 12
    grid = artifacts(state)["backfill-grid"].data
    assert f"| {center.center_id} | cad_incidents | 2024-03 | 🟩🟩🟩🟩🟩🟩 6/6 |" in grid
