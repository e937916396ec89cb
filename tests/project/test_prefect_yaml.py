"""`prefect.yaml` is read by a machine that ignores what it does not know: so every name is checked here."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatchlake.cli.deployments import find_prefect_yaml
from dispatchlake.release import find_version

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]

each_deployment = pytest.mark.parametrize(
    "deployment", DEPLOYMENTS, ids=[str(deployment["name"]) for deployment in DEPLOYMENTS]
)


@pytest.mark.xdist_group("prefect")
@each_deployment
def test_entrypoint_loads_and_its_parameters_bind(deployment: dict[str, Any], prefect_url: str) -> None:
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)

    # What has no default is for the person who starts it to choose.
    inspect.signature(flow.fn).bind_partial(**deployment["parameters"])
    for schedule in deployment["schedules"]:
        flow.validate_parameters(deployment["parameters"] | schedule.get("parameters", {}))
    assert ".py" not in deployment["entrypoint"], "a file entrypoint puts flows/ first on the import path"


@pytest.mark.xdist_group("prefect")
def test_every_key_at_every_level_is_one_prefect_knows(prefect_url: str) -> None:
    from prefect.cli.deploy import _models as known

    assert_known("prefect.yaml", DOCUMENT, known.PrefectYamlModel)
    for deployment in DEPLOYMENTS:
        name = deployment["name"]
        assert_known(name, deployment, known.DeploymentConfig)
        assert_known(name, deployment["work_pool"], known.WorkPoolConfig)
        assert_known(name, deployment.get("concurrency_limit", {}), known.ConcurrencyLimitSpec)
        for schedule in deployment["schedules"]:
            assert_known(name, schedule, known.RawScheduleConfig)
            known.RawScheduleConfig(**schedule)


MENDER = "recover"
"""It sets slots right that were lost, so it must not wait for one."""


def limit_of(deployment: dict[str, Any], key: str = "limit") -> Any:
    return deployment.get("concurrency_limit", {}).get(key)


def assert_known(place: str, mapping: dict[str, Any], model: Any) -> None:
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert set(mapping) <= names, f"{place}: Prefect would pass over {set(mapping) - names}"


@each_deployment
def test_a_deployment_tells_the_person_who_reads_it_what_it_does(deployment: dict[str, Any]) -> None:
    assert len(deployment["description"]) > 100
    assert deployment["tags"]
    assert limit_of(deployment) == (None if deployment["name"] == MENDER else 1), "no overlap with itself"
    assert deployment["work_pool"]["name"] == "dispatchlake"


@each_deployment
def test_a_schedule_can_be_switched_off_for_good(deployment: dict[str, Any]) -> None:
    slugs = [schedule["slug"] for schedule in deployment["schedules"]]

    assert len(slugs) == len(set(slugs)), "without slugs of their own, deploying switches all on again"


def test_names_are_given_once() -> None:
    names = [deployment["name"] for deployment in DEPLOYMENTS]

    assert len(names) == len(set(names))


@pytest.mark.xdist_group("prefect")
def test_everything_is_deployed_with_nobody_at_the_terminal(prefect_url: str) -> None:
    from prefect.client.orchestration import get_client

    from tasks.pool import ensure_work_pool

    ensure_work_pool()
    environment = {**os.environ, "PREFECT_API_URL": prefect_url}
    command = [sys.executable, "-m", "prefect", "deploy", "--all"]

    for _ in range(2):  # the first creates, the second updates
        ended = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    with get_client(sync_client=True) as client:
        deployed = {deployment.name: deployment for deployment in client.read_deployments()}
        for declared in DEPLOYMENTS:
            there = deployed[declared["name"]]
            assert there.version == find_version()
            assert there.description == declared["description"]
            assert there.tags == declared["tags"]
            assert there.entrypoint == declared["entrypoint"]
            assert there.pull_steps == []
            limit, options = there.global_concurrency_limit, there.concurrency_options
            assert (limit and limit.limit) == limit_of(declared)
            assert (options and options.collision_strategy) == limit_of(declared, "collision_strategy")
            assert {schedule.slug for schedule in there.schedules} == {
                schedule["slug"] for schedule in declared["schedules"]
            }
            client.delete_deployment(there.id)


def test_an_installed_package_brings_it_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("dispatchlake/prefect.yaml").decode()

    assert packed == find_prefect_yaml().read_text() == (ROOT / "prefect.yaml").read_text()


@each_deployment
def test_every_flow_can_be_recovered(deployment: dict[str, Any], prefect_url: str) -> None:
    """Its runs say that their process lives, and are found by their tag: see tasks/recovery.py."""
    from prefect.flows import load_flow_from_entrypoint

    from tasks.recovery import TAG, hold_run

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)

    assert hold_run in flow.on_running_hooks
    assert TAG in deployment["tags"]


def test_what_a_person_started_is_begun_again_after_a_crash_and_nothing_else() -> None:
    """The next run of a schedule takes up what the crashed one left."""
    from tasks.resuming import RESUMES

    resuming = {deployment["name"] for deployment in DEPLOYMENTS if RESUMES in deployment["tags"]}

    assert resuming == {"backfill", "replay"}
