"""`dispatchlake status` with a register: who should be read, and is not."""

from __future__ import annotations

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.xdist_group("prefect")


def state_of(name: str, shown: str) -> str:
    """Return what the table says of a listing."""
    (line,) = [line for line in shown.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).strip().split("  ")[0]


def test_registered_disabled_and_forgotten_centers_are_told_apart(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from tasks.centers import delete_center, save_center

    landed, gone = put_center(sandbox), put_center(sandbox)
    never, disabled = put_center(sandbox), put_center(sandbox, client_side={"enabled": False})
    for center in (landed, never, disabled):
        save_center(center)
    for center in (landed, gone):
        ingest_cell(center, "cad_incidents", settings=settings, run_id="r")

    outcome = run("status")

    for center, state in (
        (landed, "ok"), (gone, "not registered"), (never, "never read"), (disabled, "disabled"),
    ):  # fmt: skip
        assert state_of(f"{center.center_id} cad_incidents", outcome.stdout) == state
    assert f"{never.center_id} cad_incidents is never read: " in outcome.stdout
    assert f"dispatchlake ingest {never.center_id}" in outcome.stdout
    assert run("status", "--check").returncode == 1
    for center in (landed, never, disabled):
        delete_center(center.center_id)
