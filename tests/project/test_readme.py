"""What the README says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake.publishing import publish
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run_process
from tests.sandbox_process import SandboxProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

COMMANDS = [
    line.removeprefix("$ ").split("#")[0].strip() for line in README.splitlines() if line.startswith("$ ")
]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    told = dict(re.findall(r"^\| `DISPATCHLAKE_([A-Z_]+)` \| ([^|]*) \|", README, re.MULTILINE))

    assert set(told) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = str(field.default).removesuffix(".0").lower()
        assert told[name.upper()].strip().strip("`") == default, name


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:dispatchlake|tasks|flows|sandbox|api)/[\w/]*(?:\.py)?)`", README)
)
def test_every_path_is_there(path: str) -> None:
    assert (ROOT / path).exists() or (ROOT / "dispatchlake" / path).exists()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_every_make_target_is_there(command: str) -> None:
    target = shlex.split(command)[1]

    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("dispatchlake ")])
def test_every_command_and_option_is_known(command: str) -> None:
    words = shlex.split(command)[1:]
    name = words[:2] if words[0] in {"alerts", "centers", "webhooks"} else words[:1]

    result = run_process(*name, "--help")

    assert result.returncode == 0, result.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in result.stdout


def test_the_python_lines_run(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox)
    ingest_cell(center, "incident_events", settings=settings, run_id="r")
    publish(settings)
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}

    exec(snippet.replace("houston-tx", center.center_id), names)

    assert len(names["frame"]) == 300  # type: ignore[arg-type]
    names["connection"].close()  # type: ignore[attr-defined]


def test_every_link_to_a_file_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
