"""A backup of the catalog, and the way back from it: whole or not at all, and never over a lake at work."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import dispatchlake
from dispatchlake.errors import CatalogBusy, ConfigError, LakeError, LakeTooNew, is_transient
from dispatchlake.lake import Lake, migrations
from dispatchlake.lake.backup import back_up, read_manifest, restore
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.reading import connect
from dispatchlake.settings import Settings
from tests.lake.pages import incident, load
from tests.lake.scripts import Script
from tests.lake.upkeep import at, files, grow, grown_lake, keep_house, make_old, settings_of


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Path:
    """A lake with a backup beside it."""
    lake_dir = grown_lake(tmp_path_factory.mktemp("grown"), empty_lake, loads=2)
    back_up(settings_of(lake_dir), lake_dir.parent / "backup")
    return lake_dir


@pytest.fixture
def lake_dir(tmp_path: Path, grown: Path) -> Path:
    return Path(shutil.copytree(grown.parent, tmp_path / "home") / "lake")


@pytest.fixture
def settings(lake_dir: Path) -> Settings:
    return settings_of(lake_dir)


@pytest.fixture
def backup(lake_dir: Path) -> Path:
    return lake_dir.parent / "backup"


def held(lake_dir: Path) -> object:
    with connect(lake_dir) as reader:
        return at(reader)


def catalogs(lake_dir: Path) -> list[str]:
    return sorted(path.name for path in lake_dir.iterdir() if "catalog" in path.name)


def test_a_backup_is_one_private_file_that_says_what_it_is(
    settings: Settings, lake_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "it's a backup #1?.sqlite"
    with Lake.open(lake_dir) as lake:
        load(lake, incident("still in the write-ahead log"))
        manifest = back_up(settings, target)

    assert manifest == read_manifest(target)
    assert manifest.version == dispatchlake.__version__
    assert manifest.files == len(files(lake_dir))
    assert manifest.bytes == sum(path.stat().st_size for path in files(lake_dir))
    assert set(manifest.layout) == set(migrations.MIGRATIONS)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == [target.name]
    now = held(lake_dir)
    with Lake.open(lake_dir) as lake:
        load(lake, incident("later"))
    assert held(lake_dir) != now
    restore(settings, target)
    assert held(lake_dir) == now


def test_a_restore_goes_back_and_keeps_what_it_replaced(
    settings: Settings, lake_dir: Path, backup: Path
) -> None:
    then = held(lake_dir)
    with Lake.open(lake_dir) as lake:
        grow(lake, loads=2, first=2)
    now = held(lake_dir)
    content = catalog_path(lake_dir).read_bytes()

    restored = restore(settings, backup)

    assert held(lake_dir) == then
    assert restored.manifest == read_manifest(backup)
    assert restored.replaced
    assert restored.replaced.name.startswith("catalog-replaced-20")
    assert restored.replaced.read_bytes() == content
    assert catalog_path(lake_dir).stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="is no backup"):
        read_manifest(catalog_path(lake_dir))  # the manifest is not left in it
    shutil.copy(restored.replaced, catalog_path(lake_dir))
    assert held(lake_dir) == now, "the way back is open"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda catalog: catalog.unlink(), id="gone"),
        pytest.param(lambda catalog: catalog.write_bytes(b"no catalog" * 1000), id="other content"),
        pytest.param(lambda catalog: catalog.write_bytes(catalog.read_bytes()[:5000]), id="cut short"),
        pytest.param(lambda catalog: catalog.rename(f"{catalog}-wal"), id="a strange log beside none"),
    ],
)
def test_a_restore_works_where_the_catalog_is_gone_or_damaged(
    settings: Settings, lake_dir: Path, backup: Path, damage: Callable[[Path], None]
) -> None:
    then = held(lake_dir)
    damage(catalog_path(lake_dir))

    restore(settings, backup)

    assert held(lake_dir) == then
    with Lake.open(lake_dir) as lake:
        assert load(lake, incident("after")).new == 1


def test_files_written_after_the_backup_go_when_they_and_the_restore_are_old(
    settings: Settings, lake_dir: Path, backup: Path
) -> None:
    needed = files(lake_dir)
    with Lake.open(lake_dir) as lake:
        grow(lake, loads=2, first=2)
    later = files(lake_dir) - needed
    replaced = restore(settings, backup).replaced
    make_old(*files(lake_dir))
    then = held(lake_dir)

    keep_house(lake_dir)
    assert later
    assert later <= files(lake_dir), "should it have been the wrong backup, the way back is open"
    assert replaced
    make_old(replaced)
    keep_house(lake_dir)

    assert not later & files(lake_dir)
    assert needed <= files(lake_dir)
    assert held(lake_dir) == then


def test_missing_and_shortened_data_files_are_counted_and_nothing_is_changed(
    settings: Settings, lake_dir: Path, backup: Path
) -> None:
    before = catalogs(lake_dir), catalog_path(lake_dir).read_bytes()
    gone, short, *rest = sorted(files(lake_dir))
    gone.rename(lake_dir / "aside")
    content = short.read_bytes()
    short.write_bytes(content[:-1])

    with pytest.raises(LakeError, match=f"2 of {len(rest) + 2} data files that the backup needs") as caught:
        restore(settings, backup)

    assert gone.name in str(caught.value)
    assert short.name in str(caught.value)
    assert (catalogs(lake_dir), catalog_path(lake_dir).read_bytes()) == before
    (lake_dir / "aside").rename(gone)
    short.write_bytes(content)
    restore(settings, backup)


def edit(backup: Path, statement: str) -> None:
    connection = sqlite3.connect(backup)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda b: b.unlink(), ConfigError, "There is no file "),
        (lambda b: b.write_text("hello"), ConfigError, "is no backup of a catalog"),
        (lambda b: edit(b, "DROP TABLE dispatchlake_backup"), ConfigError, "is no backup of a catalog"),
        (lambda b: edit(b, "UPDATE dispatchlake_backup SET manifest = '[]'"), ConfigError, "is no backup"),
        (lambda b: b.write_bytes(b.read_bytes()[:-20_000]), (ConfigError, LakeError), "backup"),
        (
            lambda b: edit(
                b, "UPDATE dispatchlake_backup SET manifest = replace(manifest, '0.1.0', '0.10.0')"
            ),
            LakeTooNew,
            "dispatchlake 0.10.0, which is newer than this",
        ),
        (
            lambda b: edit(b, "UPDATE dispatchlake_backup SET manifest = replace(manifest, '0001', '9999')"),
            LakeTooNew,
            "newer version",
        ),
    ],
    ids=["gone", "text", "a catalog", "another manifest", "cut short", "newer version", "newer layout"],
)
def test_what_is_no_backup_of_ours_is_refused_and_nothing_is_changed(
    settings: Settings,
    lake_dir: Path,
    backup: Path,
    spoil: Callable[[Path], None],
    error: type[Exception],
    sentence: str,
) -> None:
    before = catalogs(lake_dir), catalog_path(lake_dir).read_bytes()
    spoil(backup)

    with pytest.raises(error, match=sentence):
        restore(settings, backup)

    assert (catalogs(lake_dir), catalog_path(lake_dir).read_bytes()) == before


HOLDER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import incident, load

with Lake.open(Path(sys.argv[1])) as lake:
    print("open", flush=True)
    input()
    print(load(lake, incident("from the other process")).new, flush=True)
"""


