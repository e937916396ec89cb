"""A receiver on loopback, seen as the vendor sees it: within this process, or as one of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dispatchlake.settings import Settings
from dispatchlake.spool import Delivery, Spool
from dispatchlake.webhooks.app import Limits, Receiver
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind
from dispatchlake.webhooks.server import Listener, make_server
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]

PATIENCE_S = 30.0

CENTER = "houston-tx"


@dataclass(frozen=True)
class Answer:
    """What came back: the status, all headers in their order but for the date, and the body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


@dataclass
class Client:
    """Sends to one receiver."""

    port: int
    token: str = ""
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    own_address: str = "127.0.0.1"

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, with exactly these headers beside Host and Content-Length."""
        connection: http.client.HTTPConnection
        if self.tls is None:
            connection = http.client.HTTPConnection(
                self.host, self.port, timeout=PATIENCE_S, source_address=(self.own_address, 0)
            )
        else:
            connection = http.client.HTTPSConnection(
                self.host,
                self.port,
                timeout=PATIENCE_S,
                source_address=(self.own_address, 0),
                context=self.tls,
            )
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = [(name, value) for name, value in response.getheaders() if name.lower() != "date"]
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def deliver(
        self,
        body: bytes = b"{}",
        *,
        center: str = CENTER,
        kind: str = "cad",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Deliver as the vendor would."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if (bearer := self.token if token is None else token) != "":
            sent["Authorization"] = f"Bearer {bearer}"
        return self.send("POST", f"/webhooks/{center}/{kind}", body, sent)

    def raw(self, *parts: bytes) -> bytes:
        """Send bytes as they are, and return all that comes until the receiver ends the connection."""
        with socket.create_connection((self.host, self.port), PATIENCE_S) as connection:
            for part in parts:
                connection.sendall(part)
            return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends the connection, however it does."""
    came = b""
    try:
        while part := connection.recv(65536):
            came += part
    except ConnectionResetError:
        pass
    return came


def waiting(folder: Path, center: str = CENTER) -> list[Delivery]:
    """Return what waits in the spool of a folder."""
    with Spool.open(folder) as spool:
        return spool.waiting(center, max_count=1_000_000, max_bytes=1 << 40)


@dataclass
class Receiving(Client):
    """A receiver in a thread of this process, for as long as the context lasts."""

    port: int = 0
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    listener: Listener = field(default_factory=lambda: Listener(port=0))

    def __post_init__(self) -> None:
        self.file = CredentialFile(self.settings.webhooks_dir)
        if CENTER not in self.file.current().centers:
            _, self.token = self.file.issue(CENTER, CredentialKind.BEARER)
        self.listener.check()
        sock = self.listener.bind()
        self.port = sock.getsockname()[1]
        self.receiver = Receiver(Spool.open(self.settings.spool_dir), self.file, self.limits)
        self.server = make_server(self.receiver, self.listener)
        self._thread = threading.Thread(target=self.server.run, args=([sock],))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.server.started or not self._thread.is_alive(), "the receiver is up")
        assert self._thread.is_alive()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it has ended"

    def waiting(self, center: str = CENTER) -> list[Delivery]:
        """Return what waits in its spool."""
        return waiting(self.settings.spool_dir, center)


class ReceiverProcess(Client):
    """`dispatchlake receive` as a process of its own, killed at the end if it still runs."""

    def __init__(self, settings: Settings, *options: str, port: int = 0) -> None:
        super().__init__(port)
        self.settings = settings
        self.file = CredentialFile(settings.webhooks_dir)
        self._log_path = settings.data_dir / "receiver.log"
        self._options = [*options, "--port", str(port)]
        self._process: subprocess.Popen[bytes] | None = None
        if CENTER not in self.file.current().centers:
            _, self.token = self.file.issue(CENTER, CredentialKind.BEARER)

    @property
    def log(self) -> str:
        """Return all that it has written."""
        return self._log_path.read_text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def __enter__(self) -> Self:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dispatchlake", "receive", *self._options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env=os.environ | {"DISPATCHLAKE_DATA_DIR": str(self.settings.data_dir)},
            )  # fmt: skip
        line = wait_until(
            lambda: (
                re.search(r"Receiving at https?://\S+:(\d+) ", self.log) or self.process.poll() is not None
            ),
            lambda: f"the receiver is up: {self.log}",
        )
        assert isinstance(line, re.Match), self.log
        self.port = int(line[1])
        wait_until(self._is_accepting, "it accepts")
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def _is_accepting(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), PATIENCE_S).close()
        except ConnectionRefusedError:
            return False
        return True
