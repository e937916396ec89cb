"""Whether maintenance leaves nothing of whoever was killed, and takes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dispatchlake.lake import inventory
from dispatchlake.lake.reading import connect
from tests.guarantees import work
from tests.guarantees.content import Content
from tests.guarantees.ledger import Ledger


def assert_tidy(data_dir: Path, read: Callable[[], Content], ledger: Ledger) -> None:
    """Maintain the lake, and fail unless nothing is left of the killed and all that is read is as before."""
    before = read()
    work.maintain(data_dir)
    assert_nothing_is_left_over(data_dir / "lake")
    assert_same(read(), before, ledger)


def assert_nothing_is_left_over(lake_dir: Path) -> None:
    """Fail unless the lake's files are those that its catalog names, and nothing lies where one spills to."""
    with connect(lake_dir) as connection:
        named = inventory.named_files(connection, lake_dir)
        assert not inventory.listed_files(connection, lake_dir)
    assert {path for path in inventory.data_dir(lake_dir).rglob("*") if path.is_file()} == named
    assert not list((lake_dir / "tmp").iterdir())


def assert_same(found: Content, expected: Content, ledger: Ledger) -> None:
    """Fail unless rows and marks are the same."""
    ledger.compare(found, expected)
    assert found == expected
