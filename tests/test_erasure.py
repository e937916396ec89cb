"""One call erased from an installation: nothing of it in any byte, all else as it was, and it stays away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dispatchlake import retention
from dispatchlake.erasure import ErasureReport, erase, finish_unfinished
from dispatchlake.errors import CatalogBusy, ConfigError
from dispatchlake.lake import Lake, MediaLink, MediaOutcome, Selection, custody, erasing, ledger, open_lake
from dispatchlake.lake import replay as replaying
from dispatchlake.lake.backup import back_up
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.ledger import Hold
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import connect, query_arrow
from dispatchlake.lake.retention_rules import Rule
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.selected_pages import REPLAYABLE
from dispatchlake.landing import land_deliveries
from dispatchlake.model import Page
from dispatchlake.pending_erasures import measure_erasing
from dispatchlake.settings import Settings
from dispatchlake.spool import Delivery, DeliveryKind, Spool
from tests.command_line import run
from tests.lake.calls import Call, grow
from tests.lake.deliveries import caller_location, land, note_created
from tests.lake.pages import CENTER, END, cell, incident, load, page, too_deep_to_cut

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
    publish(settings)
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
    assert after[CENTER].redacted == report.counts["raw_pages"]
    assert sum(path.is_file() for path in settings.media_dir.rglob("*")) == 2
    ((state,),) = {(one.erased_at is not None,) for one in ledger.read(settings.lake_dir).erasures}
    assert state
    assert not list((settings.lake_dir / "erasing").iterdir())


@pytest.fixture(scope="module")
def gone(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder after the call was erased, to be copied; beside it a backup made before that."""
    home = tmp_path_factory.mktemp("gone")
    shutil.copytree(grown, home / "data")
    settings = Settings(data_dir=home / "data")
    shutil.copytree(settings.lake_dir / "data", home / "files")
    back_up(settings, home / "backup")
    assert erased(settings).is_done
    return home


