"""The `ingest` flow on a real Prefect server, against the sandbox."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

pytestmark = pytest.mark.xdist_group("prefect")

RESOURCES = ("incident_events", "cad_incidents")


def save(*centers: DispatchCenter) -> list[str]:
    from tasks.centers import save_center

    for center in centers:
        save_center(center)
    return [center.center_id for center in centers]


def ingest(centers: list[str], **parameters: Any) -> Any:
    from flows.ingest import ingest as flow

    return flow(centers, return_state=True, **parameters)


def test_every_center_and_resource_lands_as_the_truth_has_it(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    centers = [put_center(sandbox), put_center(sandbox)]

    state = ingest(save(*centers))

    assert state.is_completed()
    assert state.message.startswith("4 of 4 cells landed: ")
    for center in centers:
        for resource in RESOURCES:
            truth = sandbox.truth(center.center_id, resource)["current"]
            assert_equal(settings.lake_dir, center.center_id, resource, truth)


def test_a_second_run_lands_only_what_changed(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(
        sandbox, sandbox_side={"epoch": "2024-03-01T12:00:00Z"}, override={"since_param": "updated_since"}
    )
    ingest(save(center))
    before = sandbox.truth(center.center_id, "cad_incidents")["current"]
    sandbox.advance_clock(3600)

    results = ingest([center.center_id]).result()

    after = sandbox.truth(center.center_id, "cad_incidents")["current"]
    summary = next(r.summary for r in results if r.cell.resource == "cad_incidents")
    assert summary.new == len(after) - len(before) > 0
    assert summary.records < len(after), "the filter was used"
    assert_equal(settings.lake_dir, center.center_id, "cad_incidents", after)


def test_a_longer_lookback_reads_again_what_a_run_has_read(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox, override={"since_param": "updated_since"})
    first = ingest(save(center)).result()

    short = ingest([center.center_id]).result()
    long = ingest([center.center_id], lookback_days=7).result()

    def records(results: Any) -> int:
        return sum(result.summary.records for result in results)

    assert records(short) < records(long) == records(first) == 600
    assert all(result.summary.new == result.summary.changed == 0 for result in long)


def test_two_starts_at_once_are_refused(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox)

    state = ingest(save(center), since=date(2024, 1, 1), lookback_days=7)

    assert state.is_failed()
    assert "since and lookback_days" in state.message
    assert not sandbox.requests(center.center_id)


def test_a_spread_run_waits_and_lands(prefect_url: str, sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox)

    with mock.patch("flows.ingest.time") as clock:
        state = ingest(save(center), spread_s=200)

    assert state.is_completed()
    (waited_s,) = clock.sleep.call_args.args
    assert 0 <= waited_s <= 200


def test_one_failing_center_does_not_stop_another(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    good = put_center(sandbox)
    bad = put_center(sandbox, client_side={"base_url": sandbox.url})
    sandbox.patch_center(
        bad.center_id,
        {
            "credentials": {
                name: {"client_id": f"{bad.center_id}-{name}", "client_secret": "changed"}
                for name in RESOURCES
            }
        },
    )

    state = ingest(save(good, bad))

    assert state.is_failed()
    assert state.name == "Partial"
    assert state.message.startswith("2 of 4 cells landed: ")
    assert f"{bad.center_id} incident_events" in state.message
    truth = sandbox.truth(good.center_id, "incident_events")["current"]
    assert_equal(settings.lake_dir, good.center_id, "incident_events", truth)
    results = state.result(raise_on_failure=False)
    sentence = next(r.error for r in results if r.error)
    assert bad.center_id in sentence


def test_the_run_leaves_a_table_of_what_landed(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    center = put_center(sandbox)

    state = ingest(save(center))

    of_this_run = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
        key=ArtifactFilterKey(any_=["ingest-summary"]),
    )
    with get_client(sync_client=True) as client:  # Artifact.get would leave its connection open
        (artifact,) = client.read_artifacts(artifact_filter=of_this_run)
    assert artifact.key == "ingest-summary"
    assert artifact.description == state.message
    assert f"| {center.center_id} | cad_incidents | landed |" in str(artifact.data)


def test_task_runs_are_named_after_their_cells(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    center = put_center(sandbox)
    state = ingest(save(center))

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        )

    assert {f"{center.center_id} {name}" for name in RESOURCES} <= {run.name for run in runs}


def test_no_token_and_no_secret_is_left_anywhere(
    prefect_url: str,
    prefect_home: Path,
    sandbox: SandboxProcess,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    center = put_center(sandbox)
    with caplog.at_level(logging.DEBUG):
        state = ingest(save(center))
    assert state.is_completed()
    secrets = [c.client_secret.get_secret_value() for c in center.credentials.values()]
    tokens = sandbox.tokens(center.center_id)
    assert tokens, "the run logged in"

    left = {str(path): path.read_bytes() for path in files(settings.data_dir, prefect_home)}
    left["log"] = caplog.text.encode()

    for needle in [*secrets, *tokens]:
        found = [name for name, content in left.items() if needle.encode() in content]
        assert not found, f"a secret or token is readable in {found}"


def files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