def test_a_restore_is_refused_while_another_process_has_the_lake_open(
    settings: Settings, lake_dir: Path, backup: Path
) -> None:
    with Script(HOLDER, lake_dir) as other:
        assert other.line() == "open"
        before = catalogs(lake_dir)

        with pytest.raises(CatalogBusy, match="1 other process has the lake open for writing") as caught:
            restore(settings, backup)

        assert is_transient(caught.value)
        assert catalogs(lake_dir) == before
        other.go_on()
        assert other.line() == "1"
        other.finish()
    restore(settings, backup)


def test_who_opens_the_lake_during_a_restore_makes_it_step_back(
    settings: Settings, lake_dir: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([0, 1])
    monkeypatch.setattr("dispatchlake.lake.scratch.count_others", lambda lake_dir: next(answers))
    before = catalogs(lake_dir), catalog_path(lake_dir).read_bytes()

    with pytest.raises(CatalogBusy):
        restore(settings, backup)

    assert (catalogs(lake_dir), catalog_path(lake_dir).read_bytes()) == before


WRITTEN_TO_THE_LOG = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE only_in_the_log (a)")
connection.commit()
os._exit(0)  # and the log is not emptied, as where all who had the lake open were killed
"""


def test_a_restore_killed_while_it_moves_the_catalog_keeps_it_with_its_log(
    settings: Settings, lake_dir: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = held(lake_dir)
    with Script(WRITTEN_TO_THE_LOG, catalog_path(lake_dir)) as writer:
        writer.finish()
    rename = Path.rename
    with monkeypatch.context() as killed:

        def rename_first(path: Path, target: Path) -> Path:
            if path.name.endswith("-wal"):
                raise KeyboardInterrupt
            return rename(path, target)

        killed.setattr(Path, "rename", rename_first)
        with pytest.raises(KeyboardInterrupt):
            restore(settings, backup)
    assert not catalog_path(lake_dir).exists()

    restored = restore(settings, backup)

    assert held(lake_dir) == then
    assert restored.replaced is not None
    with contextlib.closing(sqlite3.connect(restored.replaced)) as kept:
        assert kept.execute("SELECT count(*) FROM only_in_the_log").fetchall() == [(0,)]


def test_a_backup_takes_the_place_of_another_only_where_that_is_said(
    settings: Settings, lake_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b"
    first = back_up(settings, target)
    with Lake.open(lake_dir) as lake:
        load(lake, incident("later"))

    with pytest.raises(ConfigError, match=r"is there already.*--overwrite"):
        back_up(settings, target)
    assert read_manifest(target) == first

    second = back_up(settings, target, overwrite=True)

    assert read_manifest(target) == second
    assert second.snapshot > first.snapshot


def test_a_backup_of_nothing_or_to_nowhere_is_for_a_person_to_change(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        back_up(settings_of(tmp_path / "none" / "lake"), tmp_path / "b")
    with pytest.raises(ConfigError, match="cannot be written"):
        back_up(settings, tmp_path / "no folder" / "b")


def test_a_restore_into_an_empty_folder_brings_the_lake_to_another_place(
    lake_dir: Path, backup: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "lake"
    shutil.copytree(lake_dir / "data", elsewhere / "data")

    assert restore(settings_of(elsewhere), backup).replaced is None

    assert held(elsewhere) == held(lake_dir)
