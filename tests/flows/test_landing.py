"""An ingest run lands what waits in the spool first; that it cannot stops no center."""

from __future__ import annotations

from typing import Any

import pytest

from dispatchlake.settings import Settings
from dispatchlake.spool import is_anything_waiting
from tests.centers import put_center
from tests.lake.deliveries import incident_metadata
from tests.sandbox_process import SandboxProcess
from tests.test_landing import ask, delivery, keep

pytestmark = pytest.mark.xdist_group("prefect")


def ingest(sandbox: SandboxProcess) -> Any:
    from flows.ingest import ingest as flow
    from tasks.centers import delete_center, save_center

    center = put_center(sandbox)
    save_center(center)
    try:
        return flow([center.center_id], return_state=True)
    finally:
        delete_center(center.center_id)


def test_what_waits_is_landed_by_the_run(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    keep(settings, delivery(incident_metadata("delivered"), "elsewhere"))

    state = ingest(sandbox)

    assert state.is_completed()
    assert not is_anything_waiting(settings.spool_dir)
    assert ask(settings, "SELECT source FROM incidents WHERE incident_id = 'delivered'") == [("webhook",)]


def test_a_spool_that_cannot_be_read_stops_no_center(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / "spool.sqlite").write_bytes(b"no database" * 100)

    state = ingest(sandbox)

    assert state.is_completed()
    assert state.message.startswith("2 of 2 cells landed: ")
