"""The open zone as an attacker has it: its files alone, every byte of them, and all the time in the world."""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake import catalog_file, open_lake
from dispatchlake.lake.connection import connect_reader
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.publishing import publish, rotate_key
from dispatchlake.lake.reading import connect_unnoted
from dispatchlake.lake.record_types import INCIDENT_EVENTS
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.version_hash import version_hashes
from dispatchlake.settings import Settings
from tests.lake.pages import incident, incidents, load
from tests.lake.published import (
    CHATROOM,
    HOUSE,
    LAT,
    LNG,
    MEDIA_URL,
    NOTE,
    OTHER_PHONE,
    PHONE,
    THIRD_PHONE,
    home_with_two_zones,
)


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Settings:
    """An installation whose open zone has a past: rows in its catalog and in files, removed and merged."""
    settings = home_with_two_zones(tmp_path_factory.mktemp("attacked") / "data", empty_lake)
    with open_lake(settings) as lake:
        load(lake, *incidents(130, "m", caller_phone_number=PHONE, remark=NOTE))
        publish(settings)
        load(lake, *(incident(f"m{n}", updated=10**6, created=n * 3600) for n in range(130)))
        publish(settings)
    assert not maintain(settings, zone="open").failed
    with open_lake(settings) as lake:
        load(lake, incident("i2", updated=60, caller_phone_number=THIRD_PHONE))
    publish(settings)
    return settings


@pytest.fixture(scope="module")
def stolen(zones: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(zones.open_dir, tmp_path_factory.mktemp("stolen") / "elsewhere"))


def secrets_of(settings: Settings) -> dict[str, list[bytes]]:
    """Return what must not be found, by what it is."""
    key = (settings.secrets_dir / "token-key").read_text().strip()
    with connect_unnoted(settings.lake_dir) as reader:
        fingerprints = {
            row[0]
            for query in (
                "SELECT version_hash FROM incident_versions",
                "SELECT version_hash FROM cad_incident_versions",
                "SELECT version_hash FROM caller_locations",
                "SELECT location_id FROM cad_locations",
                "SELECT media_id FROM media WHERE media_id <> 'm1'",
                "SELECT quarantine_id FROM quarantine",
                "SELECT body_sha256 FROM raw_pages",
                "SELECT record_sha256 FROM raw_pages",
            )
            for row in reader.execute(query).fetchall()
        }
    phones = [PHONE, OTHER_PHONE, THIRD_PHONE]
    return {
        "a number": [form.encode() for phone in phones for form in (phone, phone[2:], phone[-7:])],
        "free text": [word.encode() for word in (NOTE, "xylophone", CHATROOM, "quux", MEDIA_URL, "zebra")],
        "a house": [f"{HOUSE} Blake".encode(), b"Apt 12"],
        "a postal code": [b"80202-1441"],
        "a place": [
            *(form.encode() for at in (LAT, LNG) for form in (str(at), str(abs(at)))),
            *(struct.pack(order, at) for at in (LAT, LNG) for order in ("<d", ">d")),
        ],
        "the key": [key.encode(), bytes.fromhex(key)],
        "a hash of content": [one.encode() for one in fingerprints],
    }


