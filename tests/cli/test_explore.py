"""`dispatchlake explore`: which lake it opens, and what it says where it cannot."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.cli.explore import _choose_lake
from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake
from dispatchlake.settings import Settings
from tests.command_line import run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person stands who has set nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", "")  # to be put back after the test, whatever it sets
    monkeypatch.delenv("DISPATCHLAKE_DATA_DIR")
    return tmp_path


def test_ones_own_lake_comes_first(home: Path) -> None:
    Lake.open(home / "data" / "open").close()
    Lake.open(home / "data" / "demo" / "open").close()

    _choose_lake()

    assert "DISPATCHLAKE_DATA_DIR" not in os.environ


def test_who_has_the_open_zone_alone_is_shown_it(settings: Settings) -> None:
    Lake.open(settings.open_dir).close()

    _choose_lake()


def test_a_lake_that_was_never_published_is_told_before_a_browser_opens(settings: Settings) -> None:
    Lake.open(settings.lake_dir).close()

    result = run("explore", "--no-browser")

    assert result.returncode == 1
    assert f"There is no open zone in {settings.open_dir} yet" in result.stderr
    assert "dispatchlake publish" in result.stderr


def test_without_one_the_demos_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Lake.open(home / "data" / "demo" / "open").close()

    _choose_lake()

    assert os.environ["DISPATCHLAKE_DATA_DIR"] == str((home / "data" / "demo").resolve())
    del os.environ["DISPATCHLAKE_DATA_DIR"]


def test_the_demos_is_not_taken_for_one_that_was_named(settings: Settings) -> None:
    Lake.open(settings.data_dir / "demo" / "open").close()

    with pytest.raises(ConfigError, match=r"There is no lake in .*make demo"):
        _choose_lake()


def test_without_the_extra_a_person_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        return None if name == "marimo" else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)

    result = run("explore")

    assert result.returncode == 1
    assert "The explorer needs marimo" in result.stderr
    assert "make explore" in result.stderr


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    Lake.open(settings.open_dir).close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = run("explore", "--port", str(port))

    assert result.returncode == 1
    assert f"cannot listen on port {port}" in result.stderr
