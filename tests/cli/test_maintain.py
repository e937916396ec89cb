"""`dispatchlake maintain`, `backup` and `restore`, and the page that tells how to use them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dispatchlake.lake import catalog_file
from dispatchlake.lake.reading import query_frame
from dispatchlake.settings import Settings
from tests.command_line import run

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
COMMANDS = re.findall(r"^ *\$ (dispatchlake .*)$", OPERATIONS.read_text(), re.MULTILINE)


def test_maintain_shows_what_it_did_to_each_table(lake: str) -> None:
    result = run("maintain", "--keep-snapshots-days", "0", "--keep-files-days", "0")

    assert result.returncode == 0, result.stderr
    assert re.search(r"^snapshots +\d+ +1$", result.stdout, re.MULTILINE)
    assert re.search(r"^inlined rows +\d+ +0$", result.stdout, re.MULTILINE)
    assert re.search(r"^cad_incidents +1 +1 ", result.stdout, re.MULTILINE)
    assert re.search(r"^flush inlined rows +ok +\d+ rows ", result.stdout, re.MULTILINE)
    assert len(query_frame("FROM cad_incidents")) == 300


def test_a_step_that_fails_ends_with_status_1_and_its_sentence(
    lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(catalog: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(catalog_file, "compact", fail)

    result = run("maintain")

    assert result.returncode == 1
    assert "compact the catalog: Unexpected ZeroDivisionError" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.parametrize("days", ["-1", "nan", "inf"])
def test_a_span_that_is_none_is_refused(lake: str, days: str) -> None:
    result = run("maintain", "--keep-files-days", days)

    assert result.returncode == 1
    assert "is not a number of days" in result.stderr


@pytest.mark.parametrize("command", [["maintain"], ["backup", "file"]])
def test_without_a_lake_there_is_one_message(settings: Settings, command: list[str]) -> None:
    result = run(*command)

    assert result.returncode == 1
    assert "There is no lake" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_backup_is_one_message(lake: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no backup")

    result = run("restore", str(tmp_path / "notes"))

    assert result.returncode == 1
    assert "is no backup of a catalog" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_commands_of_the_operations_page_do_what_it_says(
    lake: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {shlex.split(command)[1] for command in COMMANDS} == {
        "maintain", "backup", "restore", "ingest", "sql",
    }  # fmt: skip
    for command in COMMANDS:
        if shlex.split(command)[1] == "ingest":  # tests/flows runs it: it needs a Prefect server
            continue
        result = run(*shlex.split(command)[1:])
        assert result.returncode == 0, f"{command}: {result.stderr}"

    assert (tmp_path / "catalog.backup").exists()
    assert list(settings.lake_dir.glob("catalog-replaced-*.sqlite"))
    assert len(query_frame("FROM cad_incidents")) == 300
