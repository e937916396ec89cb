"""Answers no HTTP library would send: they are written to the socket by hand.

ASGI only lets an application send well-formed answers. The server's transport is reached through the `send`
it passes (`expose_transport`), the bytes are written there, and the connection is ended.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Any, cast

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.config import WireFault

_WRITTEN_ANEW = {"content-length", "content-encoding", "connection"}


def expose_transport(app: ASGIApp) -> ASGIApp:
    """Wrap an application so that its answers find the connection's transport in the scope."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # uvicorn's `send` is a method of the request's cycle, which holds the transport.
            scope["sandbox.transport"] = cast("Any", send).__self__.transport
        await app(scope, receive, send)

    return wrapped


class WireResponse(Response):
    """A whole answer, sent in a way that breaks."""

    def __init__(self, kind: WireFault, answered: Response, *, bytes_per_s: int) -> None:
        super().__init__(answered.body, answered.status_code, dict(answered.headers))
        self._kind = kind
        self._bytes_per_s = bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        """Write to the socket, end the connection, and wait until the server has noticed."""
        transport: asyncio.Transport = scope["sandbox.transport"]
        body = bytes(self.body)
        if self._kind == "reset":
            # Lingering for no time makes the kernel send RST instead of FIN.
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()
        elif self._kind == "close":
            transport.close()
        elif self._kind == "truncated_body":
            transport.write(self._head(len(body)) + body[: len(body) // 2])
            transport.close()
        elif self._kind == "short_content_length":
            transport.write(self._head(len(body) // 2) + body)
            transport.close()
        elif self._kind == "bad_gzip":
            transport.write(self._head(len(body), "content-encoding: gzip\r\n") + body)
            transport.close()
        else:
            await self._drip(transport, body)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _drip(self, transport: asyncio.Transport, body: bytes) -> None:
        transport.write(self._head(len(body)))
        step = max(1, self._bytes_per_s // 10)
        for start in range(0, len(body), step):
            if transport.is_closing():
                return
            transport.write(body[start : start + step])
            await asyncio.sleep(0.1)
        transport.close()

    def _head(self, length: int, extra: str = "") -> bytes:
        headers = "".join(f"{k}: {v}\r\n" for k, v in self.headers.items() if k not in _WRITTEN_ANEW)
        return (
            f"HTTP/1.1 {self.status_code} {HTTPStatus(self.status_code).phrase}\r\n{headers}{extra}"
            f"connection: close\r\ncontent-length: {length}\r\n\r\n"
        ).encode()
