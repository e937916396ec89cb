"""What the commands are tried on."""

from __future__ import annotations

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake.publishing import publish
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess


@pytest.fixture
def lake(sandbox: SandboxProcess, settings: Settings) -> str:
    """Both zones of a lake with one center's CAD incidents; the center's id."""
    center = put_center(sandbox)
    ingest_cell(center, "cad_incidents", settings=settings, run_id="r")
    publish(settings)
    return center.center_id
