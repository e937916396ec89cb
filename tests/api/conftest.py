"""What every test of the client is given: a state folder of its own, and waits too short to notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatchlake.api import retry


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Where tokens and rates are kept; nothing is there yet."""
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off by hundredths of a second; what a server asks for (Retry-After) is still obeyed."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
