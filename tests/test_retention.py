"""What is older than the rules say goes, and stays away; all else, and what is held, stays as it was."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from filelock import FileLock

from dispatchlake import erasure, retention
from dispatchlake.errors import LakeError
from dispatchlake.lake import Lake, MediaLink, MediaOutcome, Selection, custody, ledger, open_lake
from dispatchlake.lake import replay as replaying
from dispatchlake.lake import retention as of_lake
from dispatchlake.lake.backup import back_up, restore
from dispatchlake.lake.ledger import Hold
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import query_arrow
from dispatchlake.lake.replay import ReplaySummary
from dispatchlake.lake.retention_rules import CLASSES, RetentionClass, Rule
from dispatchlake.retention import RetentionReport
from dispatchlake.settings import Settings
from dispatchlake.spool import Delivery, DeliveryKind, Spool
from tests.command_line import run
from tests.lake.deliveries import caller_location, delivery, incident_metadata, land, note_created
from tests.lake.pages import (
    CENTER,
    END,
    START,
    cell,
    incident,
    instant,
    load,
    page,
    stamp,
    too_deep_to_cut,
)
from tests.waiting import wait_until

DAY_S = 86_400.0
NOW = START + timedelta(days=30)
PHONE = "+13035550142"
OLD, YOUNG = "old", "young"
OF_CENTER = f"center_id = '{CENTER}'"
OF_OLD = f"{OF_CENTER} AND incident_id = '{OLD}'"


def call(identity: str, created_s: float) -> list[dict[str, Any]]:
    """Return the events of one call."""
    of = {"incident_id": identity}
    return [
        incident_metadata(identity, created=created_s, updated=created_s, caller_phone_number=PHONE),
        caller_location(f"l-{identity}", captured=created_s, **of),
        note_created(f"n-{identity}", note=f"a note of {identity}", **of),
        {"type": "media", "id": f"m-{identity}", "url": "https://media.example.net/x", **of},
    ]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an installation with an old call and a young one, to be copied."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("grown") / "data")
    with open_lake(settings) as lake:
        for identity, created_s in ((OLD, 0.0), (YOUNG, 20 * DAY_S)):
            land(lake, *call(identity, created_s))
        # One page has both, and a record that nothing can be made of.
        rest = [
            incident(identity, created=created_s, updated=created_s + 9, caller_phone_number=PHONE)
            for identity, created_s in ((OLD, 0.0), (YOUNG, 20 * DAY_S))
        ]
        load(lake, *rest, "no object")
        cads = [
            incident(f"cad-{one['id']}", created=created_s, address="1 Main Street", lat=1.5, lng=2.5)
            for one, created_s in zip(rest, (0.0, 20 * DAY_S), strict=True)
        ]
        load(lake, *cads, resource="cad_incidents")
        load(lake, *rest, center_id="center-b")
        for row in query_arrow(
            "SELECT center_id, media_id, version_hash FROM media", lake_dir=lake.lake_dir
        ).to_pylist():
            path = f"{CENTER}/{row['version_hash']}"
            (settings.media_dir / CENTER).mkdir(parents=True, exist_ok=True)
            (settings.media_dir / path).write_bytes(b"a picture")
            lake.record_media(
                [MediaOutcome(MediaLink(**row, attempts=0, link=None), "fetched", END, path, 9, "0" * 64)]
            )
    return settings.data_dir


@pytest.fixture
def settings(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(grown, tmp_path / "data")
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    return Settings(data_dir=tmp_path / "data", lock_wait_s=30)


def keep(settings: Settings, of: RetentionClass, days: float, center_id: str = CENTER) -> RetentionReport:
    """Set a rule and apply it, 30 days after the old call."""
    retention.set_rule(settings, Rule(center_id, of, days, "clerk", NOW))
    return retention.run(settings, now=NOW)


def ask(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query_arrow(sql, lake_dir=settings.lake_dir).to_pylist()]


def incidents(settings: Settings, center_id: str = CENTER) -> list[str]:
    found = ask(settings, f"SELECT incident_id FROM incidents WHERE center_id = '{center_id}' ORDER BY 1")
    return [identity for (identity,) in found]


def assert_whole(settings: Settings) -> None:
    assert all(one.broken is None for one in custody.verify(settings.lake_dir))


def holding(settings: Settings, text: str) -> list[str]:
    """Return the pages of the center that have a text."""
    query = (
        f"""SELECT raw_id FROM raw_pages WHERE center_id = '{CENTER}' AND contains(decode(body), '{text}')"""
    )
    return [raw_id for (raw_id,) in ask(settings, query)]


def test_without_a_rule_nothing_goes(settings: Settings) -> None:
    report = retention.run(settings, now=NOW + timedelta(days=36_000))

    assert report.removals == ()
    assert incidents(settings) == [OLD, YOUNG]
    assert not (settings.lake_dir / ledger.NAME).exists()
    assert "everything is kept" in run("retention", "run", "--yes", "--declared-fields").stdout


def test_old_records_go_with_all_that_hangs_on_them_and_stay_away(settings: Settings) -> None:
    report = keep(settings, "records", 14)

    assert incidents(settings) == [YOUNG]
    assert incidents(settings, "center-b") == [OLD, YOUNG], "another center's rule is its own"
    for table in ("incident_versions", "incident_sightings", "caller_locations", "cad_notes", "media"):
        assert not ask(settings, f"FROM {table} WHERE center_id = '{CENTER}' AND incident_id = '{OLD}'"), (
            table
        )
        assert table == "incident_sightings" or ask(
            settings, f"FROM {table} WHERE incident_id = '{YOUNG}'"
        ), table
    assert ask(settings, "SELECT cad_incident_id FROM cad_incidents") == [(f"cad-{YOUNG}",)]
    assert len(list(settings.media_dir.rglob("*"))) == 2, "the folder, and the young call's file"
    assert not holding(settings, f'"{OLD}"')
    assert holding(settings, f'"{YOUNG}"')
    assert sum(one.counts.get("raw_pages", 0) for one in report.removals) == 6
    assert_whole(settings)

    with open_lake(settings) as lake:
        dated = [*call(OLD, 0.0)[:3], *call("older", -5 * DAY_S)[:3]]  # all but the media, of no known age
        land(lake, *dated, *call("younger", 21 * DAY_S))
        load(lake, incident(OLD, updated=10**6), incident("younger-2", created=21 * DAY_S))
        lake.replay()
    assert incidents(settings) == [YOUNG, "younger", "younger-2"]
    assert not holding(settings, f'"{OLD}"')
    assert_whole(settings)
    again = keep(settings, "records", 14)
    assert [one.counts for one in again.removals] == [{}]


def test_a_call_that_is_not_due_keeps_its_older_versions_in_the_archive_too(settings: Settings) -> None:
    """Its time of creation was corrected forwards; and a CAD incident is as old as it says itself."""
    with open_lake(settings) as lake:
        lake.replay()  # so that nothing else is left to be done
        load(lake, incident("corrected", caller_phone_number=PHONE), incident("unknown", updated_at="odd"))
        load(lake, incident("corrected", created=20 * DAY_S, updated=20 * DAY_S))
        shell = incident("cad-corrected", address="1 Main Street")
        linked = incident("cad-corrected", created=20 * DAY_S, updated=20 * DAY_S, incident_id=OLD)
        load(lake, shell, resource="cad_incidents")
        load(lake, linked, resource="cad_incidents")
    queries = (
        "FROM incident_versions WHERE incident_id = 'corrected' ORDER BY ALL",
        "FROM cad_incident_versions WHERE cad_incident_id = 'cad-corrected' ORDER BY ALL",
    )
    before = [ask(settings, query) for query in queries]

    keep(settings, "records", 14)

    assert not holding(settings, '"unknown"'), "of a call that no table knows the record alone counts"
    with open_lake(settings) as lake:
        assert all(one.is_without_effect for one in lake.replay())
    assert [ask(settings, query) for query in queries] == before
    assert len(holding(settings, '"corrected"')) == len(holding(settings, '"cad-corrected"')) == 2
    assert_whole(settings)


def test_what_came_before_the_last_cutoff_goes_from_the_archive_once_its_call_is_due(
    settings: Settings,
) -> None:
    """An incident that only its locations tell of is as old as the last; one corrected is younger."""

    def land_at(day: int, *contents: Any) -> None:
        received_at = START + timedelta(days=day, seconds=5)
        lake.land([delivery(one, received_at=received_at) for one in contents], run_id="landing")

    with open_lake(settings) as lake:
        first = caller_location("l-first", incident_id="untold")
        land_at(0, first, first)  # once more: a delivery that no row is of
        land_at(20, caller_location("l-last", captured=20 * DAY_S, incident_id="untold"))
        for _ in range(2):
            load(lake, incident("corrected", caller_phone_number=PHONE))
        load(lake, incident("corrected", created=20 * DAY_S, updated=20 * DAY_S))
    keep(settings, "records", 14)
    assert len(holding(settings, '"l-first"')) == 2
    assert len(holding(settings, '"corrected"')) == 3

    retention.run(settings, now=NOW + timedelta(days=20))

    for text in ("untold", "corrected"):
        assert not holding(settings, f'"{text}"'), text
    with open_lake(settings) as lake:
        assert all(one.is_without_effect for one in lake.replay())
    assert not ask(settings, "FROM caller_locations WHERE incident_id = 'untold'")
    assert not ask(settings, "FROM incident_versions WHERE incident_id = 'corrected'")
    assert_whole(settings)


def test_what_says_no_age_goes_by_when_it_came_and_no_replay_sets_it_aside_again(settings: Settings) -> None:
    undated = ["no object", {"id": "undated"}, incident("odd", created_at="yesterday")]
    with open_lake(settings) as lake:
        for received_at, name in ((END, "early"), (NOW, "late")):
            stamped = [{"id": f"{name}-record"}, *undated]
            lake.load([page(*stamped, received_at=received_at)], cell=cell(), run_id="run")
            bodies: list[Any] = [f"{name} text".encode(), {"type": f"{name} type", "note": "of nothing"}]
            lake.land([delivery(body, received_at=received_at) for body in bodies], run_id="landing")

    keep(settings, "records", 14)

    with open_lake(settings) as lake:
        lake.replay()
    for name, stays in (("early", False), ("late", True)):
        for text in (f"{name}-record", f"{name} text", f"{name} type"):
            assert bool(holding(settings, text)) is stays, text
    set_aside = ask(settings, f"SELECT DISTINCT received_at FROM quarantine WHERE {OF_CENTER}")
    assert set_aside == [(NOW,)]
    assert incidents(settings) == [YOUNG]
    assert_whole(settings)


@pytest.mark.parametrize("of", ["records", "raw"])
def test_what_waits_in_the_spool_is_landed_and_goes_with_the_rest(
    settings: Settings, of: RetentionClass
) -> None:
    retention.set_rule(settings, Rule(CENTER, of, 14, "clerk", NOW))
    with Spool.open(settings.spool_dir) as spool:
        for name, received_at in (("early", START + timedelta(days=2)), ("late", NOW)):
            created_s = (received_at - START).total_seconds()
            body = json.dumps(incident_metadata(name, created=created_s, updated=created_s)).encode()
            spool.keep([Delivery(f"raw-{name}", CENTER, DeliveryKind.INCIDENT_EVENTS, received_at, {}, body)])

    retention.run(settings, dry_run=True, now=NOW)
    assert b'"early"' in spool_bytes(settings)
    retention.run(settings, now=NOW)

    assert b'"early"' not in spool_bytes(settings)
    assert not holding(settings, '"early"')
    assert holding(settings, '"late"')
    assert_whole(settings)


def spool_bytes(settings: Settings) -> bytes:
    """Return every byte of the spool, its log and free pages too."""
    return b"".join(path.read_bytes() for path in settings.spool_dir.iterdir())


def test_caller_data_goes_and_the_rows_stay_through_a_replay(settings: Settings) -> None:
    keep(settings, "caller-data", 14)

    def kept() -> list[tuple[Any, ...]]:
        return ask(
            settings,
            f"SELECT incident_id, caller_phone_number FROM incidents WHERE center_id = '{CENTER}' ORDER BY 1",
        )

    assert kept() == [(OLD, None), (YOUNG, PHONE)]
    assert ask(settings, "SELECT note_id, note FROM cad_notes ORDER BY 1") == [
        (f"n-{OLD}", None),
        (f"n-{YOUNG}", f"a note of {YOUNG}"),
    ]
    assert ask(settings, "SELECT cad_incident_id, address, lat FROM cad_incidents ORDER BY 1") == [
        (f"cad-{OLD}", None, None),
        (f"cad-{YOUNG}", "1 Main Street", 1.5),
    ]
    assert not holding(settings, f'"{OLD}"')
    with open_lake(settings) as lake:
        load(lake, incident(OLD, updated=10**6, caller_phone_number=PHONE))
        lake.replay()
    assert kept() == [(OLD, None), (YOUNG, PHONE)]
    assert (
        len(ask(settings, f"FROM incident_versions WHERE center_id = '{CENTER}' AND incident_id = '{OLD}'"))
        == 2
    )
    assert_whole(settings)


def test_old_bodies_go_and_what_they_told_stays_through_a_replay(settings: Settings) -> None:
    before = ask(settings, "FROM incidents ORDER BY ALL")
    versions = ask(settings, "FROM incident_versions ORDER BY ALL")

    report = keep(settings, "raw", 14)

    with open_lake(settings) as lake:
        lake.replay()
    assert ask(settings, "FROM incidents ORDER BY ALL") == before
    assert ask(settings, "FROM incident_versions ORDER BY ALL") == versions
    assert not holding(settings, "created_at")
    pages = ask(
        settings, f"SELECT count(*) FROM raw_pages WHERE center_id = '{CENTER}' AND resource <> 'erasure'"
    )
    assert pages == [(report.removals[0].counts["raw_pages"],)]
    assert_whole(settings)


def test_a_replay_under_way_keeps_what_came_of_bodies_that_go(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go between the selection of pages and their reading, which may be hours later."""
    tables = ("incidents", "incident_versions", "caller_locations", "media", "cad_notes", "quarantine")
    before = [ask(settings, f"FROM {one} ORDER BY ALL") for one in tables]
    select = replaying.select

    def select_first(*arguments: Any) -> None:
        select(*arguments)
        assert keep(settings, "raw", 1).removals[0].counts["raw_pages"] > 0

    monkeypatch.setattr(replaying, "select", select_first)
    with open_lake(settings) as lake:
        lake.replay()

    assert [ask(settings, f"FROM {one} ORDER BY ALL") for one in tables] == before


