"""`make guarantees` ends in time, tries each fault before it tries one again, and says what it left out."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.guarantees import bound
from tests.guarantees.table import NOT_COUNTED
from tests.prefect_home import environment_without_prefect

ROOT = Path(__file__).parents[2]
MAKE = [
    "make",
    "--no-print-directory",
    "-o",
    ".venv/.dev",
    f"BIN={Path(sys.executable).parent}",
    "guarantees",
]
"""As somebody calls it, with the environment that these tests run in."""
TEST = "tests/guarantees/test_properties.py::test_the_guards_end_whatever_the_envelopes_name"


def run_pytest(*arguments: str, until_s: float) -> list[str]:
    """Run pytest as `make guarantees` does, with that much time, and return what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return run(command, DISPATCHLAKE_GUARANTEES_UNTIL=f"{until_s:.0f}")


def run(command: list[str], **variables: str) -> list[str]:
    """Run a command that must end well, and return what it printed."""
    environment = {
        name: value
        for name, value in environment_without_prefect().items()
        if not name.startswith(("PYTEST_", "COV_", "MAKE", "DISPATCHLAKE_"))
    } | {"COLUMNS": "200", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def row_of(lines: list[str]) -> list[str]:
    """Return the cells of the one fault."""
    (row,) = (line for line in lines if line.startswith("│ the guards end"))
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_the_command_tries_what_there_is_time_for_and_ends_with_the_table() -> None:
    chosen = f"-n 0 -p no:cacheprovider -k {TEST.rpartition('::')[2]}"
    lines = run([*MAKE, "MINUTES=20", f"PYTEST_ARGS={chosen}"])

    assert row_of(lines)[1:] == ["1", "", NOT_COUNTED, NOT_COUNTED, "held"]
    assert not any("left out:" in line for line in lines)


def test_what_there_is_no_time_for_is_left_out_and_told() -> None:
    lines = run_pytest(TEST, until_s=time.time())

    assert row_of(lines)[1:] == ["0", "1", NOT_COUNTED, NOT_COUNTED, "not tried"]
    assert any("left out: tests for which no time was left" in line for line in lines)


def test_nothing_begins_in_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "UNTIL_S", 1000.0)

    assert not bound.time_is_up(970.0)
    assert bound.time_is_up(970.1)


def test_each_fault_is_tried_once_before_one_is_tried_again() -> None:
    collected = run_pytest("--collect-only", "tests/guarantees", until_s=time.time() + 600)
    tried = [line.partition("[")[0] for line in collected if "killed_at" in line and "every" not in line]
    kinds = set(tried)

    assert len(kinds) > 4
    assert set(tried[: len(kinds)]) == kinds
    assert len(tried) > 2 * len(kinds)


@pytest.mark.parametrize(("minutes", "profile"), [("", "patient"), ("1", "patient"), ("60", "thorough")])
def test_who_gives_it_an_hour_has_each_property_tried_more_often(minutes: str, profile: str) -> None:
    recipe = run([*MAKE, "--dry-run", *([f"MINUTES={minutes}"] if minutes else [])])

    assert f"--hypothesis-profile={profile} " in " ".join(recipe)
