"""Bodies that come packed: whole and within a limit, or not at all."""

from __future__ import annotations

import zlib

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""The codings that are undone (RFC 9110, 8.4.1), with zlib's name for each; some senders mean raw deflate."""

_RAW_DEFLATE = -15

_MOST_MEMBERS = 100
"""For each, what is behind it is copied."""


class UnpacksToTooMuch(ValueError):
    """A body is longer than its limit; no more than that was unpacked."""


def unpack(content: bytes, coding: str, *, most_bytes: int) -> bytes | None:
    """Return the content unpacked, or None where it is damaged, cut off, or in too many pieces.

    Args:
        content: As it came.
        coding: One of `WINDOWS`.
        most_bytes: Longest that it may be, unpacked.

    Raises:
        UnpacksToTooMuch: It is longer.
    """
    unpacked = _unpack_members(content, WINDOWS[coding], most_bytes)
    if unpacked is None and coding == "deflate":
        unpacked = _unpack_members(content, _RAW_DEFLATE, most_bytes)
    return unpacked


def _unpack_members(content: bytes, window: int, most_bytes: int) -> bytes | None:
    unpacked = b""
    for _ in range(_MOST_MEMBERS):  # gzip may have several, one after the other
        decoder = zlib.decompressobj(window)
        try:
            unpacked += decoder.decompress(content, most_bytes + 1 - len(unpacked))
        except zlib.error:
            return None
        if len(unpacked) > most_bytes:
            raise UnpacksToTooMuch
        if not decoder.eof:
            return None
        content = decoder.unused_data
        if not content:
            return unpacked
    return None