@pytest.fixture
def after(gone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(gone / "data", tmp_path / "data")
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    return Settings(data_dir=tmp_path / "data", lock_wait_s=30)


def test_it_comes_back_by_no_run_delivery_or_replay(after: Settings) -> None:
    versions, cad = CALL.versions(), CALL.cad()
    with open_lake(after) as lake:
        load(lake, versions[1], incident("i3", updated=10**6))  # the lookback
        lake.load(
            [page(*versions, incident("new-1")), page(incident("new-2"), sequence=2)],
            cell=cell(kind="backfill"),
            run_id="backfill",
        )
        assert load(lake, *cad, incident("new-cad"), resource="cad_incidents").records == 1
        renumbered = {**incident("cad-of-another-id"), "incident_id": CALL.incident_id}
        load(lake, renumbered, resource="cad_incidents")
        land(lake, *CALL.events())
        lake.replay()
    with Spool.open(after.spool_dir) as spool:
        spool.keep([delivered("again", note_created("another-note", incident_id=CALL.incident_id))])
    land_deliveries(after)

    assert of_call(after) == {}
    found = query_arrow(
        "SELECT incident_id FROM incidents WHERE starts_with(incident_id, 'new') ORDER BY 1",
        lake_dir=after.lake_dir,
    ).to_pylist()
    assert [row["incident_id"] for row in found] == ["new-1", "new-2"]
    assert whole(after)[CENTER].redacted > 16
    bodies = query_arrow("SELECT body::VARCHAR AS body FROM raw_pages", lake_dir=after.lake_dir).to_pylist()
    assert not [one for one in bodies if any(text in one["body"] for text in CALL.texts)]


def test_an_older_catalog_that_is_restored_is_erased_again(after: Settings, gone: Path) -> None:
    shutil.copytree(gone / "files", after.lake_dir / "data", dirs_exist_ok=True)

    result = run("restore", str(gone / "backup"))

    assert result.returncode == 0, result.stderr
    assert "erased now" in result.stdout
    assert "Nothing was found." in result.stdout
    assert of_call(after) == {}
    assert betraying(after) == set()
    assert whole(after)[CENTER].redacted >= 15
    assert not list(after.lake_dir.glob("catalog-replaced-*"))


def test_a_lost_ledger_is_made_again_from_the_catalog(after: Settings) -> None:
    (after.lake_dir / ledger.NAME).unlink()

    with open_lake(after) as lake:
        load(lake, *CALL.versions())

    assert of_call(after) == {}
    assert ledger.read(after.lake_dir).erasures


def test_a_load_that_was_reading_when_a_call_was_erased_writes_nothing_of_it(settings: Settings) -> None:
    def pages() -> Iterator[Page]:
        yield page(*CALL.versions(), incident("new"))
        with Lake.open(settings.lake_dir) as other:
            erasing.begin(other, CENTER, CALL.incident_id, reason="r", requested_by="r")

    with open_lake(settings) as lake:
        (before,) = lake._connection.execute("SELECT count(*) FROM raw_pages").fetchall()
        with pytest.raises(CatalogBusy, match="erased while this was read"):
            lake.load(pages(), cell=cell(), run_id="late")
        assert lake._connection.execute("SELECT count(*) FROM raw_pages").fetchall() == [before]
        land(lake, *CALL.events())  # what is at hand is looked at again
        unfinished = measure_erasing(settings)
    assert (unfinished.count, unfinished.is_stuck) == (1, False)
    assert erased(settings).is_done
    assert of_call(settings) == {}
    assert measure_erasing(settings).count == 0


@pytest.mark.parametrize("name", REPLAYABLE)
def test_a_replay_that_had_read_the_call_before_it_was_cut_out_brings_nothing_back(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began after the ledger had the call: that the ledger is as it was then says nothing."""
    before = others(settings)
    read = replaying.read_pages

    def read_and_remove(*arguments: Any) -> Any:
        pages = read(*arguments)
        erasing.remove(other, plan, {})
        return pages

    with open_lake(settings) as lake, open_lake(settings) as other:
        plan = erasing.begin(other, CENTER, CALL.incident_id, reason="court order", requested_by="clerk")
        with monkeypatch.context() as patch:
            patch.setattr(replaying, "read_pages", read_and_remove)
            (summary,) = lake.replay(Selection((CENTER,), (name,)))
        (again,) = lake.replay(Selection((CENTER,), (name,)))

    assert of_call(settings) == {}
    assert summary.is_without_effect
    (reason,) = summary.reasons
    assert reason == ("records were cut out of it while it was read, replay it again", summary.unreadable)
    assert again.is_without_effect
    assert again.reasons == ()
    emptied = summary.unreadable if name in DISCRIMINATORS else 0
    assert summary.pages == again.pages + emptied
    assert others(settings) == before
    assert erased(settings).is_done


def test_what_cannot_be_removed_is_named_without_what_it_says(settings: Settings) -> None:
    (settings.data_dir / "export.csv").write_text(f"id\n{CALL.incident_id}\n")
    duckdb.sql(f"COPY (SELECT '{CALL.phone}' AS phone) TO '{settings.data_dir}/export.parquet'")

    result = run("erase", CENTER, "-", "--reason", "court order", "--yes", stdin=f"{CALL.incident_id}\n")

    assert result.returncode == 1
    assert "Found its incident_id in export.csv" in result.stderr
    assert "Found its caller_phone_number in export.parquet" in result.stderr
    assert "unfinished" in result.stderr
    assert not [text for text in CALL.texts if text in result.stdout + result.stderr]
    (settings.data_dir / "export.csv").unlink()
    (settings.data_dir / "export.parquet").unlink()
    result = run("erase", "--unfinished")
    assert (result.returncode, "Nothing was found." in result.stdout) == (0, True)
    assert "court order" in run("erasures").stdout
    again = run("erase", CENTER, CALL.incident_id, "--reason", "court order", "--yes")
    assert "was erased already" in again.stderr


def test_a_copy_of_the_catalog_below_the_data_folder_is_refused(settings: Settings) -> None:
    back_up(settings, settings.data_dir / "catalog.backup")

    with pytest.raises(ConfigError, match=r"1 copies of the catalog.*catalog\.backup"):
        erased(settings)

    assert of_call(settings)
    assert not ledger.read(settings.lake_dir).erasures


def test_a_held_call_is_not_erased_and_one_that_is_let_go_of_is(settings: Settings) -> None:
    assert run("hold", "add", CENTER, CALL.incident_id, "--reason", "case 17").returncode == 0
    assert "case 17" in run("hold", "list").stdout

    with pytest.raises(ConfigError, match="under a legal hold"):
        erased(settings)

    assert of_call(settings)
    assert run("hold", "remove", CENTER, CALL.incident_id).returncode == 0
    assert "is not held" in run("hold", "remove", CENTER, CALL.incident_id).stderr
    assert erased(settings).is_done


def test_a_cad_incident_that_a_held_call_shares_keeps_the_other_too(settings: Settings) -> None:
    with open_lake(settings) as lake:
        load(lake, {**incident(CALL.cad_id, updated=9), "incident_id": "held"}, resource="cad_incidents")
        lake.hold(Hold(CENTER, "held", "case 18", "clerk", END))

    with pytest.raises(ConfigError, match="another incident of center-a that is under a legal hold"):
        erased(settings)


def test_what_is_erased_cannot_be_held(after: Settings) -> None:
    result = run("hold", "add", CENTER, CALL.incident_id, "--reason", "case 19")

    assert result.returncode == 1
    assert "was erased, or is being erased (erasure " in result.stderr
    assert "case 19" not in run("hold", "list").stdout


def test_a_call_whose_cad_incident_is_being_erased_with_another_cannot_be_held(settings: Settings) -> None:
    with open_lake(settings) as lake:
        load(lake, {**incident(CALL.cad_id, updated=9), "incident_id": "shares"}, resource="cad_incidents")
        erasing.begin(lake, CENTER, CALL.incident_id, reason="r", requested_by="r")
        with pytest.raises(ConfigError, match="is being erased with another call"):
            lake.hold(Hold(CENTER, "shares", "case 20", "clerk", END))
        assert lake.holds() == []
    assert [one.is_done for one in finish_unfinished(settings)] == [True]

    with open_lake(settings) as lake:
        assert lake.hold(Hold(CENTER, "shares", "case 20", "clerk", END)), "what is left of it"


def test_an_erasure_killed_before_the_ledger_had_it_can_be_finished(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(settings) as lake:
        load(lake, {**incident(CALL.cad_id, updated=9), "incident_id": "shares"}, resource="cad_incidents")
    with monkeypatch.context() as broken:
        broken.setattr(erasing, "_enter", _stop)
        with pytest.raises(KeyboardInterrupt):
            erased(settings)
    assert not ledger.read(settings.lake_dir).erasures

    with open_lake(settings) as lake:
        for one in (CALL.incident_id, "shares"):
            with pytest.raises(ConfigError, match="being erased"):
                lake.hold(Hold(CENTER, one, "case 21", "clerk", END))
        assert lake.hold(Hold(CENTER, "unknown", "case 21", "clerk", END))

    assert [one.is_done for one in finish_unfinished(settings)] == [True]
    assert of_call(settings) == {}


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_records_set_aside_whose_pages_were_emptied_by_age_stay(settings: Settings) -> None:
    with open_lake(settings) as lake:
        load(lake, "no object", {"id": "set-aside", "note": "no times at all"})
        land(lake, b"not json at all")
    retention.set_rule(settings, Rule("", "raw", 5, "clerk", END))
    retention.run(settings, now=END + timedelta(days=30))

    assert erased(settings).is_done

    records = query_arrow("SELECT record FROM quarantine", lake_dir=settings.lake_dir)["record"].to_pylist()
    for kept in ("no object", "no times at all", '{"body_bytes":15,'):
        assert any(kept in record for record in records)


def test_a_page_that_cannot_be_cut_is_emptied_and_takes_nothing_else_with_it(settings: Settings) -> None:
    body = too_deep_to_cut(CALL.versions()[0], incident("too-deep"))
    spoilt = {**incident("set-aside"), "created_at": "yesterday"}
    with open_lake(settings) as lake:
        pages = [page(body=body), page(body=body[:-1] + f",{json.dumps(spoilt)}]".encode(), sequence=2)]
        lake.load(pages, cell=cell(), run_id="deep")
    before = others(settings)
    set_aside = "SELECT record FROM quarantine WHERE contains(record, 'set-aside')"
    assert query_arrow(set_aside, lake_dir=settings.lake_dir).num_rows == 1

    assert erased(settings).is_done

    assert of_call(settings) == {}
    assert others(settings) == before
    assert query_arrow(set_aside, lake_dir=settings.lake_dir).num_rows == 1
    whole(settings)


def test_an_unknown_call_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="knows no such incident"):
        erased(settings, "no-such-incident")

    assert "--reason WHY" in run("erase", CENTER, "x").stderr
    assert "nobody to ask" in run("erase", CENTER, "x", "--reason", "y").stderr


def test_the_open_zone_is_cleared_too_and_published_as_before(settings: Settings) -> None:
    report = erased(settings)

    assert report.found == ()
    assert report.counts["open incidents"] == 1
    publish(settings)
    for table in OF_CALLS:
        column = "cad_incident_id" if table.startswith("cad_incident") else "incident_id"
        query = f"SELECT count(*) AS rows, count(DISTINCT {column}) AS calls FROM {table}"
        shown, kept = (
            query_arrow(query, lake_dir=lake_dir).to_pylist()
            for lake_dir in (settings.open_dir, settings.lake_dir)
        )
        assert shown == kept, table
    of_it = f"FROM incidents WHERE incident_id = '{CALL.incident_id}'"
    assert query_arrow(of_it, lake_dir=settings.open_dir).num_rows == 0


def test_a_file_that_was_being_fetched_is_not_kept(after: Settings) -> None:
    with open_lake(after) as lake:
        outcome = MediaOutcome(
            MediaLink(CENTER, f"media{CALL.of}", "a" * 32, 0, None), "fetched", END, "p", 9, "0"
        )

        assert lake.record_media([outcome]) == [outcome]

        assert lake._connection.execute("FROM media_files WHERE path = 'p'").fetchall() == []
