"""`prefect.yaml` is read by a machine that ignores what it does not know: so every name is checked here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("prefect")

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]
KNOWN_KEYS = {
    "name", "entrypoint", "description", "tags", "parameters", "schedules", "concurrency_limit", "work_pool",
}  # fmt: skip


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def test_entrypoint_loads_and_its_parameters_bind(deployment: dict[str, Any], prefect_url: str) -> None:
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)

    inspect.signature(flow.fn).bind(**deployment["parameters"])
    assert ".py" not in deployment["entrypoint"], "a file entrypoint puts flows/ first on the import path"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def test_every_key_is_one_prefect_knows(deployment: dict[str, Any]) -> None:
    assert set(deployment) <= KNOWN_KEYS


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def test_every_flow_can_be_recovered(deployment: dict[str, Any], prefect_url: str) -> None:
    """Its runs say that their process lives, and are found by their tag: see tasks/recovery.py."""
    from prefect.flows import load_flow_from_entrypoint

    from tasks.recovery import TAG, hold_run

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)

    assert hold_run in flow.on_running_hooks
    assert TAG in deployment["tags"]
