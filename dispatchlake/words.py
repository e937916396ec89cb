"""Spans of time and sizes as people say them."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Return a span of time as people say it: `45 s`, `12 min`, `3.5 h`, `2.0 days`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def in_bytes(count: int) -> str:
    """Return a number of bytes as people say it: `3.4 GB`."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
