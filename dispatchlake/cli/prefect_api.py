"""A Prefect server to talk to: the configured one, or our own on loopback for as long as it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from dispatchlake.cli.terminal import waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings

START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0

_QUIET = {
    # Offline, Prefect logs an error for each attempt to report usage; and this data's users want none made.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The terminal belongs to the command; everything is still logged to the server, for the UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

SERVER = {
    # In memory, as is Prefect's default, leases are forgotten with a restart: within minutes Prefect would
    # cancel every run of a deployment with a limit, for want of its lease (docs/decisions/0012).
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}
"""What every Prefect server that we start is told."""


@contextlib.contextmanager
def prefect_api(settings: Settings) -> Iterator[str]:
    """Yield the URL of a Prefect API, with this process set up to use it.

    Must be entered before Prefect is imported: Prefect reads its environment once. `PREFECT_API_URL` names
    a server of yours; without it one is started under the data folder and stopped at the end.

    Raises:
        ConfigError: The configured server does not answer, or our own does not start.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(settings.prefect_dir))
    for worker in ("EventsWorker", "APILogWorker"):  # they count aloud what is still to be sent at exit
        logging.getLogger(worker).setLevel(logging.ERROR)
    if url := os.environ.get("PREFECT_API_URL"):
        if not is_answering(url):
            raise ConfigError(
                f"The Prefect server at {url} does not answer. Start it, or unset PREFECT_API_URL to use a "
                "local one."
            )
        yield url
        return
    with local_server(settings.prefect_dir) as url:
        os.environ["PREFECT_API_URL"] = url
        try:
            yield url
        finally:
            for handler in logging.getLogger("prefect.flow_runs").handlers:
                handler.flush()  # Prefect sends logs in the background; the server must still be there
            del os.environ["PREFECT_API_URL"]


@contextlib.contextmanager
def local_server(home: Path) -> Iterator[str]:
    """Run a Prefect server on a free loopback port; its database and log lie in `home`."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"The data folder cannot be written: {home} ({error.strerror}). Give a folder of yours in "
            "DISPATCHLAKE_DATA_DIR."
        ) from None
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    log_path = home / "server.log"
    environment = os.environ | _QUIET | SERVER | {"PREFECT_HOME": str(home)}
    tether = [sys.executable, "-m", "dispatchlake.cli.tether"]  # it does not outlive us, however we end
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log_path.open("w") as log:
        # Its own process group: Ctrl-C reaches us alone, and we stop the server last.
        server = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments
            [*tether, *command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,
        )
    try:
        with waiting("Starting the local Prefect server ..."):
            _wait_until_answering(url, server, log_path)
        yield url
    finally:
        stop(server)


def _wait_until_answering(url: str, server: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not is_answering(url):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"The local Prefect server did not start. Its log says why: {log_path}")
        time.sleep(0.1)


def is_answering(url: str) -> bool:
    """Say whether a Prefect API answers there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - http(s), named by the user
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process we started: politely, then not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
