"""Spans and sizes are said as people say them."""

from __future__ import annotations

import pytest

from dispatchlake.words import in_bytes, in_words


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (720, "12 min"), (3.5 * 3600, "3.5 h"), (86400 * 4, "4.0 days")]
)
def test_spans_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (3_400_000_000, "3.4 GB"), (2 * 10**12, "2.0 TB")],
)
def test_sizes_are_said_as_people_say_them(count: int, words: str) -> None:
    assert in_bytes(count) == words
