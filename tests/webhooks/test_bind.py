"""How the receiver listens."""

from __future__ import annotations

import socket

from dispatchlake.webhooks.server import Listener


def test_answers_are_sent_at_once() -> None:
    """asyncio does so where the protocol is named; else each answer waits 40 ms for the vendor's system."""
    with Listener(port=0).bind() as listening:
        assert listening.proto == socket.IPPROTO_TCP
