"""An encrypted lake: its files say nothing without its catalog, and everything else works upon it."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from dispatchlake.erasure import erase
from dispatchlake.lake import open_lake
from dispatchlake.lake.backup import back_up, restore
from dispatchlake.lake.custody import verify
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import connect_unnoted
from dispatchlake.settings import Settings
from tests.lake.pages import CENTER, incident, incidents, load
from tests.lake.published import NOTE, OTHER_PHONE, PHONE, content, fill, made_anew


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An installation with an encrypted lake that was loaded, maintained, published, and loaded again."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("encrypted") / "data", encrypt_lake=True)
    with open_lake(settings) as lake:
        fill(lake)
        load(lake, *incidents(130, "m", caller_phone_number=PHONE, remark=NOTE))
        load(lake, *(incident(f"m{n}", updated=10**6, created=n * 3600) for n in range(9)))
    publish(settings)
    assert not maintain(settings).failed
    with open_lake(settings.model_copy(update={"encrypt_lake": False})) as lake:  # it stays what it is
        load(lake, *incidents(130, "n", caller_phone_number=PHONE, remark=NOTE))
    publish(settings)
    return settings


def test_its_files_cannot_be_read_without_the_catalog(settings: Settings) -> None:
    files = list((settings.lake_dir / "data").rglob("*.parquet"))

    assert len(files) > 5
    for file in files:
        assert PHONE.encode() not in file.read_bytes()
        with (
            duckdb.connect() as connection,
            pytest.raises(duckdb.InvalidInputException, match="is encrypted"),
        ):
            connection.execute(f"FROM read_parquet('{file}')").fetchall()
    with connect_unnoted(settings.lake_dir) as reader:
        assert reader.execute(
            f"SELECT count(*) FROM incidents WHERE caller_phone_number = '{PHONE}'"
        ).fetchone() > (130,)


def test_it_is_merged_verified_and_published_as_any_other(settings: Settings) -> None:
    report = maintain(settings, keep_snapshots_days=0, keep_files_days=0)

    assert not report.failed
    assert all(one.broken is None for one in verify(settings.lake_dir))
    publish(settings)
    assert content(settings.open_dir) == made_anew(settings)


def test_it_is_replayed_and_erased_from_as_any_other(settings: Settings, tmp_path: Path) -> None:
    home = Path(shutil.copytree(settings.data_dir, tmp_path / "data"))
    moved = settings.model_copy(update={"data_dir": home})
    before = content(moved.lake_dir)
    with open_lake(moved) as lake:
        load(lake, *incidents(130, "erased-", caller_phone_number=OTHER_PHONE))
        with lake.held() as connection:
            connection.execute("DELETE FROM quarantine")
        lake.replay()
    after = content(moved.lake_dir)
    assert after["quarantine"] == before["quarantine"]
    assert len(after["incidents"]) == len(before["incidents"]) + 130

    for number in (0, 7):
        report = erase(moved, CENTER, f"erased-{number}", reason="court order", requested_by="clerk")
        assert report.is_done, report.found
        assert report.counts["incidents"] == 1

    with open_lake(moved) as lake:
        lake.replay()
    assert len(content(moved.lake_dir)["incidents"]) == len(before["incidents"]) + 128
    assert all(one.broken is None for one in verify(moved.lake_dir))


def test_a_backup_of_its_catalog_has_the_keys(settings: Settings, tmp_path: Path) -> None:
    home = Path(shutil.copytree(settings.data_dir, tmp_path / "data"))
    moved = settings.model_copy(update={"data_dir": home})
    before = content(moved.lake_dir)
    back_up(moved, tmp_path / "catalog.backup")
    (moved.lake_dir / "catalog.sqlite").unlink()

    restore(moved, tmp_path / "catalog.backup")

    assert content(moved.lake_dir) == before
