"""One call erased from an installation: nothing of it in any byte, all else as it was, and it stays away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dispatchlake import erasure
from dispatchlake.erasure import ErasureReport, erase
from dispatchlake.errors import CatalogBusy, ConfigError
from dispatchlake.lake import Lake, MediaLink, MediaOutcome, custody, ledger, open_lake
from dispatchlake.lake.backup import back_up, restore
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.reading import connect, query_arrow
from dispatchlake.lake.schemas import TABLES
from dispatchlake.landing import land_deliveries
from dispatchlake.settings import Settings
from dispatchlake.spool import Delivery, DeliveryKind, Spool
from tests.lake.calls import Call, grow
from tests.lake.deliveries import caller_location, land, note_created
from tests.lake.pages import CENTER, END, cell, incident, load, page

CALL, OTHER = Call(), Call(1)
OF_CALLS = [
    table.name
    for table in TABLES
    if {"incident_id", "cad_incident_id"} & {column.name for column in table.columns}
    and table.name != "legal_holds"
]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an installation that has the call in every place there is, to be copied."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("grown") / "data")
    with open_lake(settings) as lake:
        grow(lake, CALL)
        grow(lake, OTHER, center_id="center-b")
    assert not maintain(settings, keep_files_days=0).failed
    with open_lake(settings) as lake:
        lake.replay()
        load(lake, *CALL.versions(), *CALL.versions())  # after maintenance, inlined again
        fetch(lake, settings)
    with Spool.open(settings.spool_dir) as spool:
        spool.keep([delivered("waits", note_created(f"note{CALL.of}", incident_id=CALL.incident_id))])
        spool.keep([delivered("landed", caller_location(f"location{CALL.of}", incident_id=CALL.incident_id))])
        spool.forget(["landed"])
    return settings.data_dir


@pytest.fixture
def settings(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(grown, tmp_path / "data")
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    return Settings(data_dir=tmp_path / "data", lock_wait_s=30)


def fetch(lake: Lake, settings: Settings) -> None:
    """Let the call's media file be there, and another's."""
    land(
        lake,
        {"type": "media", "id": "m-of-another", "incident_id": "i1", "url": "https://media.example.net/x"},
    )
    rows = query_arrow(
        "SELECT center_id, media_id, version_hash FROM media", lake_dir=lake.lake_dir
    ).to_pylist()
    for row in rows:
        path = f"{row['center_id']}/{row['version_hash']}"
        file = settings.media_dir / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"a picture")
        link = MediaLink(**row, attempts=0, link=None)
        lake.record_media([MediaOutcome(link, "fetched", END, path, 9, "0" * 64)])
    assert len(rows) == 3


def delivered(raw_id: str, content: dict[str, Any]) -> Delivery:
    kind = DeliveryKind.CAD if "event_type" in content else DeliveryKind.INCIDENT_EVENTS
    return Delivery(raw_id, CENTER, kind, END, {}, json.dumps(content).encode())


def erased(settings: Settings, incident_id: str = CALL.incident_id) -> ErasureReport:
    return erase(settings, CENTER, incident_id, reason="court order", requested_by="clerk")


def others(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of records that are not the call's."""
    found = {}
    with connect(settings.lake_dir) as reader:
        for table in (*OF_CALLS, "quarantine"):
            where = f"center_id <> '{CENTER}' OR NOT contains(row::VARCHAR, '{CALL.incident_id}')"
            if table == "quarantine":
                where = f"center_id <> '{CENTER}' OR contains(record, '\"new\"')"
            elif table.startswith("cad_incident"):
                where = f"center_id <> '{CENTER}' OR cad_incident_id <> '{CALL.cad_id}'"
            found[table] = reader.execute(
                f"SELECT * FROM {table} AS row WHERE {where} ORDER BY ALL"
            ).fetchall()
    return found


def of_call(settings: Settings) -> dict[str, int]:
    """Return how many rows the tables have of the call."""
    counts = {}
    for table in OF_CALLS:
        column = "cad_incident_id" if table.startswith("cad_incident") else "incident_id"
        identity = CALL.cad_id if table.startswith("cad_incident") else CALL.incident_id
        query = f"SELECT count(*) AS n FROM {table} WHERE center_id = '{CENTER}' AND {column} = '{identity}'"
        counts[table] = query_arrow(query, lake_dir=settings.lake_dir).to_pylist()[0]["n"]
    return {table: count for table, count in counts.items() if count}


def betraying(settings: Settings) -> set[str]:
    """Return the files that hold a text of the call as they lie on the disk, or unpacked."""
    found = set()
    for path in settings.data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                rows = duckdb.sql(f"FROM read_parquet('{path}')").fetchall()
                content += repr(rows).encode()
            found |= {
                str(path.relative_to(settings.data_dir)) for text in CALL.texts if text.encode() in content
            }
    return found


def whole(settings: Settings) -> dict[str, custody.Custody]:
    found = {one.center_id: one for one in custody.verify(settings.lake_dir)}
    assert all(one.broken is None for one in found.values()), found
    return found


def test_nothing_of_the_call_is_left_and_all_else_is_as_it_was(settings: Settings) -> None:
    before, archived = others(settings), whole(settings)
    assert set(of_call(settings)) == set(OF_CALLS), "it is in every table"
    assert betraying(settings) >= {"lake/catalog.sqlite", "spool/spool.sqlite"}

    report = erased(settings)

    assert report.found == ()
    assert report.searched.unread == ()
    assert betraying(settings) == set()
    assert of_call(settings) == {}
    assert others(settings) == before
    assert report.counts["media files"] == 1
    assert report.counts["quarantine"] == 3
    after = whole(settings)
    assert after["center-b"] == archived["center-b"]
    assert after[CENTER].redacted == report.counts["raw_pages"] + 1, "and what waited in the spool"
    assert sum(path.is_file() for path in settings.media_dir.rglob("*")) == 2
    ((state,),) = {(one.erased_at is not None,) for one in ledger.read(settings.lake_dir).erasures}
    assert state
    assert not list((settings.lake_dir / "erasing").iterdir())
