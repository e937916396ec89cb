"""The pictures in the docs: each is shown, and taken by a test of the UI that still runs.

What they show is not compared: times and ids change with every run. `make screenshots` takes them anew; these
tests see to it that nothing is shown which no test looks at any more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"

SHOWN = {
    target
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for target in re.findall(r"!\[[^\]]+\]\((?:docs/)?images/([^)]+)\)", page.read_text())
}
TAKEN = {
    f"{name}.png"
    for test in (ROOT / "tests" / "browser").glob("test_*.py")
    for name in re.findall(r"\.picture\(\s*\"([\w-]+)\"", test.read_text())
}


def test_pictures_are_shown_at_all() -> None:
    assert len(SHOWN) > 5


def test_every_picture_that_is_shown_is_taken_by_a_test_and_the_other_way_round() -> None:
    assert SHOWN == TAKEN
    assert {path.name for path in IMAGES.iterdir()} == SHOWN


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_picture_is_there_and_small(name: str) -> None:
    content = (IMAGES / name).read_bytes()

    assert content.startswith(b"\x89PNG")
    assert len(content) < 200_000
