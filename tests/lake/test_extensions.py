"""What DuckDB loads is what was signed: checked once a process, and nothing else can be loaded."""

from __future__ import annotations

import importlib.resources
import shutil
from pathlib import Path

import duckdb
import pytest

from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake, extensions
from dispatchlake.lake.reading import connect


def packaged(extension: str) -> Path:
    file = extensions._packaged(extension)
    assert file is not None
    return file


@pytest.fixture
def tampered(tmp_path: Path) -> Path:
    """A folder as the package of an extension has it, with one bit of the signature turned."""
    (original,) = Path(str(importlib.resources.files("duckdb_extension_ducklake"))).rglob(
        "*.duckdb_extension"
    )
    copy = tmp_path / "tampered" / "extensions" / f"v{duckdb.__version__}" / "any" / original.name
    copy.parent.mkdir(parents=True)
    content = bytearray(original.read_bytes())
    content[-5] ^= 1
    copy.write_bytes(content)
    return tmp_path / "tampered"


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the extensions be in another folder than their packages, and nowhere else."""
    monkeypatch.setattr(extensions, "_packaged", extensions._packaged.__wrapped__)
    monkeypatch.setattr(importlib.resources, "files", lambda _package: folder)
    monkeypatch.setenv("HOME", str(folder))  # where DuckDB keeps what it has downloaded: nothing


def test_an_extension_whose_signature_is_wrong_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tampered: Path
) -> None:
    use(monkeypatch, tampered)

    with pytest.raises(ConfigError, match="DuckDB's extension ducklake is not available"):
        extensions.connect({"custom_extension_repository": str(tampered)})


def test_a_file_that_was_exchanged_since_it_was_checked_is_checked_again(
    monkeypatch: pytest.MonkeyPatch, tampered: Path, tmp_path: Path
) -> None:
    (exchanged,) = tampered.rglob("*.duckdb_extension")
    folder = tmp_path / "installed"
    shutil.copytree(tampered, folder)
    for name in extensions._EXTENSIONS:
        (folder / exchanged.relative_to(tampered)).with_stem(name).write_bytes(packaged(name).read_bytes())
    use(monkeypatch, folder)
    elsewhere = {"custom_extension_repository": str(tampered)}
    for _ in range(2):
        extensions.connect(elsewhere).close()

    exchanged.replace(folder / exchanged.relative_to(tampered))

    with pytest.raises(ConfigError, match="DuckDB's extension ducklake is not available"):
        extensions.connect(elsewhere)


def test_nothing_else_can_be_loaded_over_a_connection_of_ours(
    lake: Lake, lake_dir: Path, tampered: Path
) -> None:
    (file,) = tampered.rglob("*.duckdb_extension")
    file = file.rename(tampered / "another.duckdb_extension")  # one of that name is loaded already
    with connect(lake_dir) as reader:
        for ours in (reader, lake._connection):
            with pytest.raises(duckdb.IOException, match="signature"):
                ours.execute(f"LOAD '{file}'")
            with pytest.raises(duckdb.InvalidInputException, match="Cannot change allow_unsigned_extensions"):
                ours.execute("SET GLOBAL allow_unsigned_extensions = true")


def test_a_second_connection_to_one_duckdb_is_as_the_first(lake: Lake, lake_dir: Path) -> None:
    with Lake.open(lake_dir, lock_wait_s=30) as second:
        setting = second._connection.sql("SELECT current_setting('allow_unsigned_extensions')").fetchone()

    assert setting == (False,)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.csv",
        "https://127.0.0.1:9/a.csv",
        "s3://bucket/a.csv",
        "gcs://bucket/a.csv",
        "r2://bucket/a.csv",
        "hf://datasets/a/a.csv",
    ],
)
def test_no_connection_of_ours_reads_or_writes_anywhere_else(lake: Lake, lake_dir: Path, url: str) -> None:
    """An extension that could is loaded, for its OpenSSL."""
    with connect(lake_dir) as reader:
        for ours in (reader, lake._connection):
            for statement in (f"FROM read_csv('{url}')", f"COPY (SELECT 1) TO '{url}'"):
                with pytest.raises(duckdb.PermissionException, match="has been disabled"):
                    ours.execute(statement)


def test_what_is_locked_stays_so(lake: Lake) -> None:
    for statement in ("SET GLOBAL disabled_filesystems = ''", "RESET GLOBAL disabled_filesystems"):
        with pytest.raises(duckdb.Error, match="re-enabled"):
            lake._connection.execute(statement)
