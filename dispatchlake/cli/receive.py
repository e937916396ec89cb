"""`dispatchlake receive`: take what the vendor delivers, until Ctrl-C."""

from __future__ import annotations

import logging
import sys
import time
import urllib.request
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from dispatchlake import redaction
from dispatchlake.cli.service import Service
from dispatchlake.settings import load_settings
from dispatchlake.webhooks.app import Limits
from dispatchlake.webhooks.server import PORT, Listener, serve

_LOOK_LIMIT_S = 5.0

_QUIET = ("uvicorn", "authlib", "asyncio")


def receive(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = PORT,
    certificate: Path | None = None,
    key: Path | None = None,
    behind_proxy: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    max_body_mb: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=64))] = 16,
) -> None:
    """Receive webhook deliveries until Ctrl-C: each is on this machine's disk before it is answered with 200.

    Who may deliver: dispatchlake webhooks issue CENTER. Into the lake: dispatchlake land.

    Args:
        host: Address to listen at; any but this machine's own needs a certificate or a proxy.
        port: Port to listen at; 0 takes a free one.
        certificate: PEM file of the TLS certificate with its chain.
        key: PEM file of the certificate's private key.
        behind_proxy: Address of a reverse proxy in front that does TLS; its X-Forwarded-For is believed.
        max_body_mb: Largest body that is taken, in megabytes, as sent and unpacked.
    """
    settings = load_settings()
    _log_to_stderr()
    serve(
        settings,
        Listener(host=host, port=port, certificate=certificate, key=key, proxies=behind_proxy),
        Limits(body_bytes=max_body_mb << 20),
    )


def receiver_service(log_path: Path, *, port: int) -> Service:
    """Return a receiver on a loopback port as a process of its own, not yet started."""
    return Service("receiver", ["-m", "dispatchlake", "receive", "--port", str(port)], log_path=log_path)


def is_receiving(port: int) -> bool:
    """Say whether a receiver answers on a loopback port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=_LOOK_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _log_to_stderr() -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    redaction.install()
