"""How often properties are tried is told in one place, so that a profile can multiply it everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import EXAMPLES, THOROUGH, examples

TESTS = Path(__file__).parents[1]


@pytest.fixture
def thorough() -> Iterator[None]:
    before = settings.get_current_profile_name()
    settings.load_profile("thorough")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("thorough")
def test_the_thorough_profile_multiplies_the_cheap_and_the_dear_alike() -> None:
    assert settings().max_examples == THOROUGH * EXAMPLES
    assert examples(4).max_examples == THOROUGH * 4


def test_no_test_says_by_itself_how_often_it_is_tried() -> None:
    paths = [path for path in TESTS.rglob("*.py") if path.name != "examples.py"]
    assert len(paths) > 100

    assert [path.name for path in paths if re.search(r"\bmax_examples=", path.read_text())] == []
