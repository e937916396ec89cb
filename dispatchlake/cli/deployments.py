"""Deploying `prefect.yaml`, which says what runs when: that of a clone, or of the installed package."""

from __future__ import annotations

from pathlib import Path

import dispatchlake
from dispatchlake.cli.service import Service
from dispatchlake.errors import ConfigError

PREFECT_YAML = "prefect.yaml"


def find_prefect_yaml() -> Path:
    """Return the file of this very program: beside the package in a clone, inside it where it is installed.

    Raises:
        ConfigError: There is none; the installation is damaged.
    """
    package = Path(dispatchlake.__file__).parent
    for folder in (package.parent, package):
        if (found := folder / PREFECT_YAML).exists() and (folder == package or (folder / "flows").exists()):
            return found
    raise ConfigError(f"{package / PREFECT_YAML} is missing. Install dispatchlake again.")


def deploy_all(log_path: Path) -> None:
    """Deploy everything, as `prefect deploy --all` does; the Prefect server is the one of our environment.

    Raises:
        ConfigError: It did not work; the text names the log.
    """
    file = find_prefect_yaml()
    # A process of its own: Prefect's deploy has no other public entrance that reads prefect.yaml.
    deploy = Service(
        "deployment",
        ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
        log_path=log_path,
    )
    try:
        deploy.start()
        failed = deploy.wait() != 0
    finally:
        deploy.stop()
    if failed:
        raise ConfigError(f"{file} could not be deployed. The log says why: {log_path}")