@pytest.mark.parametrize("of", ["records", "caller-data"])
@pytest.mark.parametrize("when", ["before the tables", "after them"])
def test_a_replay_that_had_read_pages_before_they_were_cut_brings_nothing_back(
    settings: Settings, of: RetentionClass, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins when the ledger has the cut-off already, and commits before or after the rows have gone."""
    has_read, may_go_on = Event(), Event()
    read, redact = replaying.read_pages, of_lake.redact
    replays: list[Future[list[ReplaySummary]]] = []

    def read_and_wait(*arguments: Any) -> Any:
        pages = read(*arguments)
        has_read.set()
        assert may_go_on.wait(60)
        return pages

    def replay() -> list[ReplaySummary]:
        with open_lake(settings) as lake:
            return lake.replay(Selection((CENTER,), ("incident_events",)))

    def read_first(*arguments: Any, **options: Any) -> int:
        if not replays:
            replays.append(pool.submit(replay))
            assert has_read.wait(60)
        pages = redact(*arguments, **options)
        if when == "before the tables":
            may_go_on.set()
            replays[0].result()
        return pages

    monkeypatch.setattr(replaying, "read_pages", read_and_wait)
    monkeypatch.setattr(of_lake, "redact", read_first)
    with ThreadPoolExecutor(1) as pool:
        keep(settings, of, 14, CENTER)
        may_go_on.set()
        (summary,) = replays[0].result()

    assert (summary.unreadable, summary.is_without_effect) == (1, True)
    for table in ("incidents", "incident_versions"):
        rows = ask(settings, f"SELECT DISTINCT caller_phone_number FROM {table} WHERE {OF_OLD}")
        assert rows == ([] if of == "records" else [(None,)])
    assert YOUNG in incidents(settings)
    assert_whole(settings)


@pytest.mark.parametrize("held", [False, True])
def test_a_page_that_cannot_be_cut_goes_whole_unless_it_names_what_is_held(
    settings: Settings, held: bool
) -> None:
    young = incident("young-and-deep", created=20 * DAY_S)
    with open_lake(settings) as lake:
        body = too_deep_to_cut(incident("old-beside-deep"), young)
        lake.load([page(body=body, received_at=NOW)], cell=cell(), run_id="deep")
        if held:
            lake.hold(Hold(CENTER, "young-and-deep", "case 17", "clerk", NOW))

    keep(settings, "records", 14, "")

    for center_id in (CENTER, "center-b"):
        assert not {OLD, "old-beside-deep"} & set(incidents(settings, center_id))
    assert "young-and-deep" in incidents(settings)
    if held:
        assert holding(settings, '"young-and-deep"')
    else:
        assert not holding(settings, '"old-beside-deep"')
    assert_whole(settings)


def test_what_hangs_on_a_call_that_is_kept_is_taken_whatever_its_own_age(settings: Settings) -> None:
    """A location is captured before its call is made, and a delivery may be late by the time that is kept."""
    keep(settings, "records", 14)
    late = [
        event
        for of in (YOUNG, OLD, "unknown")
        for event in (
            caller_location(f"late-{of}", captured=15 * DAY_S, incident_id=of),
            note_created(f"late-{of}", incident_id=of, note=f"said of {of}"),
        )
    ]

    with open_lake(settings) as lake:
        land(lake, *late)

    for table, key in (("caller_locations", "location_id"), ("cad_notes", "note_id")):
        taken = ask(settings, f"SELECT {key} FROM {table} WHERE {OF_CENTER} AND {key} LIKE 'late-%'")
        assert taken == [(f"late-{YOUNG}",)]
    assert not holding(settings, f"late-{OLD}")
    keep(settings, "records", 14)
    assert holding(settings, f"late-{YOUNG}"), "nor is it cut out of the archive"
    assert_whole(settings)


def test_a_page_of_one_incident_is_as_old_as_the_incident(settings: Settings) -> None:
    """It has records in it of what came before, and of other calls; and an old one may have a young one."""
    pages = {
        identity: {
            "incident": incident(identity, created=created_s),
            "media": [{"created_at": stamp(of_media)}],
        }
        for identity, created_s, of_media in (("a-young", 20 * DAY_S, 0), ("an-old", 0, 20 * DAY_S))
    }

    def archive() -> None:
        with open_lake(settings) as lake:
            for shown in pages.values():
                asked = replace(page(), resource="incident_events:item", body=json.dumps(shown).encode())
                lake.archive(asked, run_id="asked")

    archive()
    keep(settings, "records", 14)
    assert [len(holding(settings, one)) for one in pages] == [1, 0], "what was archived before"

    archive()
    assert [len(holding(settings, one)) for one in pages] == [2, 0], "and what came since"
    assert_whole(settings)


def test_old_media_files_go_and_are_not_fetched_again(settings: Settings) -> None:
    keep(settings, "media", 14)

    assert not [path for path in settings.media_dir.rglob("*") if path.is_file()]
    assert ask(settings, "SELECT DISTINCT state, path FROM media_files") == [("removed", None)]
    assert len(ask(settings, "FROM media")) == 2


@pytest.mark.parametrize("of", ["media", "records"])
@pytest.mark.parametrize("noted", [True, False])
def test_what_was_fetched_of_a_media_file_before_it_broke_off_goes_with_it(
    settings: Settings, of: RetentionClass, noted: bool
) -> None:
    """The lake names no path of it: it is known by its name, also where a kill came before any note."""
    with open_lake(settings) as lake:
        land(
            lake,
            {"type": "media", "id": "broken", "incident_id": OLD, "url": "https://media.example.net/x"},
            {"type": "media", "id": "loose", "incident_id": None, "url": "https://media.example.net/y"},
        )
        for row in query_arrow(
            "SELECT center_id, media_id, version_hash FROM media WHERE media_id IN ('broken', 'loose')",
            lake_dir=lake.lake_dir,
        ).to_pylist():
            for ending in ("part", "tag"):
                (settings.media_dir / CENTER / f"{row['version_hash']}.{ending}").write_bytes(b"half")
            if noted:
                link = MediaLink(**row, attempts=0, link=None)
                lake.record_media([MediaOutcome(link, "failed", END, error="It broke off.")])
    before = [path for path in settings.media_dir.rglob("*") if path.is_file()]
    retention.set_rule(settings, Rule(CENTER, of, 0, "clerk", NOW))
    ages = NOW + timedelta(days=36_000)

    due = retention.run(settings, now=ages, dry_run=True)
    report = retention.run(settings, now=ages)

    assert len(before) == 6
    assert [path for path in settings.media_dir.rglob("*") if path.is_file()] == []
    assert sum(one.counts["media files"] for one in report.removals) == 6, "files, and not rows"
    if of == "media":
        assert due.removals == report.removals
        assert ask(settings, "SELECT DISTINCT state, path FROM media_files") == [("removed", None)]
    else:
        assert ask(settings, "FROM media_files") == []
    assert not any("media files" in one.counts for one in retention.run(settings, now=ages).removals)


def test_why_a_media_file_was_never_fetched_is_known_when_it_is_old(settings: Settings) -> None:
    with open_lake(settings) as lake:
        land(lake, {"type": "media", "id": "gone", "incident_id": OLD, "url": "https://media.example.net/x"})
        (row,) = query_arrow(
            "SELECT center_id, media_id, version_hash FROM media WHERE media_id = 'gone'",
            lake_dir=lake.lake_dir,
        ).to_pylist()
        lake.record_media([MediaOutcome(MediaLink(**row, attempts=0, link=None), "refused", END)])
    retention.set_rule(settings, Rule(CENTER, "media", 0, "clerk", NOW))

    retention.run(settings, now=NOW + timedelta(days=36_000))

    assert ask(settings, "SELECT state FROM media_files WHERE media_id = 'gone'") == [("refused",)]


@pytest.mark.parametrize("of", CLASSES)
def test_what_is_held_stays_whatever_the_rules_say(settings: Settings, of: RetentionClass) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))

    keep(settings, of, 1)

    assert OLD in incidents(settings)
    assert ask(
        settings,
        f"SELECT caller_phone_number FROM incidents WHERE incident_id = '{OLD}' AND center_id = '{CENTER}'",
    ) == [(PHONE,)]
    assert holding(settings, f'"{OLD}"')
    assert [path for path in settings.media_dir.rglob("*") if path.is_file()]
    with open_lake(settings) as lake:
        load(lake, incident(OLD, updated=10**6, caller_phone_number=PHONE), incident("old-too"))
        land(lake, caller_location("another", incident_id=OLD))
    assert ask(settings, "SELECT location_id FROM caller_locations WHERE location_id = 'another'") == [
        ("another",)
    ]
    with open_lake(settings) as lake:
        lake.release(CENTER, OLD)
    retention.run(settings, now=NOW)
    if of == "records":
        assert OLD not in incidents(settings)
        assert not holding(settings, f'"{OLD}"')
    assert_whole(settings)


@pytest.mark.parametrize("of", CLASSES)
@pytest.mark.parametrize("when", ["before the archive", "after it"])
def test_a_hold_that_comes_while_a_run_is_under_way_is_heeded(
    settings: Settings, of: RetentionClass, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the archive had lost before it came is lost; no row, number or file is."""
    turns: list[int] = []
    redact = of_lake.redact

    def hold() -> None:
        if len(turns) == 1:
            assert run("hold", "add", CENTER, OLD, "--reason", "case 17").returncode == 0

    def redact_and_hold(*arguments: Any, **options: Any) -> int:
        turns.append(1)
        if when == "before the archive":
            hold()
        pages = redact(*arguments, **options)
        if when == "after it":
            hold()
        return pages

    monkeypatch.setattr(of_lake, "redact", redact_and_hold)

    keep(settings, of, 1)

    assert len(turns) == 2
    assert OLD in incidents(settings)
    assert ask(settings, f"SELECT caller_phone_number FROM incidents WHERE {OF_OLD}") == [(PHONE,)]
    assert ask(
        settings, f"SELECT count(path) FROM media_files JOIN media USING (center_id, media_id) WHERE {OF_OLD}"
    ) == [(1,)]
    assert len([path for path in settings.media_dir.rglob("*") if path.is_file()]) >= 1
    if when == "before the archive":
        assert holding(settings, f'"{OLD}"')
    assert_whole(settings)


@pytest.mark.parametrize("of", ["records", "caller-data"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["hold during the run", "hold after it was killed"])
def test_no_replay_takes_what_was_cut_out_of_the_archive_before_it_was_held(
    settings: Settings, of: RetentionClass, is_killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(settings) as lake:
        odd = incident(OLD, updated_at="yesterday", caller_phone_number=PHONE)
        seen = incident(OLD, caller_phone_number=PHONE)  # as it was delivered
        lake.load([page(odd, seen, received_at=NOW)], cell=cell(), run_id="run")
        lake.load(
            [page(incident(f"cad-{OLD}", updated=5, incident_id=OLD), resource="cad_incidents")],
            cell=cell(resource="cad_incidents"),
            run_id="run",
        )
    queries = [
        f"FROM {table} WHERE {condition} ORDER BY ALL"
        for table, condition in (
            *((one, OF_OLD) for one in ("incidents", "incident_versions", "incident_sightings")),
            *((one, OF_OLD) for one in ("caller_locations", "cad_notes", "media")),
            *((one, f"cad_incident_id = 'cad-{OLD}'") for one in ("cad_incidents", "cad_incident_versions")),
            ("quarantine", f"{OF_CENTER} AND contains(record, '{OLD}')"),
        )
    ]
    before = [ask(settings, query) for query in queries]
    assert all(before)
    redact = of_lake.redact
    turns: list[int] = []

    def redact_and_hold(*arguments: Any, **options: Any) -> int:
        pages = redact(*arguments, **options)
        turns.append(1)
        if len(turns) == 1:
            if is_killed:
                raise KeyboardInterrupt
            hold_old(settings)
        return pages

    monkeypatch.setattr(of_lake, "redact", redact_and_hold)
    if is_killed:
        with pytest.raises(KeyboardInterrupt):
            keep(settings, of, 14)
        hold_old(settings)
    keep(settings, of, 14)
    assert not holding(settings, f'"{OLD}"'), "the archive has lost it"
    assert [ask(settings, query) for query in queries] == before

    with open_lake(settings) as lake:
        assert all(one.is_without_effect for one in lake.replay())

    assert [ask(settings, query) for query in queries] == before
    assert_whole(settings)


def hold_old(settings: Settings) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))


def test_a_cad_incident_that_is_linked_to_a_held_call_while_a_run_is_under_way_stays(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the open zone too; and from the next run on its updates are taken that do not name the call."""
    cad_id = f"cad-{OLD}"
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    redact = of_lake.redact

    def redact_and_link(*arguments: Any, **options: Any) -> int:
        pages = redact(*arguments, **options)
        with open_lake(settings) as lake:
            load(lake, {**incident(cad_id, updated=50), "incident_id": OLD}, resource="cad_incidents")
        publish(settings)
        return pages

    with monkeypatch.context() as under_way:
        under_way.setattr(of_lake, "redact", redact_and_link)
        keep(settings, "records", 14)

    of_cad = f"{OF_CENTER} AND cad_incident_id = '{cad_id}'"
    assert ask(settings, f"SELECT incident_id FROM cad_incidents WHERE {of_cad}") == [(OLD,)]
    rows = query_arrow(f"FROM cad_incidents WHERE {of_cad}", lake_dir=settings.zone_dir("open"))
    assert rows.num_rows == 1
    retention.run(settings, now=NOW + timedelta(days=1))
    with open_lake(settings) as lake:
        load(lake, incident(cad_id, updated=60), resource="cad_incidents")
    assert ask(settings, f"SELECT max(updated_at) FROM cad_incidents WHERE {of_cad}") == [(instant(60),)]
    assert len(ask(settings, f"FROM cad_incident_versions WHERE {of_cad}")) == 3


def test_a_lost_ledger_has_its_holds_and_cutoffs_from_the_catalog(settings: Settings) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    keep(settings, "records", 14)
    known = ledger.read(settings.lake_dir)
    ledger.path_of(settings.lake_dir).unlink()

    with open_lake(settings) as lake:
        load(lake, incident(OLD, updated=10**6), incident("old-too"))

    made_again = ledger.read(settings.lake_dir)
    assert dict(made_again.cutoffs) == dict(known.cutoffs)
    assert len(made_again.held) == len(known.held) > 0
    assert "old-too" not in incidents(settings)
    assert len(ask(settings, f"FROM incident_versions WHERE {OF_OLD}")) == 3


def test_a_lost_ledger_has_its_cutoffs_after_a_hold_was_let_go_of(settings: Settings) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    keep(settings, "records", 14)
    with open_lake(settings) as lake:
        lake.release(CENTER, OLD)
    known = ledger.read(settings.lake_dir)
    ledger.path_of(settings.lake_dir).unlink()

    with open_lake(settings) as lake:
        load(lake, incident("old-too"))

    assert ledger.read(settings.lake_dir).cutoffs == known.cutoffs != {}
    assert "old-too" not in incidents(settings)
    retention.run(settings, now=NOW + timedelta(days=1))
    assert not holding(settings, f'"{OLD}"'), "what the hold had kept in the archive is gone through"


def test_a_hold_that_is_let_go_of_while_a_run_is_under_way_keeps_nothing_in_the_archive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    remove = retention._remove

    def remove_and_release(*arguments: Any) -> None:
        remove(*arguments)
        with open_lake(settings) as lake:
            if lake.holds():
                lake.release(CENTER, OLD)

    with monkeypatch.context() as under_way:
        under_way.setattr(retention, "_remove", remove_and_release)
        keep(settings, "records", 14)
    retention.run(settings, now=NOW + timedelta(days=1))

    assert incidents(settings) == [YOUNG]
    assert not holding(settings, f'"{OLD}"')


def test_a_hold_that_a_restored_catalog_has_is_heeded(settings: Settings, tmp_path: Path) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    keep(settings, "records", 14)
    back_up(settings, tmp_path / "backup")
    with open_lake(settings) as lake:
        lake.release(CENTER, OLD)
    assert not ledger.read(settings.lake_dir).held

    restore(settings, tmp_path / "backup")

    with open_lake(settings) as lake:
        assert [one.incident_id for one in lake.holds()] == [OLD]
        load(lake, incident(OLD, updated=10**6))
    assert len(ask(settings, f"FROM incident_versions WHERE {OF_OLD}")) == 3


def test_a_hold_that_came_after_the_backup_outlives_a_restore(settings: Settings, tmp_path: Path) -> None:
    """Neither retention nor an erasure takes what a court has asked for since; and it can be let go of."""
    back_up(settings, tmp_path / "backup")
    hold_old(settings)
    restore(settings, tmp_path / "backup")

    keep(settings, "records", 14)
    refused = run("erase", CENTER, OLD, "--reason", "asked for", "--yes", "--declared-fields")

    assert OLD in incidents(settings)
    assert holding(settings, f'"{OLD}"')
    assert refused.returncode == 1
    assert "legal hold" in refused.stdout + refused.stderr
    with open_lake(settings) as lake:
        assert lake.holds() == [Hold(CENTER, OLD, "case 17", "clerk", NOW)]
        lake.release(CENTER, OLD)
    with open_lake(settings) as lake:
        assert lake.holds() == []
    assert not ledger.read(settings.lake_dir).held


def test_a_hold_of_a_ledger_that_named_none_is_named_in_it(settings: Settings, tmp_path: Path) -> None:
    """As this version finds the file that an older one has written."""
    back_up(settings, tmp_path / "backup")
    hold_old(settings)
    path = ledger.path_of(settings.lake_dir)
    older = {name: value for name, value in json.loads(path.read_text()).items() if name != "holds"}
    path.write_text(json.dumps(older))

    with open_lake(settings) as lake:
        assert lake.holds() == [Hold(CENTER, OLD, "case 17", "clerk", NOW)]

    restore(settings, tmp_path / "backup")
    with open_lake(settings) as lake:
        assert lake.holds() == [Hold(CENTER, OLD, "case 17", "clerk", NOW)]


def test_a_load_that_meets_the_end_of_a_run_lands(settings: Settings) -> None:
    """The catalog is written anew between two commits, not in the midst of one, which would fail for that."""
    scrubbing = threading.Thread(target=erasure.scrub, args=(settings,))
    with open_lake(settings) as lake, lake.session() as connection:

        def write() -> None:
            connection.execute("SELECT count(*) FROM alerts").fetchall()
            scrubbing.start()
            scrubbing.join(3.0)  # it waits for the commit
            connection.execute("INSERT INTO alerts VALUES ('', '', 'disk', now(), now())")

        lake.transact(write)
        scrubbing.join()

        assert len(lake.told()) == 1


def test_a_dry_run_counts_and_changes_nothing(settings: Settings) -> None:
    for of, days in (("records", "14"), ("raw", "14"), ("media", "14")):
        assert run("retention", "set", of, days).returncode == 0
    assert "all others" in run("retention", "show").stdout
    before = ask(settings, "FROM incidents ORDER BY ALL")

    report = retention.run(settings, dry_run=True, now=NOW)

    counts = {(one.center_id, one.of): one.counts for one in report.removals}
    assert counts[CENTER, "records"]["incidents"] == 1
    assert counts[CENTER, "media"] == {"media files": 2}
    assert counts["center-b", "raw"] == {"raw_pages": 1}
    assert ask(settings, "FROM incidents ORDER BY ALL") == before
    assert "rows, pages and files are due" in run("retention", "run", "--dry-run").stdout
    assert run("retention", "unset", "raw").returncode == 0
    assert "raw" not in run("retention", "show").stdout
    assert "Give 1 to" in run("retention", "set", "raw", "0").stderr


def test_a_run_that_was_stopped_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention.set_rule(settings, Rule("", "records", 14, "clerk", NOW))
    with monkeypatch.context() as broken:
        broken.setattr(retention.erasing, "clear", _stop)
        with pytest.raises(KeyboardInterrupt):
            retention.run(settings, now=NOW)

    retention.run(settings, now=NOW)

    for path in settings.lake_dir.rglob("*"):
        if path.is_file():
            assert f"a note of {OLD}".encode() not in path.read_bytes()


def _stop(lake: Lake) -> None:
    raise KeyboardInterrupt


def test_what_is_wrong_with_one_center_is_its_own_affair(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    redact = of_lake.redact

    def spoil(connection: Any, transact: Any, due: of_lake.Due, *arguments: Any, **options: Any) -> int:
        if due.center_id == CENTER:
            raise RecursionError(PHONE)
        return redact(connection, transact, due, *arguments, **options)

    retention.set_rule(settings, Rule("", "records", 14, "clerk", NOW))
    with monkeypatch.context() as broken:
        broken.setattr(of_lake, "redact", spoil)
        with pytest.raises(
            LakeError, match=f"of 1 of 2 centers.*{CENTER}: Unexpected RecursionError"
        ) as told:
            retention.run(settings, now=NOW)

    assert PHONE not in str(told.value)
    assert (incidents(settings), incidents(settings, "center-b")) == ([OLD, YOUNG], [YOUNG])
    retention.run(settings, now=NOW)
    assert incidents(settings) == [YOUNG]


def test_a_hold_that_is_let_go_of_while_a_run_ends_has_all_gone_through_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(settings) as lake:
        lake.hold(Hold(CENTER, OLD, "case 17", "clerk", NOW))
    from_tables, turns = retention._from_tables, []

    def remove_and_release(*arguments: Any) -> Any:
        turns.append(1)
        removed = from_tables(*arguments)
        if len(turns) == 1:
            assert run("hold", "remove", CENTER, OLD).returncode == 0
        return removed

    monkeypatch.setattr(retention, "_from_tables", remove_and_release)

    keep(settings, "records", 14)

    assert incidents(settings) == [YOUNG]
    assert holding(settings, f'"{OLD}"') == []
    with open_lake(settings) as lake:
        lake.replay()
    assert incidents(settings) == [YOUNG]


def test_a_hold_that_comes_with_the_files_of_a_call_gone_leaves_no_row_that_says_they_are_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and rows go in one transaction: a hold comes before both, or after."""
    unlink, added = retention.remove_media, []

    def hold_and_unlink(*arguments: Any) -> int:
        if not added:
            added.append(
                threading.Thread(target=run, args=("hold", "add", CENTER, OLD, "--reason", "case 17"))
            )
            added[0].start()
            time.sleep(1.0)  # it waits for the lake
        return unlink(*arguments)

    monkeypatch.setattr(retention, "remove_media", hold_and_unlink)

    keep(settings, "records", 14)
    added[0].join()

    fetched = ask(settings, f"SELECT path FROM media_files WHERE {OF_CENTER} AND state = 'fetched'")
    assert [path for (path,) in fetched if not (settings.media_dir / path).exists()] == []
    assert len(fetched) == len(incidents(settings)) == 1


def test_a_publication_under_way_keeps_no_load_waiting_behind_retention(settings: Settings) -> None:
    publish(settings)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(settings.open_dir / "commit.lock"):  # as a publication has it
            removing = pool.submit(keep, settings, "records", 14)
            wait_until(lambda: incidents(settings) == [YOUNG])
            time.sleep(1.0)  # by now it waits for the publication
            with Lake.open(settings.lake_dir, lock_wait_s=2) as lake:
                load(lake, incident("new", created=25 * DAY_S, updated=25 * DAY_S))
            assert not removing.done()
        assert sum(sum(one.counts.values()) for one in removing.result().removals)
    assert incidents(settings) == ["new", YOUNG]
    of_center = query_arrow(
        f"SELECT count(*) AS n FROM incidents WHERE {OF_CENTER}", lake_dir=settings.open_dir
    ).to_pylist()
    assert of_center == [{"n": 1}]
