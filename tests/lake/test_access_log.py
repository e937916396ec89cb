"""Who reads the restricted zone is noted first; who cannot be noted does not read; no value is ever noted."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake.access_log import shape_hash
from dispatchlake.lake.custody import verify
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import Target
from dispatchlake.lake.exporting import Source, export
from dispatchlake.lake.ledger_table import read_erasures
from dispatchlake.lake.quarantined import quarantine_reasons
from dispatchlake.lake.reading import connect, query_arrow, query_frame
from dispatchlake.lake.standing import read_figures
from dispatchlake.settings import Settings
from tests.lake.published import PHONE, home_with_two_zones


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Settings:
    return home_with_two_zones(tmp_path_factory.mktemp("read") / "data", empty_lake)


@pytest.fixture
def zones(template: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(template.data_dir, tmp_path / "data")
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    return template.model_copy(update={"data_dir": tmp_path / "data"})


def entries(settings: Settings) -> list[dict[str, Any]]:
    file = settings.access_dir / "restricted.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


QUESTION = f"SELECT count(*) AS n FROM incident_versions WHERE caller_phone_number = '{PHONE}'"


def test_without_a_word_the_open_zone_is_read_and_nothing_noted(zones: Settings) -> None:
    assert query_arrow(QUESTION)["n"].to_pylist() == [0], "it has tokens"
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM incidents").fetchall() == [(4,)]
    assert entries(zones) == []


def test_a_restricted_read_says_who_when_with_what_and_which_tables(zones: Settings) -> None:
    assert query_arrow(QUESTION, zone="restricted")["n"].to_pylist() == [3]

    (entry,) = entries(zones)
    assert entry["user"] == pwd.getpwuid(os.getuid()).pw_name
    assert entry["uid"] == os.getuid()
    assert entry["at"].endswith("+00:00")
    assert entry["tool"] == "Python"
    assert entry["tables"] == ["incident_versions"]
    assert entry["statement"] == shape_hash(QUESTION)
    file = zones.access_dir / "restricted.jsonl"
    assert PHONE not in file.read_text()
    assert PHONE[2:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(zones.access_dir.stat().st_mode) == 0o700


def test_every_way_to_read_it_is_noted(zones: Settings, tmp_path: Path) -> None:
    query_frame("FROM incidents", zone="restricted")
    export(
        [Item("answer", "FROM status")],
        Target(tmp_path / "x.csv", "csv"),
        source=Source(zone="restricted", tool="dispatchlake sql"),
    )
    query_arrow("FROM runs", lake_dir=zones.lake_dir)
    connect(zone="restricted").close()
    with pytest.raises(LakeError):
        query_arrow("SELECT nonsense FROM media", zone="restricted")

    assert [(entry["tool"], entry["tables"]) for entry in entries(zones)] == [
        ("Python", ["incidents"]),
        ("dispatchlake sql", ["status"]),
        ("Python", ["runs"]),
        ("Python", ["*"]),
        ("Python", ["media"]),
    ]


@pytest.mark.parametrize("obstacle", ["a folder in the way", "the disk is full"])
def test_a_read_that_cannot_be_noted_is_refused(
    zones: Settings, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if obstacle == "the disk is full":
        monkeypatch.setattr(os, "write", lambda _descriptor, _line: 0)
    else:
        (zones.access_dir / "restricted.jsonl").mkdir(parents=True)

    with pytest.raises(ConfigError, match="is not read, because that cannot be noted"):
        query_arrow(QUESTION, zone="restricted")
    with pytest.raises(ConfigError, match="is not read, because that cannot be noted"):
        connect(zone="restricted")
    assert query_arrow(QUESTION).num_rows == 1, "the open zone is"


def test_our_own_machinery_shows_no_content_and_is_not_noted(zones: Settings) -> None:
    assert read_figures(zones.lake_dir)
    assert list(verify(zones.lake_dir))
    assert quarantine_reasons(zones.lake_dir)
    assert read_erasures(zones.lake_dir) == []

    assert entries(zones) == []


def test_a_zone_that_is_not_there_is_said_so(zones: Settings) -> None:
    with pytest.raises(ConfigError, match="nothing in it is restricted"):
        connect(zones.open_dir, zone="restricted")
    with pytest.raises(ConfigError, match=r"There is no open zone in .*dispatchlake publish"):
        connect(zones.lake_dir, zone="open")
    shutil.rmtree(zones.open_dir)
    with pytest.raises(ConfigError, match=r"There is no open zone in .*--restricted"):
        connect()
    shutil.rmtree(zones.lake_dir)
    with pytest.raises(ConfigError, match="There is no lake in"):
        connect()
    assert entries(zones) == []


@pytest.mark.parametrize("zone", ["opne", "Open", "Restricted", ""])
def test_a_zone_that_nothing_is_called_opens_none(zones: Settings, zone: Any) -> None:
    for lake_dir in (None, zones.lake_dir, str(zones.open_dir)):
        with pytest.raises(ConfigError, match=r"There is no zone .*: it is one of "):
            connect(lake_dir, zone=zone)


def test_a_folder_may_be_named_by_a_text(zones: Settings) -> None:
    with connect(str(zones.open_dir)) as connection:
        assert connection.execute("SELECT count(*) FROM incidents").fetchall() == [(4,)]
    assert query_frame("SELECT count(*) AS n FROM incidents", lake_dir=str(zones.open_dir))["n"].tolist() == [
        4
    ]


def test_who_may_enter_the_open_zone_alone_reads_it(zones: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists

    def may_not_look(path: Path) -> bool:
        if zones.lake_dir in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", may_not_look)

    assert query_arrow("SELECT count(*) AS n FROM incidents")["n"].to_pylist() == [4]
    with pytest.raises(PermissionError):
        connect(zone="restricted")


def test_statements_that_differ_in_values_alone_have_one_hash() -> None:
    asked = "SELECT a FROM t WHERE b = '+13035550140' AND c > 5 -- for Jo\n"

    assert shape_hash(asked) == shape_hash("SELECT a  FROM t WHERE b = $$x$$ /* 303 */ AND c > 1e3")
    assert shape_hash(asked) != shape_hash("SELECT b FROM t WHERE b = 'x' AND c > 5")
    assert shape_hash("SELECT 'é', a FROM t") == shape_hash("SELECT 'Zoë said', a FROM t")
    assert shape_hash("") == shape_hash("-- nothing")
