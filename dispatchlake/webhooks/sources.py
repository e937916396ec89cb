"""How often an address may fail to log in before it is told to slow down."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 20
"""Failures in a row that are answered at once: a vendor's workers that all still have the old token."""

EVERY_S = 3.0
"""Each so many seconds, one more failure is forgiven."""

_MOST_SOURCES = 10_000
"""Sources that are remembered, those that failed last; the memory is bounded whoever comes."""


def source_of(host: str | None) -> str:
    """Return the address that counts: of IPv6 its network, since a host has a whole one; "-" for none."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return "-"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address.packed, 64), strict=False).network_address) + "/64"
    return str(address)


class Failures:
    """Counts failures by source. Only failures count, so whoever has a valid token is never kept out.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def count(self, source: str) -> int | None:
        """Count a failure; return None, or where there were too many, the seconds until the next may be."""
        now_s = self._clock()
        left, since_s = self._left.get(source, (float(BURST), now_s))
        left = min(BURST, left + (now_s - since_s) / EVERY_S)
        is_too_many = left < 1
        self._left[source] = (left if is_too_many else left - 1, now_s)
        self._left.move_to_end(source)
        if len(self._left) > _MOST_SOURCES:
            self._left.popitem(last=False)
        return math.ceil((1 - left) * EVERY_S) if is_too_many else None
