"""The `replay` flow on a real Prefect server: the archive alone, no center is called."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import open_lake
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run
from tests.lake.faulty_parser import REFUSED, faulty_parser
from tests.lake.pages import cell, incident, load, page
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

pytestmark = pytest.mark.xdist_group("prefect")


def replay_flow(*centers: str, **parameters: Any) -> Any:
    from flows.replay import replay as flow

    return flow(list(centers), return_state=True, **parameters)


def save(center: DispatchCenter) -> None:
    from tasks.centers import save_center

    save_center(center)


def artifact(state: Any) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (found,) = client.read_artifacts(artifact_filter=of_this_run)
    assert found.key == "replay-summary"
    assert found.description == state.message
    return str(found.data)


def run_name(state: Any) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id).name


def test_a_center_s_own_names_of_fields_count_and_the_summary_says_what_changed(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    """Landed under the wrong names, all of it lies in quarantine; the block is mended, and it is replayed."""
    center = put_center(sandbox, override={"id_field": "identity"})
    summary = ingest_cell(center, "cad_incidents", settings=settings, run_id="run")
    assert summary.quarantined == summary.records == 300
    save(center.model_copy(update={"resources": {}}))

    state = replay_flow(center.center_id, only_quarantined=True)

    assert state.is_completed(), state.message
    assert state.message.startswith("1 of 1 centers replayed: 300 records in 1 pages, 300 versions added")
    assert_equal(
        settings.lake_dir,
        center.center_id,
        "cad_incidents",
        sandbox.truth(center.center_id, "cad_incidents")["current"],
    )
    assert f"| {center.center_id} | cad_incidents | 1 | 300 | 300 | 0 | 300 | 0 | 0 |" in artifact(state)
    assert run_name(state) == f"replay {center.center_id} quarantined"


def test_a_center_that_fails_is_named_and_the_others_are_replayed(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dispatchlake.errors import LakeError
    from dispatchlake.lake import Lake, Selection

    with open_lake(settings) as lake, faulty_parser():
        for center_id in ("center-a", "center-b"):
            load(lake, incident(caller_phone_number=REFUSED), center_id=center_id)
    real = Lake.replay

    def fail_for_one(lake: Lake, selection: Selection, resources: Any) -> Any:
        if selection.center_ids == ("center-a",):
            raise LakeError("The disk is full.")
        return real(lake, selection, resources)

    monkeypatch.setattr(Lake, "replay", fail_for_one)

    state = replay_flow()

    assert (state.type.value, state.name) == ("FAILED", "Partial")
    assert state.message == (
        "1 of 2 centers replayed: 1 records in 1 pages, 1 versions added, 1 left quarantine. Failed: center-a"
    )
    assert "- **center-a**: The disk is full." in artifact(state)


def test_a_center_whose_configuration_cannot_be_used_fails_no_other(
    prefect_url: str, settings: Settings
) -> None:
    from tasks.blocks import DispatchCenterBlock

    odd, fine = f"odd-{secrets.token_hex(3)}", f"fine-{secrets.token_hex(3)}"
    resources = {"cad_incidents": {"pth": "/v2/cad"}}
    DispatchCenterBlock(display_name="Odd", base_url="https://odd.example", resources=resources).save(odd)
    with open_lake(settings) as lake:
        for center_id in (odd, fine):
            load(lake, incident(), center_id=center_id)

    state = replay_flow()

    assert (state.type.value, state.name) == ("FAILED", "Partial")
    assert state.message.startswith("1 of 2 centers replayed: ")
    assert f"- **{odd}**: The configuration of dispatch center {odd} cannot be used." in artifact(state)
    command = run("replay", fine)
    assert command.returncode == 0, command.stderr


def test_a_mistake_in_the_form_is_a_failure_with_a_sentence(prefect_url: str, settings: Settings) -> None:
    with open_lake(settings) as lake:
        load(lake, incident())

    state = replay_flow("nowhere-tx")

    assert state.is_failed()
    assert "no page of dispatch center nowhere-tx. Archived are: center-a." in state.message


def test_the_command_asks_the_server_for_a_center_s_own_names_of_fields(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox, override={"changed_field": "modified"})
    save(center)
    own = center.resource("incident_events")
    record = {"id": "a", "created_at": "2024-03-01T00:00:00Z", "modified": "2024-03-01T00:00:00Z"}
    with open_lake(settings) as lake:
        pages = [page(record, center_id=center.center_id)]
        lake.load(pages, cell=replace(cell(center.center_id), resource=own), run_id="run")

    asked = run("replay", center.center_id)
    unasked = run("replay", center.center_id, "--declared-fields")

    assert "The lake is as it was" in asked.stdout, asked.stderr
    assert "no record has a field named 'updated_at'" in unasked.stdout
