"""The sandbox's media files over TLS, for a client that believes them to be somewhere on the internet."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore

from dispatchlake.api.public_network import Network
from dispatchlake.model import DispatchCenter
from tests.centers import put_center
from tests.sandbox.receiver import Receiver
from tests.sandbox_process import SandboxProcess
from tests.tls_server import self_signed
from tests.waiting import wait_until

HOST = "media.example.net"
PUBLIC = "93.184.215.14"
"""Looks like an address of the internet; nothing is ever sent to it."""


_CENTER = {
    "dataset": {"synthetic": {"count": 40, "starts_at": "2024-03-01T00:00:00Z", "span_s": 3600}},
    "epoch": "2024-03-02T00:00:00Z",
}


class LoopbackNetwork(Network):
    """Names as a test has them, and every connection, whatever its address, to a port of this machine.

    Attributes:
        names: Addresses by name; what is not there is not known.
        reached: Addresses that were connected to.
    """

    def __init__(self, port: int) -> None:
        self.names: dict[str, list[str]] = {HOST: [PUBLIC], "other.example.net": [PUBLIC]}
        self.reached: list[str] = []
        self.port = port

    def addresses(self, host: str, port: int) -> list[str]:
        if host not in self.names:
            raise OSError
        return self.names[host]

    def connect(self, address: str, port: int, timeout_s: float | None) -> httpcore.NetworkStream:
        self.reached.append(address)
        return super().connect("127.0.0.1", self.port, timeout_s)


@dataclass
class MediaHost:
    """The sandbox with its media files."""

    sandbox: SandboxProcess
    tls: ssl.SSLContext
    port: int

    def network(self) -> LoopbackNetwork:
        return LoopbackNetwork(self.port)

    def links(self) -> list[str]:
        """Return links to files of a center of its own, as they are delivered."""
        center_id = f"media-{uuid.uuid4().hex[:8]}"
        self.sandbox.put_center(center_id, _CENTER)
        return [one["url"] for one in self._sent(center_id)]

    def center(self, **sandbox_side: Any) -> tuple[DispatchCenter, list[dict[str, Any]]]:
        """Return a center of its own whose API can be asked, and its media as they are delivered."""
        center = put_center(self.sandbox, sandbox_side=_CENTER | sandbox_side)
        return center, self._sent(center.center_id)

    def expire_links(self) -> None:
        """Let every link expire that there is."""
        self.sandbox.call("POST", "expired_links")

    def _sent(self, center_id: str) -> list[dict[str, Any]]:
        self.sandbox.call("DELETE", "media")
        with Receiver() as receiver:
            targets = {"incident-events": {"url": f"{receiver.origin}/"}}
            self.sandbox.call("PUT", f"webhooks/{center_id}", {"targets": targets})
            self.sandbox.call("POST", f"sendings/{center_id}", {})
            wait_until(lambda: self.sandbox.call("GET", f"sendings/{center_id}")[0]["is_done"])
        self._center_id = center_id
        return [one for one in receiver.contents if one["type"] == "media"]

    def file(self, link: str) -> dict[str, Any]:
        """Return length and SHA-256 of what a link of the last `links` leads to."""
        found: dict[str, Any] = self.sandbox.call("GET", f"media/{self._center_id}")[urlsplit(link).path]
        return found

    def fault(self, kind: str, **keys: Any) -> None:
        self.sandbox.call("POST", "media", {"kind": kind, **keys})

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.sandbox.call("GET", "media")["requests"]
        return found


@contextmanager
def media_host(folder: Path) -> Iterator[MediaHost]:
    """Run a sandbox whose media files are believed by whoever trusts the certificate made here."""
    pem = self_signed(folder, HOST, "other.example.net")
    with SandboxProcess(None, "--media-certificate", str(pem)) as sandbox:
        port = urlsplit(sandbox.call("GET", "media")["url"]).port
        assert port is not None
        yield MediaHost(sandbox, ssl.create_default_context(cafile=str(pem)), port)
