"""The sandbox as a process of ours, and its three dispatch centers registered with Prefect."""

from __future__ import annotations

import contextlib
import json
import secrets
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from dispatchlake.cli.occupancy import make_folder
from dispatchlake.cli.service import Service
from dispatchlake.errors import ConfigError
from dispatchlake.model import Credentials, DispatchCenter, ResourceOverride, Scope

if TYPE_CHECKING:  # Prefect takes seconds to import, and its environment must be set up before
    from tasks.blocks import DispatchCenterBlock

CENTERS = {
    "houston-tx": ("Houston Emergency Center", "America/Chicago", "2024-07-08T15:00:00Z"),
    "san-francisco-ca": ("San Francisco Fire Department", "America/Los_Angeles", "2020-04-14T18:00:00Z"),
    "san-diego-ca": ("San Diego Police Department", "America/Los_Angeles", "2023-01-10T18:00:00Z"),
}
"""Name, time zone and the instant the first demo happens at, each in its records' own year."""

START_LIMIT_S = 30.0

_LOOPBACK = "http://127.0.0.1:"


class Sandbox:
    """The sandbox, started or not, seen through its control endpoints.

    Args:
        folder: Where its clock and log lie.
        port: The loopback port it takes; 0 takes a free one.
        speed: How fast its clock runs by itself; 0 lets it stand still.
    """

    def __init__(self, folder: Path, *, port: int = 0, speed: float = 0) -> None:
        make_folder(folder)
        self._ready = folder / "url"
        config = folder / "config.json"
        config.write_text(json.dumps({"centers": {}}))
        arguments = ["-m", "sandbox", "--port", str(port), "--config", str(config), "--quiet"]
        arguments += ["--state", str(folder / "clock.json"), "--ready-file", str(self._ready)]
        arguments += ["--speed", str(speed), "--exit-with-parent"]
        self.service = Service("sandbox", arguments, log_path=folder / "sandbox.log")

    @property
    def url(self) -> str:
        """Return where it answers."""
        return self._ready.read_text().strip()

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        self._ready.unlink(missing_ok=True)
        self.service.start()
        self.service.wait_until(self._ready.exists, limit_s=START_LIMIT_S)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control endpoint with a JSON body and return its JSON answer."""
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.url}/_sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
            return json.load(answer)


@contextlib.contextmanager
def sandbox_running(folder: Path) -> Iterator[Sandbox]:
    """Run the sandbox on a free loopback port for as long as it is needed."""
    sandbox = Sandbox(folder)
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.service.stop()


def played_centers(registered: Mapping[str, DispatchCenterBlock]) -> dict[str, int]:
    """Return which of the registered centers a sandbox on this machine plays, and the port each is asked at.

    A center of yours may have the id of a sample: only one that is asked on loopback is the sandbox's.
    """
    return {
        center_id: int(port)
        for center_id in CENTERS
        if (block := registered.get(center_id)) is not None
        and block.base_url.startswith(_LOOPBACK)
        and (port := block.base_url.removeprefix(_LOOPBACK).rstrip("/")).isdecimal()
    }


def register_centers(sandbox: Sandbox, center_ids: Iterable[str]) -> list[str]:
    """Let the sandbox play these of its centers, and register them with Prefect.

    One that is registered keeps its credentials and all that was changed in its block; only where it is
    asked follows the sandbox.

    Returns:
        A sentence for each that is registered in a way that cannot be used; the others are played.
    """
    from tasks.centers import load_blocks, save_center

    registered = load_blocks()
    problems: list[str] = []
    for center_id in center_ids:
        block = registered.get(center_id)
        try:
            center = block.to_center(center_id) if block else _new_center(center_id, sandbox.url)
        except ConfigError as error:
            problems.append(str(error))
            continue
        sandbox.call("PUT", f"centers/{center_id}", _sandbox_side(center))
        if block is None or center.base_url != sandbox.url:
            save_center(center.model_copy(update={"base_url": sandbox.url}))
    return problems


def _new_center(center_id: str, url: str) -> DispatchCenter:
    name, time_zone, _epoch = CENTERS[center_id]
    return DispatchCenter(
        center_id=center_id,
        name=name,
        time_zone=time_zone,
        base_url=url,
        credentials={
            scope: Credentials(
                client_id=f"{center_id}-{scope}", client_secret=SecretStr(secrets.token_urlsafe(32))
            )
            for scope in Scope
        },
        max_requests_per_s=200,
        # What `dispatchlake check` proves of the sandbox: these filters work.
        resources={
            scope: ResourceOverride(since_param="updated_since", until_param="updated_before")
            for scope in Scope
        },
    )


def _sandbox_side(center: DispatchCenter) -> dict[str, Any]:
    return {
        "dataset": center.center_id,
        "epoch": CENTERS[center.center_id][2],
        "paging": "link",
        "credentials": {
            scope: {"client_id": c.client_id, "client_secret": c.client_secret.get_secret_value()}
            for scope, c in center.credentials.items()
        },
    }
