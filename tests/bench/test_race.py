"""The benchmark measures what it says: the floor and ours land what is served, and a lost row is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import listings
from bench.listings import Listing
from bench.measure import Job
from bench.processes import RunnerFailed, run
from bench.rows import iter_rows
from bench.server_process import measure_ceiling, serving
from bench.verification import Landed, NotTheSame

LISTINGS = [Listing("center-00", "cad_incidents", 25, page_size=10)]


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "DATA_DIR", tmp_path / "data")


def land(url: str, folder: Path, module: str) -> None:
    run(module, Job(url, ["center-00"], ["cad_incidents"], 10, str(folder)))


def test_floor_and_ours_land_what_is_served(tmp_path: Path) -> None:
    with serving(LISTINGS) as url:
        for module, landed in (
            ("floor", Landed("parquet", "*.{resource}.parquet")),
            ("library", Landed("lake", "lake")),
        ):
            folder = tmp_path / module
            folder.mkdir()
            land(url, folder, module)
            landed.assert_equal(folder, LISTINGS)


@pytest.mark.parametrize(
    "mangle",
    [
        lambda records: records[1:],
        lambda records: [*records, records[0]],
        *(
            lambda records, change=change: [*records[1:], records[0] | change]
            for change in (
                {"lat": 0.0},
                {"alarm_level": 9},
                {"units": ["E001"]},
                {"dispatched_at": None},
                {"incident_type": "alarm"},
                {"updated_at": "2024-01-01T00:00:00Z"},
            )
        ),
    ],
    ids=["lost", "doubled", "number", "integer", "list", "null", "text", "time"],
)
def test_a_row_that_is_not_as_served_is_noticed(
    tmp_path: Path, mangle: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    rows = iter_rows("cad_incidents", "center-00", range(25))
    records = mangle([json.loads(row.body) for row in rows])
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "center-00.cad_incidents.parquet")

    with pytest.raises(NotTheSame, match="cad_incidents"):
        Landed("parquet", "*.{resource}.parquet").assert_equal(tmp_path, LISTINGS)


def test_a_filtered_request_gets_what_has_changed(tmp_path: Path) -> None:
    nothing = [Listing("center-00", "cad_incidents", 0, page_size=10)]
    with serving(LISTINGS, nothing) as url:
        land(url, tmp_path, "library")
        options = {"since_param": "updated_since"}
        again = run("library", Job(url, ["center-00"], ["cad_incidents"], 10, str(tmp_path), options))

    assert again.more["rows"] == 0


def test_the_ceiling_counts_every_page() -> None:
    with serving(LISTINGS) as url:
        ceiling = measure_ceiling(url, LISTINGS)

    assert (ceiling.pages, ceiling.rows) == (3, 25)


def test_a_runner_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunnerFailed, match="ConnectError"):
        land("http://127.0.0.1:9", tmp_path, "floor")
