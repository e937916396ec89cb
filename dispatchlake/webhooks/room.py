"""How much is under way at once: requests, and the bytes of their bodies, so that memory has a bound."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from dispatchlake.errors import DeliveryRefused

RETRY_AFTER_S = 1
"""What is full now has room again as soon as the disk has taken a batch."""


class Share:
    """What one request has taken of the room.

    Attributes:
        unpacking: Held by the one request of the room whose body is being unpacked beside the others: how
            large it gets is not known before.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.unpacking = room.unpacking
        self.bytes_taken = 0

    def take(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            DeliveryRefused: 503; there is no room for them.
        """
        if self._room.bytes_left < count:
            raise DeliveryRefused("Too much is being received at once.", 503, RETRY_AFTER_S)
        self._room.bytes_left -= count
        self.bytes_taken += count


class Room:
    """What all requests together may take.

    Args:
        requests: How many may be under way.
        body_bytes: How many bytes of bodies may lie in memory.
        of_one: How many of the requests may be of one source; as many as there may be if left out.
    """

    def __init__(self, *, requests: int, body_bytes: int, of_one: int | None = None) -> None:
        self.requests_left = requests
        self._of_one = of_one
        self._under_way: Counter[str] = Counter()
        self.bytes_left = body_bytes
        self.unpacking = asyncio.Lock()

    @contextlib.contextmanager
    def entered(self, source: str) -> Iterator[Share]:
        """Be under way; what was taken is given back at the end.

        Args:
            source: Who asks.

        Raises:
            DeliveryRefused: 503; there are too many.
        """
        if self.requests_left < 1 or (self._of_one is not None and self._under_way[source] >= self._of_one):
            raise DeliveryRefused("Too many requests are under way.", 503, RETRY_AFTER_S)
        self.requests_left -= 1
        self._under_way[source] += 1
        share = Share(self)
        try:
            yield share
        finally:
            self.requests_left += 1
            self._under_way[source] -= 1
            if not self._under_way[source]:
                del self._under_way[source]
            self.bytes_left += share.bytes_taken
