"""A receiver of webhooks that does as a test says, and remembers what came."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.loopback import Serving


@dataclass(frozen=True, slots=True)
class Received:
    """One request, in the order of being read."""

    path: str
    authorization: str | None
    body: bytes
    at_s: float = field(default_factory=time.monotonic)

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class Receiver(Serving):
    """Answers 200 unless told otherwise; `/oauth/token` hands out `token-1`, `token-2` and so on.

    Attributes:
        answers: Statuses for the next deliveries, then 200 again; None closes the connection without one.
        accepted: Bearers that are accepted; any if there are none.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[int | None] = deque()
        self.accepted: set[str] = set()
        self.tokens: list[dict[str, str]] = []
        self.life_s = 3600
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:  # noqa: N805 - `self` is the receiver; http.server's name
                body = handler.rfile.read(int(handler.headers["content-length"]))
                if handler.path == "/oauth/token":
                    handler._answer(200, self._token(body))
                    return
                one = Received(handler.path, handler.headers["authorization"], body)
                with lock:
                    self.received.append(one)
                    status = self.answers.popleft() if self.answers else 200
                bearer = (one.authorization or "").removeprefix("Bearer ")
                if self.accepted and bearer not in self.accepted:
                    status = 401
                if status is None:
                    handler.close_connection = True
                else:
                    handler._answer(status, b"")

            def _answer(handler, status: int, body: bytes) -> None:  # noqa: N805
                handler.send_response(status)
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                """Say nothing."""

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))

    def _token(self, body: bytes) -> bytes:
        self.tokens.append({name: value for name, (value,) in parse_qs(body.decode()).items()})
        token = {"access_token": f"token-{len(self.tokens)}", "expires_in": self.life_s}
        return json.dumps(token).encode()

    @property
    def contents(self) -> list[Any]:
        """What came, as JSON."""
        return [one.content for one in self.received]
