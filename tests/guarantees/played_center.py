"""A dispatch center that answers byte for byte what a test says: for what the sandbox cannot play."""

from __future__ import annotations

import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from dispatchlake.model import Credentials, DispatchCenter, ResourceOverride, Scope
from tests.loopback import Serving

TOKEN = b'{"access_token": "synthetic", "token_type": "Bearer", "expires_in": 7200}'


class PlayedCenter(Serving):
    """Serves `pages` in order, each naming the next in a Link header; ended with the context."""

    def __init__(self, **client_side: Any) -> None:
        self.pages: list[bytes] = []
        self.queries: list[dict[str, str]] = []
        """What was asked of the listing, request by request."""
        super().__init__(_Server(self))
        center_id = f"played-{secrets.token_hex(4)}"
        credentials = Credentials(client_id="me", client_secret=SecretStr("synthetic"))
        fields: dict[str, Any] = {
            "center_id": center_id,
            "name": center_id,
            "base_url": self.origin,
            "credentials": dict.fromkeys(Scope, credentials),
            "max_requests_per_s": 500,
        }
        self.center = DispatchCenter(**(fields | client_side))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, played: PlayedCenter) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.played = played


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: _Server

    def do_POST(self) -> None:
        """Give a token to whoever asks."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(TOKEN)

    def do_GET(self) -> None:
        """Give the page asked for, and the name of the next if there is one."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.played.queries.append(query)
        number, pages = int(query.get("page", 1)), self.server.played.pages
        link = {"Link": f'<{parts.path}?page={number + 1}>; rel="next"'} if number < len(pages) else {}
        self._answer(pages[number - 1], link)

    def _answer(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        """Say nothing: a page's records are nobody's business."""


def override(**fields: Any) -> dict[str, Any]:
    """Return the client's side of a center whose listings differ from the defaults."""
    return {"resources": {str(scope): ResourceOverride(**fields) for scope in Scope}}
