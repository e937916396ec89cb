"""`dispatchlake demo`: what it says to type next can be typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dispatchlake.cli.demo import _command
from tests.command_line import COMMAND

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("here", [ROOT, ROOT / "docs", Path("/")])
def test_a_module_that_was_run_is_run_again_as_one(here: Path) -> None:
    said = _command(ROOT / "dispatchlake" / "__main__.py", here)

    shown = subprocess.run(
        [*said.split(), "--version"], cwd=here, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    expected = subprocess.run([*COMMAND, "--version"], capture_output=True, check=True)
    assert shown.stdout == expected.stdout
    assert said.endswith(" -m dispatchlake")


def test_a_program_is_named_from_where_a_person_stands() -> None:
    program = Path(sys.executable).with_name("dispatchlake")

    assert _command(program, program.parents[2]) == f"{program.parents[1].name}/bin/dispatchlake"
    assert _command(program, Path("/somewhere/else")) == str(program)
