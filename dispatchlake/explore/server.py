"""The explorer as a server on this machine's loopback: a secret address, nothing from elsewhere.

What the page shows is personal. It answers on 127.0.0.1 only, to whoever has the token of this start; and the
browser is told to ask nobody else for anything (Content-Security-Policy).
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import marimo
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dispatchlake.errors import ConfigError

HOST = "127.0.0.1"
PORT = 4212

APP = Path(__file__).with_name("app.py")

_NOBODY_ELSE = (
    b"default-src 'self'; connect-src 'self' ws://127.0.0.1:* ws://localhost:*; img-src 'self' data: blob:; "
    # The page compiles its pictures in the browser, and styles what it makes of them.
    b"font-src 'self' data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    b"style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _NOBODY_ELSE),
    (b"referrer-policy", b"no-referrer"),
]


def serve(*, port: int = PORT, told: Callable[[str], None]) -> None:
    """Serve the explorer until SIGTERM or Ctrl-C.

    Args:
        port: Loopback port; 0 takes a free one.
        told: Called with the address to open, once it answers; whoever has it sees the lake.

    Raises:
        ConfigError: The port is taken.
    """
    sock = _bind(port)
    token = secrets.token_urlsafe(24)
    for name in ("uvicorn.access", "uvicorn.error", "marimo"):  # an access log would show the token
        logging.getLogger(name).setLevel(logging.ERROR)
    server = uvicorn.Server(
        uvicorn.Config(
            _only_from_here(_page(token)),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    told(f"http://{HOST}:{sock.getsockname()[1]}/?access_token={token}")
    server.run(sockets=[sock])


def _page(token: str) -> Any:
    builder = marimo.create_asgi_app(quiet=True, include_code=False, token=token, session_ttl=60)
    return builder.with_app(path="", root=str(APP)).build()


def _only_from_here(app: Any) -> Any:
    """Add to every answer that the browser asks nobody else, and refuse requests meant for other names."""

    async def with_headers(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await app(scope, receive, send_with_headers)

    return TrustedHostMiddleware(with_headers, allowed_hosts=[HOST, "localhost"])


def _bind(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen()
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"The explorer cannot listen on port {port}: {error.strerror}. Give another with --port."
        ) from None
    return sock
