"""Connections that end: a client that sends slowly, or nothing, holds one for a bounded time only.

uvicorn bounds the silence between two requests and nothing else. While the application works on a request it
has limits of its own; at any other time, what has begun to come must be a whole head before long.
"""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

HEAD_S = 10.0
"""From a connection's beginning, or a request's first byte, to the end of its head."""

MOST_CONNECTIONS = 900
"""Below the 1024 files that many systems let a process have open."""

HEAD_BYTES = 16 << 10
"""Longest head of a request: its first line and all headers."""


class BoundedConnection(H11Protocol):
    """A connection of uvicorn's, with a deadline whenever nobody works on a request of it."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or end at once where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            logger.warning("There are %d connections; another one is refused.", MOST_CONNECTIONS)
            transport.abort()
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
        super().connection_lost(exc)

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
