"""Changes landed on a large lake are compared with what was served, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import large_lake, listings, scenarios
from bench.listings import Listing
from bench.measure import Job
from bench.processes import run
from bench.server_process import serving
from bench.verification import Landed, NotTheSame

ROWS = 100
CHANGED = Listing("center-00", "cad_incidents", 5, first=15, revision=1)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (listings, large_lake):
        monkeypatch.setattr(module, "DATA_DIR", tmp_path / "data")


def test_changes_are_landed_on_both_lakes_and_are_as_served() -> None:
    recent, scattered = scenarios.changes(1, small=ROWS, large=2 * ROWS, count=5)

    assert recent.value > 0
    assert scattered.value > 0


def test_changes_that_are_not_as_served_are_noticed() -> None:
    lake = Landed("lake", "lake")
    with large_lake.copy(ROWS) as folder:
        with pytest.raises(NotTheSame, match="cad_incidents: served"):
            lake.assert_changed(folder, CHANGED, ROWS)
        with serving([CHANGED], [CHANGED]) as url:
            options = {"since_param": "updated_since"}
            run(
                "library", Job(url, ["center-00"], ["cad_incidents"], CHANGED.page_size, str(folder), options)
            )

        lake.assert_changed(folder, CHANGED, ROWS)
        with pytest.raises(NotTheSame, match="cad_incidents: served"):
            lake.assert_changed(folder, replace(CHANGED, revision=2), ROWS)
        with pytest.raises(NotTheSame, match="make 99 current rows and 104 versions"):
            lake.assert_changed(folder, CHANGED, ROWS - 1)
