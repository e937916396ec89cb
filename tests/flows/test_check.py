"""The `check` flow on a real Prefect server, against the sandbox: it says what is wrong, changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dispatchlake.lake.reading import query_arrow
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.xdist_group("prefect")


def check(*centers: DispatchCenter) -> Any:
    from flows.check import check as flow
    from tasks.centers import save_center

    for center in centers:
        save_center(center)
    return flow([center.center_id for center in centers], return_state=True)


def artifact_of(state: Any) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    of_this_run = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
        key=ArtifactFilterKey(any_=["check-summary"]),
    )
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=of_this_run)
    return artifact


def test_centers_in_order_are_told_so_and_nothing_is_saved_or_landed(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from tasks.centers import load_center

    center = put_center(sandbox)  # without the filter that works: there is something to propose

    state = check(center)

    assert state.is_completed(), state.message
    assert state.message == "1 of 1 centers can be read"
    artifact = artifact_of(state)
    assert artifact.description == state.message
    assert f"| {center.center_id} | cad_incidents | yes |" in artifact.data
    assert "Set since_param to 'updated_since'." in artifact.data
    assert "dispatchlake check --save" in artifact.data
    assert load_center(center.center_id) == center, "a check that runs by itself changes no configuration"
    pages = query_arrow("SELECT count(*) AS pages FROM raw_pages", lake_dir=settings.lake_dir)
    assert pages.to_pylist() == [{"pages": 0}]


def test_what_is_wrong_with_one_center_is_named_with_what_to_do(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    good = put_center(sandbox)
    locked_out = put_center(sandbox, client_side={"token_path": "/wrong"})
    nothing_to_try = put_center(sandbox, client_side={"credentials": {}})

    state = check(good, locked_out)
    alone = check(nothing_to_try)

    assert state.is_failed()
    assert state.name == "Partial"
    assert state.message == f"1 of 2 centers can be read. Not: {locked_out.center_id}"
    page = artifact_of(state).data
    assert f"| {good.center_id} | cad_incidents | yes |" in page
    assert f"| {locked_out.center_id} | cad_incidents | **no** |" in page
    (why,) = [
        line for line in page.splitlines() if line.startswith(f"- **{locked_out.center_id} cad_incidents**")
    ]
    assert "token endpoint" in why
    assert alone.is_failed()
    assert "There is nothing to read" in alone.message


def test_a_center_that_nobody_registered_is_a_sentence(prefect_url: str, settings: Settings) -> None:
    from flows.check import check as flow

    state = flow(["nowhere"], return_state=True)

    assert state.is_failed()
    assert "Unknown dispatch center: nowhere" in state.message or "No dispatch center" in state.message
