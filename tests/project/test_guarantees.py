"""Every test that docs/guarantees.md names as a proof is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()

NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", GUARANTEES)))


def test_proofs_are_named_at_all() -> None:
    assert len(NAMED) > 30
    assert len(NAMED) == len(set(re.findall(r"[\w/]+\.py::\w+", GUARANTEES))), "each in the form read here"


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    assert {name for named, name in NAMED if named == path} <= there


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", GUARANTEES):
        assert (ROOT / "docs" / target).exists(), target
