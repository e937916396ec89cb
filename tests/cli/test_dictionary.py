"""`dispatchlake dictionary`: what the lake holds, and what a column means."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatchlake.lake import open_lake
from dispatchlake.settings import Settings
from tests.command_line import run


@pytest.fixture
def made(settings: Settings) -> None:
    """A lake that nothing was landed in."""
    open_lake(settings).close()


@pytest.mark.usefixtures("made")
def test_every_object_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    result = run("dictionary")

    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "One row per CAD incident: how long its response took." in lines["response_times"]
    assert lines["incidents_as_of"].split()[1] == "macro"
    assert lines["raw_pages"].split()[1] == "table"


@pytest.mark.usefixtures("made")
def test_one_object_is_explained_column_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    result = run("dictionary", "response_times")

    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("call_to_dispatch_s"))
    assert "seconds" in line
    assert "From call_received_at to dispatched_at" in line
    assert "must not be summed" in line
    assert "For example: SELECT center_id" in result.stdout


@pytest.mark.usefixtures("made")
def test_what_is_not_there_is_named() -> None:
    result = run("dictionary", "nothing")

    assert result.returncode == 1
    assert "There is no table, view or macro 'nothing' in the lake." in result.stderr


def test_the_page_needs_no_lake(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "page.md"

    assert run("dictionary", "--markdown", str(target)).returncode == 0
    assert run("dictionary", "--markdown", str(tmp_path / "no" / "page.md")).returncode == 1
    assert run("dictionary", "incidents", "--markdown", str(target)).returncode == 1
    assert target.read_text().startswith("# Data dictionary")
