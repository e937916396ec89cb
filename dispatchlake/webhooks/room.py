"""How much is under way at once: requests, and the bytes of their bodies, so that memory has a bound.

Of neither does anybody get more than is left for all others. So whoever sends many requests slowly takes half
of the room, and not what the next one needs; who is alone has half of it too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from dispatchlake.errors import DeliveryRefused

RETRY_AFTER_S = 1
"""What is full now has room again as soon as the disk has taken a batch."""


class Supply:
    """Something of which there is so much, and of which nobody gets more than is left for all others."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._taken: Counter[str] = Counter()

    def take(self, whose: str, count: int) -> bool:
        """Take some for somebody; return False, and take none, where that is too much."""
        if self._taken[whose] + count > self.left:
            return False
        self._taken[whose] += count
        self.left -= count
        return True

    def give_back(self, whose: str, count: int) -> None:
        """Give back what somebody had taken."""
        self.left += count
        self._taken[whose] -= count
        if not self._taken[whose]:
            del self._taken[whose]


class Share:
    """What one request has taken of the room.

    Attributes:
        unpacking: Held by the one request of the room whose body is being unpacked beside the others: how
            large it gets is not known before.
    """

    def __init__(self, bytes_of_bodies: Supply, whose: str, unpacking: asyncio.Lock) -> None:
        self._bytes = bytes_of_bodies
        self._whose = whose
        self.unpacking = unpacking
        self.bytes_taken = 0

    def take(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            DeliveryRefused: 503; there is no room for them.
        """
        if not self._bytes.take(self._whose, count):
            raise DeliveryRefused("Too much is being received at once.", 503, RETRY_AFTER_S)
        self.bytes_taken += count


class Room:
    """What all requests together may take.

    Args:
        requests: How many may be under way.
        body_bytes: How many bytes of bodies may lie in memory.
    """

    def __init__(self, *, requests: int, body_bytes: int) -> None:
        self.requests = Supply(requests)
        self.body_bytes = Supply(body_bytes)
        self._unpacking = asyncio.Lock()

    @contextlib.contextmanager
    def entered(self, whose: str) -> Iterator[Share]:
        """Be under way; what was taken is given back at the end.

        Args:
            whose: Among whom the room is shared: a center, or where none is known yet, an address.

        Raises:
            DeliveryRefused: 503; there are too many.
        """
        if not self.requests.take(whose, 1):
            raise DeliveryRefused("Too many requests are under way.", 503, RETRY_AFTER_S)
        share = Share(self.body_bytes, whose, self._unpacking)
        try:
            yield share
        finally:
            self.requests.give_back(whose, 1)
            self.body_bytes.give_back(whose, share.bytes_taken)
