"""The catalog's file as SQLite's: made small, copied while others have it open, found damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatchlake.errors import CatalogBusy, LakeError, is_transient
from dispatchlake.lake import catalog_file, sqlite_script
from dispatchlake.lake.inventory import wal_path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """One with much free space and a write-ahead log."""
    with contextlib.closing(
        sqlite3.connect(tmp_path / "it's #1?.sqlite", isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (i INTEGER, s TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((i, "x" * 500) for i in range(1000)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("DELETE FROM t WHERE i >= 100")
        yield connection


@pytest.fixture
def path(tmp_path: Path, database: sqlite3.Connection) -> Path:
    return tmp_path / "it's #1?.sqlite"


def test_free_pages_go_back_and_the_log_is_emptied(path: Path, database: sqlite3.Connection) -> None:
    before = path.stat().st_size
    assert wal_path(path).stat().st_size > 0

    compacted = catalog_file.compact(path)

    assert compacted.log_is_empty
    assert wal_path(path).stat().st_size == 0
    assert compacted.freed_bytes > 300_000
    assert path.stat().st_size < before
    assert database.execute("SELECT count(*), sum(i) FROM t").fetchone() == (100, 4950)
    assert catalog_file.compact(path).freed_bytes == 0, "nothing is left to do"


def test_a_reader_keeps_its_state_and_is_no_error(
    path: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_script, "BUSY_TIMEOUT_S", 0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (100,)
        database.execute("DELETE FROM t WHERE i = 0")

        assert not sqlite_script.compact(str(path))["log_is_empty"]

        assert reader.execute("SELECT count(*) FROM t").fetchone() == (100,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (99,)
    assert catalog_file.compact(path).log_is_empty


def test_a_copy_is_of_one_moment_stands_alone_and_is_private(
    path: Path, database: sqlite3.Connection, tmp_path: Path
) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("DELETE FROM t")
    copy = tmp_path / "copy"

    catalog_file.copy(path, copy)
    database.execute("ROLLBACK")

    assert not list(tmp_path.glob("copy-*"))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert catalog_file.find_damage(copy) is None
    with catalog_file.read_only(copy) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (100,)


@pytest.mark.parametrize("offset", [0, 100, 30_000])
def test_damage_is_found(path: Path, database: sqlite3.Connection, tmp_path: Path, offset: int) -> None:
    copy = tmp_path / "copy"
    catalog_file.copy(path, copy)
    content = bytearray(copy.read_bytes())
    content[offset : offset + 20_000] = b"\x55" * 20_000
    copy.write_bytes(content)

    assert catalog_file.find_damage(copy)


def test_what_is_no_database_or_is_locked_is_an_error_of_ours(
    path: Path, database: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("no database, by far " * 100)
    with pytest.raises(LakeError, match="cannot be read as one") as caught:
        catalog_file.compact(tmp_path / "text")
    assert not is_transient(caught.value)

    script = Path(sqlite_script.__file__).read_text().replace("BUSY_TIMEOUT_S = 10.0", "BUSY_TIMEOUT_S = 0.1")
    (tmp_path / "impatient.py").write_text(script)
    monkeypatch.setattr(catalog_file, "_SCRIPT", tmp_path / "impatient.py")
    database.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogBusy, match="locked by another program") as busy:
        catalog_file.compact(path)
    assert is_transient(busy.value)
