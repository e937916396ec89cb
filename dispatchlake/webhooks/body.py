"""A request's body, whole and within limits: never looked into, only unpacked where it came packed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from dispatchlake.errors import DeliveryRefused
from dispatchlake.unpacking import WINDOWS, UnpacksToTooMuch, unpack
from dispatchlake.webhooks.room import Share

_QUICK_BYTES = 16 << 10
"""What is unpacked at once; more is unpacked beside the other requests."""


@dataclass(frozen=True, slots=True)
class Body:
    """What came.

    Attributes:
        content: As received, unpacked.
        coding: The content coding that is still on it, since it could not be undone; "" is the rule.
    """

    content: bytes
    coding: str = ""


async def read_body(request: Request, share: Share, *, limit_bytes: int, limit_s: float) -> Body:
    """Read a body to its end.

    Args:
        request: Of which nothing was read yet.
        share: What its bytes are taken from.
        limit_bytes: Longest body, as sent and unpacked.
        limit_s: Longest time until its last byte.

    Raises:
        DeliveryRefused: It is too large, too slow, or packed in a way we do not know.
        ClientDisconnect: It was broken off.
    """
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", *WINDOWS):
        raise DeliveryRefused("This content coding is not taken; gzip and deflate are.", 415)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    try:
        async with asyncio.timeout(limit_s):
            content = await _receive(request, share, limit_bytes)
    except TimeoutError:
        raise DeliveryRefused(f"The body did not arrive within {limit_s:g} s.", 408) from None
    if coding not in WINDOWS:
        return Body(content)
    try:
        if len(content) <= _QUICK_BYTES:
            unpacked = unpack(content, coding, most_bytes=limit_bytes)
        else:
            async with share.unpacking:
                unpacked = await asyncio.to_thread(unpack, content, coding, most_bytes=limit_bytes)
    except UnpacksToTooMuch:
        raise _too_large(limit_bytes) from None
    if unpacked is None:  # kept as it came: refused, it would be sent again and again, the same
        return Body(content, coding)
    share.take(len(unpacked))
    return Body(unpacked)


async def _receive(request: Request, share: Share, limit_bytes: int) -> bytes:
    chunks = []
    total_bytes = 0
    async for chunk in request.stream():
        total_bytes += len(chunk)
        if total_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        share.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit_bytes: int) -> DeliveryRefused:
    return DeliveryRefused(f"The body is larger than {limit_bytes} bytes.", 413)
