"""Deliveries as fast as they are answered, over a number of connections, and how long each answer took."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

BODY = (
    '{"type":"incident_metadata","id":"%s","caller_phone_number":"+13035550142","is_audio_live":false,'
    '"audio_call_ended_at":"2025-03-04 17:22:51 UTC","created_at":"2025-03-04 17:19:08 UTC",'
    '"updated_at":"2025-03-04 17:22:52 UTC","chatroom_url":"https://portal.prepared911.com/chatrooms/q7x2"}'
)


class NotAcknowledged(RuntimeError):
    """A delivery was not answered with 200."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load came to.

    Attributes:
        latencies_s: From the first byte sent to the last received, of each delivery, in ascending order.
    """

    seconds: float
    latencies_s: list[float]

    @property
    def per_s(self) -> float:
        """Return the deliveries that were answered, a second."""
        return len(self.latencies_s) / self.seconds

    def percentile_s(self, percent: float) -> float:
        """Return the latency that so many percent of the deliveries do not exceed."""
        return self.latencies_s[max(0, math.ceil(len(self.latencies_s) * percent / 100) - 1)]


def deliver(port: int, path: str, token: str, *, at_once: int, seconds: float) -> Load:
    """Deliver for so long over `at_once` connections, each waiting for its answer before it sends the next.

    Raises:
        NotAcknowledged: One was answered with something else than 200.
    """
    return asyncio.run(_deliver(port, path, token, at_once, seconds))


async def _deliver(port: int, path: str, token: str, at_once: int, seconds: float) -> Load:
    latencies_s: list[float] = []
    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(_one_connection(port, path, token, began_s + seconds, latencies_s))
    return Load(time.perf_counter() - began_s, sorted(latencies_s))


async def _one_connection(port: int, path: str, token: str, until_s: float, latencies_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in _requests(path, token):
            began_s = time.perf_counter()
            if began_s >= until_s:
                return
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise NotAcknowledged(head.partition(b"\r\n")[0].decode())
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            latencies_s.append(time.perf_counter() - began_s)
    finally:
        writer.close()


def _requests(path: str, token: str) -> Iterator[bytes]:
    length = len(BODY % uuid.uuid4())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    while True:
        yield (head + BODY % uuid.uuid4()).encode()
