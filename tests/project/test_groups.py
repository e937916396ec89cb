"""Tests that share something dear (a Prefect server, the demo's lake) run in one worker: it is made once."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all tests run in this one process")
@pytest.mark.xdist_group("of_one")
def test_groups_are_heeded(request: pytest.FixtureRequest) -> None:
    """pytest-xdist tells its scheduler of a group at the end of a test's id, to which pytest 9.2 is deaf."""
    assert request.node.nodeid.endswith("@of_one")
