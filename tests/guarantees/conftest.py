"""Fixtures of the guarantees, and what is tried in which order."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guarantees.bound import UNTIL_S, spread, time_is_up
from tests.guarantees.ledger import FAULT, Ledger, fault_of


@pytest.fixture
def ledger(record_property: Callable[[str, object], None]) -> Ledger:
    """Where a test notes its trials, under what it says that it tries."""
    return Ledger(record_property)


@pytest.hookimpl(trylast=True)  # what shuffles tests has done so
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test say what it tries; where time is short, let none be tried twice before all are once."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        item.user_properties.append((FAULT, fault_of(item)))
    if not math.isinf(UNTIL_S):
        others = [item for item in items if item not in ours]
        items[:] = [*others, *spread(ours)]


def pytest_runtest_setup() -> None:
    """Begin nothing that could not end in time."""
    if time_is_up():
        pytest.skip("no time is left to try it")
