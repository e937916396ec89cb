"""The systemd units of `docs/` are ones that systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "docs" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")
@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_a_unit_is_one_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    assert ANALYZE is not None
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("prefect", "dispatchlake"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for each in UNITS:  # one names the other
        text = each.read_text()
        assert "/opt/dispatchlake/.venv" in text
        (tmp_path / each.name).write_text(text.replace("/opt/dispatchlake", str(tmp_path)))

    ended = subprocess.run(
        [ANALYZE, "verify", str(tmp_path / unit.name)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    ours = [line for line in ended.stderr.splitlines() if "dispatchlake" in line]
    assert ours == [], "a key that systemd does not know is only warned of"


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_a_unit_holds_no_secret_and_is_told_of(unit: Path) -> None:
    text = unit.read_text()

    assert not re.search(r"^Environment=.*(AUTH_STRING|CONNECTION_URL|API_KEY)", text, re.MULTILINE)
    assert "EnvironmentFile=/etc/dispatchlake/" in text
    assert unit.stem in (ROOT / "docs" / "production.md").read_text()
