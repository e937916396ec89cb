"""A Prefect server to talk to: the configured one, or our own on loopback for as long as it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from dispatchlake.cli.occupancy import find_occupant, make_folder
from dispatchlake.cli.service import Service
from dispatchlake.cli.terminal import waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings

START_LIMIT_S = 90.0

QUIET = {
    # Offline, Prefect logs an error for each attempt to report usage; and this data's users want none made.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A process that has lost its server is to say so; Prefect would begin another, which nobody looks at.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    # The terminal belongs to the command; everything is still logged to the server, for the UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
"""Environment of every process of ours that uses Prefect."""

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

    `PREFECT_API_URL` names a server of yours; without it, that of the `dispatchlake up` which runs on this
    data folder is used, or one is started under the data folder and stopped at the end.

    Raises:
        ConfigError: The configured server does not answer, or our own does not start.
    """
    set_up_client(settings)
    if url := os.environ.get("PREFECT_API_URL"):
        if not is_answering(url):
            raise ConfigError(
                f"The Prefect server at {url} does not answer. Start it, or unset PREFECT_API_URL to use a "
                "local one."
            )
        yield url
        return
    with _server_of(settings) as url:
        os.environ["PREFECT_API_URL"] = url
        _let_prefect_read_its_environment()
        try:
            yield url
        finally:
            for handler in logging.getLogger("prefect.flow_runs").handlers:
                handler.flush()  # Prefect sends logs in the background; the server must still be there
            del os.environ["PREFECT_API_URL"]
            _let_prefect_read_its_environment()


def has_server(settings: Settings) -> bool:
    """Say whether a server can be asked what it knows: one is configured, or has run on this folder."""
    return bool(os.environ.get("PREFECT_API_URL")) or (settings.prefect_dir / "prefect.db").exists()


def set_up_client(settings: Settings) -> None:
    """Set this process up to use Prefect."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(settings.prefect_dir))
    for worker in ("EventsWorker", "APILogWorker"):  # they count aloud what is still to be sent at exit
        logging.getLogger(worker).setLevel(logging.ERROR)


def _let_prefect_read_its_environment() -> None:
    """Let Prefect look at the environment again if it has: it does so once, when it is imported."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@contextlib.contextmanager
def _server_of(settings: Settings) -> Iterator[str]:
    """Yield the URL of the server of this data folder: that of a running `up`, or else one of our own."""
    if occupant := find_occupant(settings):
        if not is_answering(occupant.api_url):
            raise ConfigError(
                f"`dispatchlake up` runs on the data folder {settings.data_dir}, but its Prefect server "
                f"({occupant.ui_url}) does not answer. Try again in a moment, or end it: dispatchlake down"
            )
        yield occupant.api_url
        return
    with local_server(settings.prefect_dir) as url:
        yield url


@contextlib.contextmanager
def local_server(home: Path) -> Iterator[str]:
    """Run a Prefect server on a free loopback port; its database and log lie in `home`."""
    make_folder(home)
    port = free_port()
    server = prefect_server(home, port=port)
    url = server_url(port)
    try:
        server.start()
        with waiting("Starting the local Prefect server ..."):
            server.wait_until(lambda: is_answering(url), limit_s=START_LIMIT_S)
        yield url
    finally:
        server.stop()


def prefect_server(home: Path, *, port: int) -> Service:
    """Return a Prefect server on a loopback port, not started yet; its database and log lie in `home`."""
    return Service(
        "local Prefect server",
        ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        log_path=home / "server.log",
        environment=QUIET
        | SERVER
        | {
            "PREFECT_HOME": str(home),
            "PREFECT_UI_URL": server_url(port).removesuffix("/api"),  # links in messages lead there
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",  # nobody here is to buy anything
            "PREFECT_UI_API_URL": server_url(port),  # its UI asks no other server
        },
    )


def server_url(port: int) -> str:
    """Return where the API of a local server answers."""
    return f"http://127.0.0.1:{port}/api"


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


def is_free(port: int) -> bool:
    """Say whether a loopback port can be taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just closed is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
