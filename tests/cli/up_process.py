"""`dispatchlake up` as a process of its own, seen from outside: its server, its processes, its sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from dispatchlake.cli.occupancy import MARK
from dispatchlake.cli.prefect_api import free_port
from tests import waiting
from tests.command_line import COMMAND, WIDTH
from tests.prefect_home import copy_home

LIMIT_S = 180.0


wait_until = partial(waiting.wait_until, limit_s=LIMIT_S)


class UpProcess:
    """One data folder, and the `up` that runs on it or not."""

    def __init__(self, folder: Path, migrated_home: Path) -> None:
        self.data_dir = folder / "data"
        copy_home(migrated_home, self.data_dir / "prefect")
        self.port = free_port()
        self.webhooks_port = free_port()
        self.environment: dict[str, str | None] = {
            "DISPATCHLAKE_DATA_DIR": str(self.data_dir),
            "DISPATCHLAKE_RETRY_TASKS": "false",
            "DISPATCHLAKE_FETCH_MEDIA": "1",
            "PREFECT_API_URL": None,
            "PREFECT_HOME": None,
        }
        self._printed = folder / "printed"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def printed(self) -> str:
        """Return what the last one has printed so far."""
        return self._printed.read_text()

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Say whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it where it does not run, and wait until it is ready."""
        if self.is_running:
            return
        environment = {**os.environ, **self.environment, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(
                [*COMMAND, "up", "--port", str(self.port), "--webhooks-port", str(self.webhooks_port)],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={name: value for name, value in environment.items() if value is not None},
            )  # fmt: skip
        wait_until(lambda: "Ready in" in self.printed or not self.is_running, "up is ready")
        assert self.is_running, self.printed

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and return its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(LIMIT_S)

    @property
    def mark(self) -> str:
        """Return what its processes carry."""
        return str(json.loads((self.data_dir / "prefect" / "up.json").read_text())["mark"])

    def processes(self) -> dict[str, psutil.Process]:
        """Return its processes by the words of their command that tell them apart."""
        return {word: process for process in marked(self.mark) for word in WORDS if word in words_of(process)}

    def log(self, name: str) -> str:
        """Return the end of what one of its processes has said."""
        return (self.data_dir / "prefect" / f"{name}.log").read_text()[-4000:]

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return what its Prefect server answers."""
        return call(f"http://127.0.0.1:{self.port}/api{path}", body, method)

    def sandbox(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return what the sandbox's control endpoint answers."""
        url = (self.data_dir / "sandbox" / "url").read_text()
        return call(f"{url}/_sandbox/{path}", body, method)

    def run(self, deployment: str, parameters: dict[str, Any] | None = None) -> str:
        """Ask for a run of a deployment, as the UI's button does, and return its id."""
        found = self.api(f"/deployments/name/{deployment}")
        body = {"parameters": parameters or {}, "state": {"type": "SCHEDULED"}}
        return str(self.api(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        """Return the state of a run."""
        state: dict[str, Any] = self.api(f"/flow_runs/{run_id}")["state"]
        return state

    def run_to_end(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Run a deployment and return the state in which it ended.

        Where its schedule is just running it, the run asked for is cancelled: then it is asked for again.
        """
        while (state := self.wait_for(self.run(deployment, parameters), *ENDED))["type"] == "CANCELLED":
            pass
        return state

    def wait_for(self, run_id: str, *kinds: str) -> dict[str, Any]:
        """Wait until a run is in a state of one of these types, and return the state."""
        wait_until(lambda: self.state(run_id)["type"] in kinds, f"the run is {kinds}")
        return self.state(run_id)


ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

WORDS = ("server", "worker", "sandbox", "land", "receive", "fetch-media", "prefect.engine")


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry the mark of an `up`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):  # it has just ended, or is another user's
            continue
    return found


def words_of(process: psutil.Process) -> list[str]:
    """Return the words of a process's command; of one that has just ended, none."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def call(url: str, body: Any = None, method: str | None = None) -> Any:
    """Return the JSON answer to a request, a POST where it has a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    return wait_until(lambda: _answers(request), f"an answer of {url}")[0]


def _answers(request: urllib.request.Request) -> list[Any]:
    """Return the answer, or nothing where to ask again: a busy database, a server that just starts."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise AssertionError(f"{request.full_url}: {error.code} {error.read().decode()}") from None
        return []
    except (urllib.error.URLError, ConnectionError):
        return []
    return [json.loads(content) if content else None]
