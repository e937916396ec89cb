"""Connections that end, and requests of which there is no doubt where they end.

A client that sends slowly, or nothing, holds a connection for a bounded time only. uvicorn bounds the silence
between two requests and nothing else. While the application works on a request it has limits of its own; at
any other time, what has begun to come must be a whole head before long.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Sequence
from typing import Any, cast

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from dispatchlake.errors import DeliveryRefused
from dispatchlake.webhooks.answers import Line, refused
from dispatchlake.webhooks.certificate import Certificate
from dispatchlake.webhooks.room import Supply
from dispatchlake.webhooks.sources import source_of

logger = logging.getLogger(__name__)

HEAD_S = 10.0
"""From a connection's beginning, or a request's first byte, to the end of its handshake or head."""

MOST_CONNECTIONS = 900
"""Below the 1024 files that many systems let a process have open."""

HEAD_BYTES = 16 << 10
"""Longest head of a request: its first line and all headers."""


class Crowd:
    """All connections of a server. Of them no source has more than are left for all others.

    Args:
        proxies: Networks of those in front: each has as many as there are, for everybody comes from there.
    """

    def __init__(self, proxies: Sequence[str] = ()) -> None:
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        self._left = Supply(MOST_CONNECTIONS)

    def enter(self, transport: asyncio.BaseTransport) -> str | None:
        """Count a connection; return as whose, to `leave` as, or None where there is no room: it is ended."""
        host, port = transport.get_extra_info("peername")[:2]
        whose = f"{host} {port}" if self._is_proxy(host) else source_of(host)
        if self._left.take(whose, 1):
            return whose
        logger.warning("There is no room for another connection of %s; it is refused.", whose)
        cast("asyncio.Transport", transport).abort()
        return None

    def leave(self, whose: str) -> None:
        """Count a connection no more."""
        self._left.give_back(whose, 1)

    def _is_proxy(self, host: str) -> bool:
        return any(ipaddress.ip_address(host) in network for network in self._proxies)


class BoundedConnection(H11Protocol):
    """A connection of uvicorn's, with a deadline whenever nobody works on a request of it.

    Args:
        arguments: uvicorn's, as the options are.
        crowd: Among whom it is counted, if nobody else has.
    """

    _deadline: asyncio.TimerHandle | None = None
    _counted_as: str | None = None

    def __init__(self, *arguments: Any, crowd: Crowd | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._crowd = crowd

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or end at once where there are too many."""
        super().connection_made(transport)
        if self._crowd is not None:
            self._counted_as = self._crowd.enter(transport)
            if self._counted_as is None:
                return
        self._deadline = self.loop.call_later(HEAD_S, self._end)

    def data_received(self, data: bytes) -> None:
        """Take what came; the deadline runs from the first byte that begins a request."""
        super().data_received(data)
        if not self._is_idle:
            self._cancel()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._cancel()
        if self._crowd is not None and self._counted_as is not None:
            self._crowd.leave(self._counted_as)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has a head that is too long, and end."""
        error = sys.exception()  # in whose handling this is called
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        Line(source_of(self.client[0] if self.client else None)).write(status)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # the request before was answered
            self.transport.abort()
            return
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
        answer = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (answer, h11.Data(data=msg.encode("ascii")), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self) -> None:
        self._deadline = None
        if self._is_idle and not self.transport.is_closing():
            self.transport.abort()


class TlsConnection(SSLProtocol):
    """A connection over TLS, counted from its very beginning: one that never speaks is one all the same.

    Args:
        loop: Of the server.
        app: What goes on when the handshake is made.
        context: What it is made with.
        crowd: All of the server; this one is among them until it ends.
    """

    _counted_as: str | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        crowd: Crowd,
    ) -> None:
        # Nobody waits for it: what the waiter would be told, the app is told too.
        super().__init__(loop, app, context, None, server_side=True, ssl_handshake_timeout=HEAD_S)  # type: ignore[arg-type]
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or end at once where there are too many."""
        self._counted_as = self._crowd.enter(transport)
        if self._counted_as is not None:
            super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        if self._counted_as is not None:
            self._crowd.leave(self._counted_as)
        super().connection_lost(exc)


class BoundedLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, where a server with a certificate speaks TLS as we want it.

    uvicorn leaves a handshake a minute, counts it when it is over, and reads a certificate once.
    """

    def __init__(self, certificate: Certificate | None, crowd: Crowd) -> None:
        super().__init__()
        self._certificate = certificate
        self._crowd = crowd

    async def create_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *arguments: Any, **options: Any
    ) -> asyncio.Server:
        """Listen."""
        certificate = self._certificate
        if certificate is None:
            return await super().create_server(protocol_factory, *arguments, **options)

        def begin() -> TlsConnection:
            return TlsConnection(self, protocol_factory(), certificate.context(), self._crowd)

        return await super().create_server(begin, *arguments, **options)


class OneEnd:
    """Refuses a request that says in two ways where it ends: one of them is meant to mislead somebody.

    h11 goes by the one and drops the other, as RFC 9112 (6.3) allows; a proxy in front may go by the other,
    and take the rest for another's request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] == "http":
            names = [name for name, _ in scope["headers"]]
            if b"transfer-encoding" in names and b"content-length" in names:
                Line(source_of(scope["client"][0] if scope["client"] else None)).write(400)
                refusal = DeliveryRefused("Content-Length and Transfer-Encoding exclude each other.", 400)
                await refused(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)
