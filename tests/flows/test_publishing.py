"""Runs publish the open zone at their end, and one that could not is not green."""

from __future__ import annotations

import pytest

from dispatchlake.lake.reading import query_arrow
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.flows.test_ingest import ingest, save
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.xdist_group("prefect")


def test_an_ingest_run_publishes_what_it_landed(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    state = ingest(save(put_center(sandbox)))

    assert state.is_completed()
    in_open = query_arrow("FROM cad_incidents", zone="open").num_rows
    assert in_open == query_arrow("FROM cad_incidents", zone="restricted").num_rows == 300


def test_a_run_that_could_not_publish_landed_everything_and_is_not_green(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox)
    settings.secrets_dir.mkdir(parents=True)
    (settings.secrets_dir / "token-key").write_text("no key")

    state = ingest(save(center))

    assert state.is_failed()
    assert state.name == "Partial"
    assert state.message.startswith("2 of 2 cells landed: ")
    assert "The open zone was not published: " in state.message
    assert "is not a key for tokens" in state.message
    assert query_arrow("FROM cad_incidents", zone="restricted").num_rows == 300

    (settings.secrets_dir / "token-key").unlink()
    assert ingest([center.center_id]).is_completed()
    assert query_arrow("FROM cad_incidents").num_rows == 300
