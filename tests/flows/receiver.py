"""Whoever is told of troubles: a webhook on loopback that keeps what it gets."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.loopback import Serving

LIMIT_S = 180.0


class Receiver(Serving):
    """An HTTP server that takes JSON with one field `text`, ended with the context."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._texts: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver._keep(content["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Keep pytest's output clean."""

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"{self.origin}/hook/a-secret-path"

    def _keep(self, text: str) -> None:
        with self._arrival:
            self._texts.append(text)
            self._arrival.notify_all()

    def texts(self, *parts: str) -> list[str]:
        """Return the messages so far that have all these parts."""
        with self._arrival:
            return [text for text in self._texts if all(part in text for part in parts)]

    def wait_for(self, *parts: str, limit_s: float = LIMIT_S) -> str:
        """Return the first message with all these parts, once it is there."""
        with self._arrival:
            arrived = self._arrival.wait_for(lambda: self.texts(*parts), limit_s)
            assert arrived, f"no message with {parts} came; these did: {self._texts}"
        return self.texts(*parts)[0]
