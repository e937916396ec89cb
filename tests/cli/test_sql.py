"""`dispatchlake sql`: one question, many at a prompt, or an export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatchlake.lake.reading import query_frame
from dispatchlake.settings import Settings
from tests.command_line import run


def test_a_question_is_answered_as_a_table(lake: str) -> None:
    result = run("sql", "SELECT center_id, count(*) AS calls FROM cad_incidents GROUP BY ALL")

    assert result.returncode == 0, result.stderr
    assert lake in result.stdout
    assert "300" in result.stdout


def test_the_prompt_takes_statements_over_lines_and_survives_mistakes(lake: str) -> None:
    typed = "SELECT count(*) AS calls\nFROM cad_incidents;\nSELECT nonsense;\nSELECT 40 + 2 AS answer;\n"

    result = run("sql", stdin=typed)

    assert result.returncode == 0, result.stderr
    assert "300" in result.stdout
    assert "The query cannot be answered" in result.stderr
    assert "42" in result.stdout, "a mistake does not end the prompt"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_holds_every_row(lake: str, tmp_path: Path, form: str) -> None:
    import duckdb

    target = tmp_path / f"it's here.{form}"

    result = run("sql", "FROM cad_incidents", f"--{form}", str(target))

    assert result.returncode == 0, result.stderr
    assert "300 rows written" in result.stderr
    quoted = str(target).replace("'", "''")
    row = duckdb.connect().execute(f"SELECT count(*) FROM '{quoted}'").fetchone()
    assert row == (300,)
    assert [file.name for file in tmp_path.glob("*here*")] == [target.name], "no partial file is left"


def test_an_export_to_nowhere_is_one_message(lake: str, tmp_path: Path) -> None:
    result = run("sql", "FROM cad_incidents", "--csv", str(tmp_path / "no" / "folder.csv"))

    assert result.returncode == 1
    assert "could not be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_lake_cannot_be_changed_from_there(lake: str, settings: Settings) -> None:
    result = run("sql", "DELETE FROM cad_incidents")

    assert result.returncode == 1
    assert len(query_frame("FROM cad_incidents")) == 300


def test_the_open_zone_is_asked_unless_the_restricted_is_named_which_is_noted(
    lake: str, settings: Settings
) -> None:
    question = "SELECT count(*) AS calls FROM raw_pages WHERE center_id = 'somebody'"
    log = settings.access_dir / "restricted.jsonl"

    assert run("sql", question).returncode == 0
    assert not log.exists()
    assert run("sql", "SELECT max(extra) FROM cad_incidents").stdout.count("·") == 1, "hidden"
    assert run("sql", "--restricted", question).returncode == 0
    assert run("sql", "--restricted", stdin=f"{question};\nFROM media;\n").returncode == 0

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(entry["tool"], entry["tables"]) for entry in entries] == [
        ("dispatchlake sql", ["raw_pages"]),
        ("dispatchlake sql", ["raw_pages"]),
        ("dispatchlake sql", ["media"]),
    ]
    assert "somebody" not in log.read_text()
