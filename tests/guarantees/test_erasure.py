"""An erasure is killed at every step: what was begun is finished by the next, and nothing else is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.lake.erasure_plan import read_plans
from tests.guarantees import erasures
from tests.guarantees.ledger import Ledger
from tests.guarantees.victims import Point, Victim

POINTS = [
    Point("write the plan", when="after"),
    Point("write the ledger", when="after"),
    Point("UPDATE raw_pages", when="after"),
    Point("DELETE FROM incidents", when="after"),
    Point("COMMIT", nth=2, when="after"),
    Point("COMMIT", nth=2, when=2.0),
    Point("CALL ducklake_rewrite_data_files", when="after"),
    Point("remove what is listed", when="after"),
    Point("scrub the catalog", when="after"),
    Point("write the ledger", nth=2, when="after"),
    Point("forget the plan", when="before"),
]
"""Every step of an erasure: before it, after it, and within its commit."""


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Any, ...]]]:
    folder = tmp_path_factory.mktemp("grown") / "data"
    Victim(erasures.put_lake, folder).result()
    assert erasures.left(folder)
    return folder, erasures.read_others(folder)


@pytest.mark.fault("SIGKILL at a step of an erasure, and within its commit")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_an_erasure_killed_at_a_step(
    grown: tuple[Path, list[tuple[Any, ...]]], tmp_path: Path, ledger: Ledger, point: Point
) -> None:
    data_dir, others = Path(shutil.copytree(grown[0], tmp_path / "data")), grown[1]
    victim = Victim(erasures.erase, data_dir, point)
    assert victim.wait_until_killed()
    ledger.tried()

    assert read_plans(data_dir / "lake"), "it can be gone on with"
    Victim(erasures.finish, data_dir).result()

    assert erasures.left(data_dir) == set()
    ledger.compare_rows(erasures.read_others(data_dir), others)
    assert not read_plans(data_dir / "lake")
    assert erasures.is_known(data_dir)
