"""The receiver as a process: where it listens, how safely, and how it ends."""

from __future__ import annotations

import ipaddress
import logging
import resource
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn

from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings
from dispatchlake.spool import Spool
from dispatchlake.webhooks import certificate
from dispatchlake.webhooks.app import Limits, Receiver
from dispatchlake.webhooks.connections import HEAD_BYTES, BoundedConnection, BoundedLoop, Crowd, OneEnd
from dispatchlake.webhooks.credentials import CredentialFile

logger = logging.getLogger(__name__)

PORT = 4211

KEEP_ALIVE_S = 30
"""How long a connection may be silent between two requests."""

_BACKLOG = 1024
"""Connections that may wait to be accepted: a burst after an outage."""

_FILES = 4096
"""Files that may be open: all connections, and as many as are accepted at once and then refused."""

STOP_LIMIT_S = 40
"""How long requests under way may take when we are told to stop; a body has less."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where and how a receiver listens.

    Attributes:
        host: Address to listen at.
        port: 0 takes a free one.
        certificate: PEM file of the certificate with its chain, or None for no TLS.
        key: PEM file of its private key.
        proxies: Addresses or networks of reverse proxies in front, whose word about who asks is taken.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    certificate: Path | None = None
    key: Path | None = None
    proxies: Sequence[str] = ()

    def check(self) -> None:
        """See that nothing secret would pass a network in clear.

        Raises:
            ConfigError: It would, or the certificate cannot be used, or a proxy is no address.
        """
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("A certificate and its key belong together: give --certificate and --key.")
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ConfigError(
                    f"--behind-proxy {proxy} is no address. Give the proxy's own, such as 127.0.0.1, or a "
                    "network such as 10.0.0.0/24."
                ) from None
        if self.certificate is not None and self.key is not None:
            certificate.load(self.certificate, self.key)
        elif not self._is_loopback() and not self.proxies:
            raise ConfigError(
                f"At {self.host} tokens and callers' data would pass the network in clear. Give "
                "--certificate and --key; or, behind a proxy that does TLS, --behind-proxy and its address."
            )

    def bind(self) -> socket.socket:
        """Return a listening socket.

        Raises:
            ConfigError: The address is not this machine's, or the port is taken.
        """
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return _listening(family, kind, address)
        except OSError as error:
            raise ConfigError(
                f"The receiver cannot listen at {self.host}, port {self.port}: {error.strerror}. Give "
                "another --host or --port."
            ) from None

    def _is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _listening(family: int, kind: int, address: Any) -> socket.socket:
    # Of a socket that does not name its protocol, asyncio does not know that it may send small answers at
    # once: each would wait 40 ms for the other side's acknowledgement.
    sock = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def serve(settings: Settings, listener: Listener, limits: Limits) -> None:
    """Receive until SIGTERM or Ctrl-C; requests under way are finished first.

    Raises:
        ConfigError: It cannot be begun; nothing was received.
        SpoolError: The spool is damaged.
    """
    listener.check()
    _allow_files()
    credentials = CredentialFile(settings.webhooks_dir)
    count = len(credentials.current().centers)
    spool = Spool.open(settings.spool_dir)
    sock = listener.bind()
    host, port = sock.getsockname()[:2]
    scheme = "https" if listener.certificate else "http"
    shown = f"[{host}]" if ":" in host else host
    logger.info("Receiving at %s://%s:%d for %d centers; spool: %s", scheme, shown, port, count, spool.path)
    make_server(Receiver(spool, credentials, limits), listener).run(sockets=[sock])


def _allow_files() -> None:
    """Let this process have as many files open as it may: a burst is accepted before it is counted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > _FILES:
        hard = _FILES
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def make_server(receiver: Receiver, listener: Listener) -> uvicorn.Server:
    """Return a receiver's server; it listens once it is run.

    Raises:
        ConfigError: The certificate cannot be used.
    """
    logging.getLogger("uvicorn.access").disabled = True  # it shows each path with its query
    tls, crowd = None, Crowd(listener.proxies)
    if listener.certificate is not None and listener.key is not None:
        tls = certificate.Certificate(listener.certificate, listener.key)
    return uvicorn.Server(
        uvicorn.Config(
            OneEnd(receiver.build()),
            # With TLS a connection is counted before it is one of HTTP.
            http=cast("Any", partial(BoundedConnection, crowd=None if tls else crowd)),
            ws="none",
            # What makes a loop is taken too, not only its name.
            loop=cast("Any", partial(BoundedLoop, tls, crowd)),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_LIMIT_S,
            proxy_headers=bool(listener.proxies),
            forwarded_allow_ips=[
                str(ipaddress.ip_network(proxy, strict=False)) for proxy in listener.proxies
            ],
        )
    )
