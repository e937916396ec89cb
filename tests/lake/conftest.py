"""Lakes to load into: one that tests share, each with a center of its own, and one for a test alone."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dispatchlake.lake import Lake
from dispatchlake.lake.reading import connect
from tests.lake.pages import Center, see_one_center

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "lake"


@pytest.fixture(scope="session")
def shared_lake(shared_dir: Path) -> Iterator[Lake]:
    with Lake.open(shared_dir) as lake:
        lake._connection.execute("SET threads = 1")  # a third less work for loads as small as these
        yield lake


@pytest.fixture(scope="session")
def shared_reader(shared_lake: Lake, shared_dir: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(shared_dir) as connection:
        see_one_center(connection)
        yield connection


@pytest.fixture(scope="session")
def new_center(shared_lake: Lake, shared_reader: duckdb.DuckDBPyConnection) -> Callable[[], Center]:
    """Gives one more center with each call: for the examples of a property."""
    return lambda: Center(shared_lake, shared_reader, f"center-{secrets.token_hex(6)}")


@pytest.fixture
def center(new_center: Callable[[], Center]) -> Center:
    return new_center()


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that nobody has open, to be copied: quicker than making one for each test."""
    lake_dir = tmp_path_factory.mktemp("empty") / "lake"
    Lake.open(lake_dir).close()
    return lake_dir


@pytest.fixture
def lake_dir(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(lake_dir: Path, empty_lake: Path) -> Iterator[Lake]:
    """A lake of the test's own."""
    shutil.copytree(empty_lake, lake_dir)
    with Lake.open(lake_dir, lock_wait_s=30) as lake:
        yield lake


@pytest.fixture
def ask(lake: Lake) -> Iterator[Ask]:
    """Asks that lake, over a connection of its own."""
    with lake._connection.cursor() as connection:
        connection.execute("USE lake; SET TimeZone = 'UTC'")
        yield lambda sql: connection.sql(sql).fetchall()
