"""`dispatchlake verify`: a table where all is whole, the first broken link where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dispatchlake.lake import Lake, open_lake
from dispatchlake.lake.reading import query_arrow
from dispatchlake.settings import Settings
from tests.command_line import run
from tests.lake.pages import cell, incident, load, page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with pages of two centers."""
    folder = tmp_path_factory.mktemp("made") / "lake"
    with Lake.open(folder) as lake:
        load(lake, incident())
        lake.load([page(incident(), center_id="center-b")] * 2, cell=cell("center-b"), run_id="run")
    return folder


def test_a_whole_archive_is_a_table_and_its_heads(made: Path, settings: Settings) -> None:
    shutil.copytree(made, settings.lake_dir)

    result = run("verify")

    assert result.returncode == 0, result.stderr
    assert "2024-03-02 00:00:00Z" in result.stdout
    heads = query_arrow("FROM chain_heads", lake_dir=settings.lake_dir).to_pylist()
    assert len(heads) == 2
    for head in heads:
        assert f"{head['center_id']} {head['position']} {head['record_sha256']}" in result.stdout


def test_a_broken_link_is_named_and_the_exit_status_says_so(made: Path, settings: Settings) -> None:
    shutil.copytree(made, settings.lake_dir)
    with open_lake(settings) as lake:
        lake._connection.execute("UPDATE raw_pages SET body = 'secret'::BLOB WHERE center_id = 'center-b'")

    result = run("verify")

    pages = query_arrow(
        "SELECT raw_id FROM raw_pages WHERE center_id = 'center-b' AND chain_position = 1",
        lake_dir=settings.lake_dir,
    ).to_pylist()
    assert result.returncode == 1
    assert f"center-b, position 1, page {pages[0]['raw_id']}: body does not match its hash" in result.stderr
    assert "The chain of 1 of 2 centers is broken." in result.stderr
    assert "secret" not in result.stdout + result.stderr
    assert run("verify", "center-a").returncode == 0
    unknown = run("verify", "center-x")
    assert unknown.returncode == 1
    assert "no page of dispatch center center-x. Archived are: center-a, center-b." in unknown.stderr
