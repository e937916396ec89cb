"""A retention is killed at every step: the next one finishes it, and takes nothing that is not due."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.guarantees import erasures
from tests.guarantees.ledger import Ledger
from tests.guarantees.victims import Point, Victim

POINTS = [
    Point("write the ledger", when="after"),
    Point("UPDATE raw_pages", when="after"),
    Point("UPDATE raw_pages", nth=2, when="after"),
    Point("DELETE FROM incidents", when="after"),
    Point("DELETE FROM quarantine", when="after"),
    Point("INSERT INTO retention_runs", when="before"),
    Point("COMMIT", nth=2, when="after"),
    Point("COMMIT", nth=2, when=2.0),
    Point("CALL ducklake_rewrite_data_files", when="after"),
    Point("remove what is listed", when="after"),
    Point("scrub the catalog", when="after"),
]
"""Every step of a retention: before it, after it, and within a commit."""

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    """A data folder with rules that were not applied yet; and what is there once they were, undisturbed."""
    folder = tmp_path_factory.mktemp("grown")
    Victim(erasures.put_lake, folder / "data").result()
    Victim(erasures.set_rules, folder / "data").result()
    before = erasures.read_others(folder / "data")
    undisturbed = Path(shutil.copytree(folder / "data", folder / "undisturbed"))
    Victim(erasures.apply_rules, undisturbed).result()
    after = erasures.read_others(undisturbed)
    assert erasures.left(folder / "data")
    assert erasures.left(undisturbed) == set()
    assert 0 < len(after) < len(before), "some are due, and some are not"
    return folder / "data", after


@pytest.mark.fault("SIGKILL at a step of a retention, and within its commit")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_retention_killed_at_a_step(
    grown: tuple[Path, Rows], tmp_path: Path, ledger: Ledger, point: Point
) -> None:
    data_dir, expected = Path(shutil.copytree(grown[0], tmp_path / "data")), grown[1]
    victim = Victim(erasures.apply_rules, data_dir, point)
    assert victim.wait_until_killed()
    ledger.tried()

    Victim(erasures.apply_rules, data_dir).result()

    assert erasures.left(data_dir) == set()
    ledger.compare_rows(erasures.read_others(data_dir), expected)
    assert not list((data_dir / "lake" / "erasing").iterdir())
