"""A Prefect server, a worker and the runs' processes, each a real one to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil

from dispatchlake.cli.prefect_api import SERVER, free_port, is_answering
from tests import waiting
from tests.prefect_home import copy_home

POOL = "dispatchlake"
PATIENCE_S = 300.0


wait_until = partial(waiting.wait_until, limit_s=PATIENCE_S)


class Stage:
    """One server with its database, one worker, one data folder; all of them on this machine.

    Attributes:
        port: The server's, also after it was started again.
        environment: What every process here has; a test may add to it before it starts one.
    """

    def __init__(self, folder: Path, migrated_home: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = (
            os.environ
            | SERVER
            | {
                "PREFECT_HOME": str(folder / "prefect"),
                "PREFECT_API_URL": self.url,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "DISPATCHLAKE_DATA_DIR": str(self.data_dir),
                "DISPATCHLAKE_RETRY_BUDGET_S": "5",
            }
        )
        self._server: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        copy_home(migrated_home, folder / "prefect")

    def start_server(self) -> None:
        """Start the server on its database and wait until it answers."""
        self._server = self._start(
            "server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)
        )
        wait_until(lambda: is_answering(self.url), "the server answers")

    def start_worker(self) -> None:
        """Start a worker of the pool."""
        self._worker = self._start("worker", "worker", "start", "--pool", POOL, "--type", "process")

    def bring_up(self) -> None:
        """Start whatever is not running."""
        if self._server is None:
            self.start_server()
        if self._worker is None:
            self.start_worker()

    def kill_server(self) -> None:
        """SIGKILL the server."""
        self._server = _kill_and_forget(self._server)

    def kill_worker(self) -> None:
        """SIGKILL the worker; the runs' processes are not asked."""
        self._worker = _kill_and_forget(self._worker)

    def kill_all(self) -> None:
        """SIGKILL everything, as when the machine loses power."""
        pids = self.run_pids()
        self.kill_worker()
        self.kill_server()
        for pid in {*pids, *self.run_pids()}:
            kill(pid)

    def run_pids(self, run_id: UUID | None = None) -> list[int]:
        """Return the processes that work on a run of this stage, or on any."""
        wanted = f"PREFECT__FLOW_RUN_ID={run_id or ''}".encode()
        ours = f"PREFECT_API_URL={self.url}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:  # it has ended, or is not ours
                continue
            if ours in variables and any(
                v == wanted or (run_id is None and v.startswith(wanted)) for v in variables
            ):
                found.append(int(path.parent.name))
        return found

    def kill_run(self, run_id: UUID) -> None:
        """SIGKILL the processes that work on a run."""
        pids = self.run_pids(run_id)
        assert pids, "the run has a process"
        for pid in pids:
            kill(pid)

    def log(self, name: str) -> str:
        """Return what a process printed."""
        return (self.folder / f"{name}.log").read_text()

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        tether = [sys.executable, "-m", "dispatchlake.cli.tether"]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*tether, sys.executable, "-m", "prefect", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, cwd=self.folder,
            )  # fmt: skip


def kill(pid: int) -> None:
    """SIGKILL a process, unless it has ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: _has_ended(pid), f"process {pid} has ended")


def _has_ended(pid: int) -> bool:
    """Say whether a process holds nothing any more: its last thread has let go of its files."""
    try:
        is_zombie = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return is_zombie and len(os.listdir(f"/proc/{pid}/task")) <= 1  # noqa: PTH208 - a folder of the kernel
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return True


def _kill_and_forget(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


@contextmanager
def stage_in(folder: Path, migrated_home: Path) -> Iterator[Stage]:
    """Set a stage whose processes are all gone at the end."""
    stage = Stage(folder, migrated_home)
    try:
        yield stage
    finally:
        stage.kill_all()