def every_byte(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all that the files hold: as they are, and Parquet's pages and statistics in the clear."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            yield f"{path.name} in the clear", repr(file.read().to_pydict()).encode()
            yield f"{path.name}, its footer", repr(file.metadata.to_dict()).encode()


def found_in(parts: Iterable[tuple[str, bytes]], secrets: dict[str, list[bytes]]) -> set[tuple[str, str]]:
    return {
        (what, name)
        for name, content in parts
        for what, needles in secrets.items()
        if any(needle in content for needle in needles)
    }


def test_no_byte_of_its_files_is_what_must_be_hidden(zones: Settings, stolen: Path) -> None:
    secrets = secrets_of(zones)

    assert found_in(every_byte(stolen), secrets) == set()
    in_the_restricted = {what for what, _ in found_in(every_byte(zones.lake_dir), secrets)}
    assert in_the_restricted == {*secrets} - {"the key"}, "the search finds what is there"


def test_no_table_of_any_snapshot_says_it_wherever_the_folder_is(zones: Settings, stolen: Path) -> None:
    secrets = secrets_of(zones)
    with connect_reader(stolen) as reader:
        reader.execute("SET threads = 1")
        versions = [
            row[0]
            for row in reader.execute(
                "SELECT snapshot_id FROM lake.snapshots() WHERE schema_version > 0 ORDER BY 1"
            ).fetchall()
        ]
        tables = [
            row[0]
            for row in reader.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = '__ducklake_metadata_lake'"
            ).fetchall()
        ]
        told = [
            (f"{table.name} at {version}", rows(reader, f"FROM {table.name} AT (VERSION => {version})"))
            for version in (versions[0], versions[len(versions) // 2], versions[-1])
            for table in TABLES
            if table.name != "publication" or version == versions[-1]
        ]
        # Among them the least and greatest value of each column of each file.
        told += [(table, rows(reader, f'FROM __ducklake_metadata_lake."{table}"')) for table in tables]

    assert len(versions) > 3
    assert found_in(told, secrets) == set()


def rows(reader: duckdb.DuckDBPyConnection, query: str) -> bytes:
    try:
        return repr(reader.execute(query).fetchall()).encode()
    except duckdb.CatalogException:  # a table that was not there yet
        return b""


def test_its_catalog_names_no_file_but_its_own(zones: Settings, stolen: Path) -> None:
    with connect_reader(stolen) as reader:
        named = rows(reader, "SELECT path FROM __ducklake_metadata_lake.ducklake_data_file")
        options = rows(reader, "SELECT value FROM __ducklake_metadata_lake.ducklake_metadata")
        views = rows(reader, "SELECT sql FROM duckdb_views() WHERE database_name = 'lake'")
        with pytest.raises(duckdb.Error):
            reader.execute(f"FROM read_parquet('{stolen}/../lake/data/**/*.parquet')")

    for text in (named, options, views):
        assert str(zones.lake_dir).encode() not in text
        assert b".." not in text


NUMBERS = [f"+1303555{number:04}" for number in range(100, 200)]
"""All that a caller's number could be: an attacker who knows the area has no more to try."""


def test_trying_all_numbers_finds_no_token_without_the_key(stolen: Path) -> None:
    with connect_reader(stolen) as reader:
        tokens = {
            str(row[0]).removeprefix("tel_")
            for row in reader.execute("SELECT DISTINCT caller_phone_number FROM incident_versions").fetchall()
            if row[0]
        }
    guesses = {
        digest(salt + form.encode()).hexdigest()[: len(token)]
        for token in tokens
        for number in NUMBERS
        for form in (number, number[1:], number[2:])
        for salt in (b"", b"center-a", b"phone/center-a", b"dispatchlake/phone/center-a")
        for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5)
    }

    assert tokens
    assert not tokens & guesses


def test_trying_all_numbers_finds_no_hash_of_content(zones: Settings, stolen: Path) -> None:
    """The hash of a version is over the number and what the open zone shows: with it, trying would do."""
    columns = "incident_id, is_audio_live, audio_call_ended_at, created_at, updated_at, version_hash"
    query = f"SELECT {columns} FROM incident_versions WHERE incident_id = 'i3'"
    with connect_reader(stolen) as reader, connect_reader(zones.lake_dir) as restricted:
        (shown,) = reader.execute(query).to_arrow_table().to_pylist()
        (real,) = restricted.execute(query).to_arrow_table().to_pylist()

    guesses = set(version_hashes(guessed(shown), INCIDENT_EVENTS).to_pylist())

    assert real["version_hash"] in guesses, "the attack works where the hash is shown"
    assert shown["version_hash"] not in guesses
    assert shown["version_hash"].removeprefix("fp_") not in {guess[:24] for guess in guesses}


def guessed(shown: dict[str, Any]) -> pa.Table:
    """Return the version with each number that it may have."""
    types = {"text": pa.string(), "boolean": pa.bool_(), "instant": pa.timestamp("us", "UTC")}
    columns = {
        field.name: pa.array(
            NUMBERS if field.pii == "phone" else [shown.get(field.name)] * len(NUMBERS), types[field.kind]
        )
        for field in INCIDENT_EVENTS.fields
    }
    return pa.table({**columns, "extra": pa.array([None] * len(NUMBERS), pa.string())})


def test_a_new_key_leaves_no_old_token_anywhere(zones: Settings, tmp_path: Path) -> None:
    home = Path(shutil.copytree(zones.data_dir, tmp_path / "data"))
    settings = zones.model_copy(update={"data_dir": home})
    with connect_reader(settings.open_dir) as reader:
        old = [
            str(row[0]).encode()
            for query in (
                "SELECT DISTINCT coalesce(caller_phone_number, version_hash) FROM incident_versions",
                "SELECT version_hash FROM incident_versions",
            )
            for row in reader.execute(query).fetchall()
        ]
    assert found_in(every_byte(settings.open_dir), {"an old token": old}), "they are there to be found"
    key_file = settings.secrets_dir / "token-key"
    old_key = key_file.read_text()

    publication = rotate_key(settings)

    assert publication.is_history_forgotten
    assert key_file.read_text() != old_key
    assert found_in(every_byte(settings.open_dir), {"an old token": old}) == set()
    with connect_reader(settings.open_dir) as reader:
        assert reader.execute(
            "SELECT count(DISTINCT caller_phone_number) FROM incident_versions"
        ).fetchall() == [(4,)]


def test_what_a_reader_keeps_from_being_removed_is_told_and_removed_next_time(
    zones: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(zones.data_dir, tmp_path / "data"))
    settings = zones.model_copy(update={"data_dir": home})
    with monkeypatch.context() as while_it_reads:  # SQLite's log cannot be emptied then
        while_it_reads.setattr(
            catalog_file, "scrub", lambda _catalog: catalog_file.Compacted(0, log_is_empty=False)
        )
        with pytest.raises(LakeError, match="keeps the log"):
            rotate_key(settings)

    assert publish(settings).is_history_forgotten
    assert not publish(settings).is_history_forgotten
