"""The `maintain` flow on a real Prefect server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatchlake.lake import Lake, catalog_file
from dispatchlake.settings import Settings
from tests.lake.upkeep import grow

pytestmark = pytest.mark.xdist_group("prefect")


def maintain(**parameters: Any) -> Any:
    from flows.maintain import maintain as flow

    return flow(return_state=True, **parameters)


def artifacts(state: Any) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=of_this_run)


def test_it_leaves_a_smaller_lake_and_a_page_that_says_so(prefect_url: str, settings: Settings) -> None:
    with Lake.open(settings.lake_dir) as lake:
        grow(lake, loads=3)

    state = maintain(keep_snapshots_days=0, keep_files_days=0)

    assert state.is_completed()
    assert state.message.endswith("snapshots to 1")
    (artifact,) = artifacts(state)
    assert artifact.key == "maintain-summary"
    assert artifact.description == state.message
    assert "| raw_pages | 3 | 2 |" in artifact.data
    assert "| compact the catalog | ok |" in artifact.data


def test_a_step_that_fails_is_not_green_and_is_named(
    prefect_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(catalog: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(catalog_file, "compact", fail)
    Lake.open(settings.lake_dir).close()

    state = maintain()

    assert state.is_failed()
    assert state.message.startswith("1 of 8 steps failed: compact the catalog. ")
    (artifact,) = artifacts(state)
    assert "- **compact the catalog**: Unexpected ZeroDivisionError" in artifact.data


def test_without_a_lake_it_fails_with_a_sentence(prefect_url: str, settings: Settings) -> None:
    state = maintain()

    assert state.is_failed()
    assert state.message.startswith("There is no lake in ")
