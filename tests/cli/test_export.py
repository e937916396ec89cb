"""`dispatchlake export`: what a person types, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.command_line import run


def test_several_things_go_into_one_file_of_one_moment(lake: str, tmp_path: Path) -> None:
    target = tmp_path / "it's.duckdb"

    result = run("export", "cad_incidents", "n=SELECT 1 AS one", "--to", str(target))

    assert result.returncode == 0, result.stderr
    assert f"301 rows written to {target} (cad_incidents 300, n 1), as of snapshot" in result.stderr
    assert "Readable by you alone" in result.stderr
    with duckdb.connect(str(target), read_only=True) as file:
        assert file.sql("SELECT DISTINCT center_id FROM cad_incidents").fetchall() == [(lake,)]


def test_csv_says_what_was_done_for_spreadsheets(lake: str, tmp_path: Path) -> None:
    safe = run("export", "cad_incidents", "--to", str(tmp_path / "a.csv"))
    exact = run("export", "cad_incidents", "--to", str(tmp_path / "b.csv"), "--exact")

    assert "an apostrophe stands first (--exact leaves it out)" in safe.stderr
    assert exact.returncode == 0
    assert "apostrophe" not in exact.stderr


def test_files_of_a_folder_have_the_form_asked_for(lake: str, tmp_path: Path) -> None:
    result = run("export", "cad_incidents", "runs", "--to", str(tmp_path / "all"), "--form", "csv")

    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        "cad_incidents.csv",
        "runs.csv",
        "export.json",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cad_incident", "--to", "a.csv"], "Did you mean cad_incidents?"),
        (["--to", "a.csv"], "Nothing is named to be exported"),
        (["cad_incidents", "--to", "a.parquet", "--form", "csv"], "ends like a file of another form"),
        (["cad_incidents", "--to", "a.parquet", "--exact"], "--exact is for CSV"),
        (["cad_incidents", "--to", "a.csv", "--at", "yesterday"], "is not a time"),
        (["cad_incidents", "--to", "a.csv", "--at", "2024-07-08T14:05:00"], "has no time zone"),
        (["cad_incidents", "--to", "a.csv", "--at", "2000-01-01"], "no snapshot of 2000-01-01"),
        (["cad_incidents", "--to", "no/such/a.csv"], "could not be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)

    result = run("export", *arguments)

    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_snapshot_is_named_by_its_number(lake: str, tmp_path: Path) -> None:
    result = run("export", "cad_incidents", "--to", str(tmp_path / "a.csv"), "--at", "1")

    assert result.returncode == 0, result.stderr
    assert "0 rows written" in result.stderr, "the lake was still empty"
