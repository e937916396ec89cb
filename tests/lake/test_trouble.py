"""Folders, catalogs and disks that are not as they should be: a sentence, and a lake as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatchlake.errors import ConfigError, LakeError, is_transient
from dispatchlake.lake import Lake
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.reading import connect, query_arrow
from tests.lake.conftest import Ask
from tests.lake.pages import incident, incidents, load
from tests.lake.scripts import Script


def test_a_folder_that_cannot_be_made_is_for_a_person_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    for folder in (tmp_path / "file", tmp_path / "file" / "lake", Path("/proc/lake")):
        with pytest.raises(ConfigError, match="The lake's folder cannot be written: ") as caught:
            Lake.open(folder)
        assert str(folder) in str(caught.value)
        assert "DISPATCHLAKE_DATA_DIR" in str(caught.value)


def test_a_lock_that_cannot_be_taken_is_for_a_person_to_change(lake_dir: Path) -> None:
    (lake_dir / "commit.lock").mkdir(parents=True)

    with pytest.raises(ConfigError, match=r"The lake's lock cannot be taken: .*commit\.lock"):
        Lake.open(lake_dir)


def test_a_lakes_folder_is_its_owners_alone(lake: Lake, lake_dir: Path) -> None:
    for folder in (lake_dir, lake_dir / "data", lake_dir / "tmp"):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound catalog of one incident."""
    lake_dir = tmp_path_factory.mktemp("sound") / "lake"
    with Lake.open(lake_dir) as lake:
        load(lake, incident())
    return catalog_path(lake_dir).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"this is not a catalog\n" * 500, id="other content"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut in half"),
        pytest.param(lambda content: content[:4096] + bytes(len(content) - 4096), id="zeros"),
        pytest.param(lambda content: b"\0" + content[1:], id="first byte"),
    ],
)
def test_a_damaged_catalog_is_named(lake_dir: Path, catalog: bytes, damage: Callable[[bytes], bytes]) -> None:
    lake_dir.mkdir()
    content = damage(catalog)
    catalog_path(lake_dir).write_bytes(content)

    for open_it in (Lake.open, connect):
        with pytest.raises(LakeError) as caught:
            open_it(lake_dir)
        assert str(catalog_path(lake_dir)) in str(caught.value)
        assert "damaged" in str(caught.value)
        assert not is_transient(caught.value)

    assert catalog_path(lake_dir).read_bytes() == content, "what may be rescued is left alone"


def test_a_data_file_that_is_gone_is_an_error_of_ours(lake: Lake, lake_dir: Path) -> None:
    load(lake, *incidents(150))
    shutil.rmtree(lake_dir / "data" / "main" / "incidents")

    with pytest.raises(LakeError, match="parquet"):
        query_arrow("FROM incidents", lake_dir=lake_dir)
    with pytest.raises(LakeError, match="could not be read or written"):
        load(lake, *incidents(150, note="changed"))


def test_data_that_cannot_be_written_leaves_the_lake_as_it_was(lake: Lake, lake_dir: Path, ask: Ask) -> None:
    load(lake, incident("i1"))
    before = ask("SELECT max(snapshot_id) FROM lake.snapshots()")
    folder = lake_dir / "data" / "main"
    folder.rename(lake_dir / "aside")
    folder.write_text("in the way")

    with pytest.raises(LakeError, match="it is as it was before") as caught:
        load(lake, *incidents(150, "more"))
    assert "more" not in str(caught.value).replace("more than", "")
    folder.unlink()
    (lake_dir / "aside").rename(folder)

    assert ask("SELECT max(snapshot_id) FROM lake.snapshots()") == before
    assert load(lake, *incidents(150, "more")).new == 150
    assert ask("SELECT count(*) FROM incidents") == [(151,)]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from dispatchlake.errors import LakeError
from dispatchlake.lake import Lake
from tests.lake.pages import incident, incidents, load

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
with Lake.open(Path(sys.argv[1])) as lake:
    load(lake, incident("i1"))
    for limit in (4_096, 40_000, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        try:
            load(lake, *incidents(3_000, f"{limit}-", note="x" * 50))
        except LakeError as error:
            print(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    print(load(lake, incident("i2")).new)
"""


def test_a_disk_that_is_full_is_an_error_of_ours_and_loses_nothing(lake_dir: Path) -> None:
    script = Script(FULL_DISK, lake_dir)

    lines = script.finish().splitlines()

    assert len(lines) == 4, "each load failed but the last"
    assert all("Check the disk's free space" in line for line in lines[:-1])
    assert lines[-1] == "1"
    assert query_arrow("SELECT incident_id FROM incidents ORDER BY ALL", lake_dir=lake_dir).to_pylist() == [
        {"incident_id": "i1"},
        {"incident_id": "i2"},
    ]


def test_data_without_its_catalog_is_not_taken_for_a_new_lake(lake: Lake, lake_dir: Path) -> None:
    load(lake, *incidents(300))
    lake.close()
    catalog_path(lake_dir).unlink()

    with pytest.raises(LakeError, match=r"the catalog that knows them is gone: .*Restore it from a backup"):
        Lake.open(lake_dir)

    assert not catalog_path(lake_dir).exists()
    shutil.rmtree(lake_dir / "data")
    Lake.open(lake_dir).close()
