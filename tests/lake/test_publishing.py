"""The open zone equals the restricted one, treated, after anything that may happen; and never half of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from dispatchlake.errors import CatalogBusy, ConfigError, LakeError
from dispatchlake.lake import Lake, Selection, changes, migrations, open_lake, publishing
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.publication import find_published, read_standing
from dispatchlake.lake.publishing import publish, rotate_key
from dispatchlake.lake.reading import connect_unnoted
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.views import VIEWS
from dispatchlake.settings import Settings
from tests.examples import examples
from tests.lake.deliveries import caller_location, incident_metadata, land, media, note_created
from tests.lake.pages import cell, incident, incidents, instant, load, page
from tests.lake.published import (
    LAT,
    LNG,
    OTHER_PHONE,
    PHONE,
    cad_incident,
    content,
    home_with_two_zones,
    made_anew,
)
from tests.lake.scripts import Script


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Settings:
    return home_with_two_zones(tmp_path_factory.mktemp("published") / "data", empty_lake)


@pytest.fixture
def zones(template: Settings, tmp_path: Path) -> Settings:
    """An installation of the test's own, with something of every kind in it, published."""
    shutil.copytree(template.data_dir, tmp_path / "data")
    return template.model_copy(update={"data_dir": tmp_path / "data"})


def rows(settings: Settings, query: str) -> list[tuple[object, ...]]:
    with connect_unnoted(settings.open_dir) as reader:
        return reader.execute(query).fetchall()


def snapshots(lake_dir: Path) -> int:
    with connect_unnoted(lake_dir) as reader:
        (count,) = reader.execute("SELECT count(*) FROM lake.snapshots()").fetchone() or (0,)
    return int(count)


def test_the_open_zone_has_the_same_tables_views_and_columns(zones: Settings) -> None:
    def shape(lake_dir: Path) -> list[tuple[object, ...]]:
        with connect_unnoted(lake_dir) as reader:
            return reader.execute(
                """SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
                WHERE database_name = 'lake' ORDER BY ALL"""
            ).fetchall()

    assert shape(zones.open_dir) == shape(zones.lake_dir)
    for name in [one.name for one in (*TABLES, *VIEWS)]:
        rows(zones, f"SELECT count(*) FROM {name}")


def test_both_zones_are_their_owners_alone_until_somebody_says_otherwise(
    zones: Settings, tmp_path: Path
) -> None:
    made = zones.model_copy(update={"data_dir": tmp_path / "made"})
    with open_lake(made) as lake:
        load(lake, incident())
    publish(made)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made.lake_dir, made.open_dir)] == [
        0o700,
        0o700,
    ]

    made.open_dir.chmod(0o2770)
    publish(made)

    assert stat.S_IMODE(made.open_dir.stat().st_mode) == 0o2770, "given to a group, it stays so"


def test_numbers_become_tokens_that_count_and_join_as_the_numbers_do(zones: Settings) -> None:
    found = rows(
        zones, "SELECT center_id, incident_id, caller_phone_number FROM incident_versions ORDER BY ALL"
    )
    tokens = {(center, incident_id): token for center, incident_id, token in found}

    assert all(str(token).startswith("tel_") for token in tokens.values())
    assert tokens["center-a", "i2"] != tokens["center-a", "i3"]
    assert tokens["center-a", "i2"] != tokens["center-b", "i1"], "a center's tokens are its own"
    assert rows(
        zones,
        """SELECT count(*) FROM incidents AS a
        JOIN incident_versions AS b USING (center_id, caller_phone_number)
        WHERE a.incident_id = 'i2' AND b.incident_id = 'i1'""",
    ) == [(1,)]


def test_what_may_reveal_a_caller_is_coarse_or_null(zones: Settings) -> None:
    assert rows(
        zones, "SELECT address, city, postal_code, lat, lng, incident_type, units, extra FROM cad_incidents"
    ) == [("14xx Blake St", "Denver", "80202", 39.742, -104.992, "MEDICAL", ["E1", "M3"], None)]
    assert rows(zones, "SELECT lat, lng, class_of_service FROM caller_locations") == [
        (39.742, -104.992, "WPH2")
    ]
    assert rows(zones, "SELECT note, metadata FROM cad_notes") == [(None, None)]
    assert rows(zones, "SELECT url, kind FROM media ORDER BY ALL") == [("hidden", "video"), ("hidden", None)]
    assert rows(zones, "SELECT DISTINCT chatroom_url, extra FROM incident_versions ORDER BY ALL") == [
        ("hidden", None),
        (None, None),
    ]
    assert rows(zones, "SELECT DISTINCT record FROM quarantine") == [(None,)]
    assert rows(zones, "SELECT count(*) FROM quarantine WHERE reason IS NOT NULL") == [(2,)]
    assert rows(zones, "SELECT (SELECT count(*) FROM raw_pages), (SELECT count(*) FROM chain_heads)") == [
        (0, 0)
    ]


def test_what_is_hidden_and_there_fails_no_check_in_either_zone(zones: Settings) -> None:
    with open_lake(zones) as lake:
        land(lake, media(id="m2", url=""), media(id="m3"))
    publish(zones)
    query = (
        "SELECT check_name, failed FROM data_quality WHERE table_name IN ('media', 'incidents') ORDER BY ALL"
    )

    with connect_unnoted(zones.lake_dir) as reader:
        in_the_restricted = reader.execute(query).fetchall()

    assert rows(zones, query) == in_the_restricted
    assert ("no_url", 2) in in_the_restricted


def test_views_of_the_open_zone_say_what_the_docs_say_they_do(zones: Settings) -> None:
    with open_lake(zones) as lake:
        load(
            lake,
            *(cad_incident(f"d{house}", address=f"{house} Oak Ave") for house in (12, 14, 16)),
            cad_incident("d17", address="16  oak ave"),
            resource="cad_incidents",
        )
        land(
            lake,
            caller_location("swapped", incident_id="i2", lat=LNG, lng=LAT),
            caller_location("nowhere", incident_id="i3", lat=200.5, lng=400.25),
            caller_location("far", incident_id="i4", lat=48.85, lng=2.35),
        )
    publish(zones)
    repeated = "SELECT address, cad_incidents FROM repeat_locations WHERE address LIKE '%OAK AVE'"
    flagged = "SELECT incident_id, flags FROM best_location WHERE len(flags) > 0 ORDER BY ALL"

    with connect_unnoted(zones.lake_dir) as reader:
        assert reader.execute(repeated).fetchall() == [("16 OAK AVE", 2)]
        assert reader.execute(flagged).fetchall() == [
            ("i2", ["swapped"]),
            ("i3", ["out of area"]),
            ("i4", ["out of area"]),
        ]
    assert rows(zones, repeated) == [("XX OAK AVE", 4)]
    assert rows(zones, flagged) == [("i2", ["missing"]), ("i3", ["missing"]), ("i4", ["out of area"])]


def test_hashes_of_content_are_tokens_too_and_still_join(zones: Settings) -> None:
    with connect_unnoted(zones.lake_dir) as reader:
        hashes = {
            row[0]
            for table in ("incident_versions", "media", "cad_locations", "caller_locations")
            for row in reader.execute(f"SELECT version_hash FROM {table}").fetchall()
        }

    assert rows(
        zones,
        "SELECT count(*) FROM incidents JOIN incident_versions USING (center_id, incident_id, version_hash)",
    ) == rows(zones, "SELECT count(*) FROM incidents")
    shown = {value for row in rows(zones, "SELECT media_id, version_hash FROM media") for value in row}
    shown |= {
        value for row in rows(zones, "SELECT location_id, version_hash FROM cad_locations") for value in row
    }
    assert "m1" in shown, "the vendor's own id stays"
    assert not shown & hashes
    assert rows(zones, "SELECT DISTINCT location_id = version_hash FROM cad_locations") == [(True,)]


def test_publishing_what_has_not_changed_writes_nothing(zones: Settings) -> None:
    before = snapshots(zones.open_dir)

    publication = publish(zones)

    assert (publication.changed, publication.remade) == ((), ())
    assert publication.sentence() == "The open zone is up to date"
    assert snapshots(zones.open_dir) == before


def test_only_rows_that_changed_are_written(zones: Settings) -> None:
    with open_lake(zones) as lake:
        load(lake, incident("i2", updated=60, caller_phone_number=OTHER_PHONE))
        publication = publish(zones)

    assert publication.remade == ()
    assert set(publication.changed) == {"incidents", "incident_versions", "coverage", "watermarks", "runs"}
    assert publication.rows_removed == 3, "a current row, a row of coverage, a watermark"
    assert publication.rows_added == 5
    assert content(zones.open_dir) == made_anew(zones)


def test_files_that_are_merged_and_rewritten_change_nothing_and_cost_nothing(zones: Settings) -> None:
    with open_lake(zones) as lake:
        for number in range(4):
            load(lake, *incidents(120, f"m{number}-"))
            load(lake, incident(f"m{number}-1", updated=10**6, created=3600))
    publish(zones)
    assert not maintain(zones).failed

    publication = publish(zones)

    assert (publication.changed, publication.remade) == ((), ())
    assert content(zones.open_dir) == made_anew(zones)


def test_rows_that_were_rewritten_and_removed_between_two_publications_are_gone_once(zones: Settings) -> None:
    with open_lake(zones) as lake:
        load(lake, *incidents(150, "m"))
        publish(zones)
        load(
            lake, *incidents(60, "m"), *(incident(f"m{n}", updated=10**6, created=n * 3600) for n in range(9))
        )
    assert not maintain(zones).failed
    with open_lake(zones) as lake:
        load(lake, *(incident(f"m{n}", updated=10**7, created=n * 3600) for n in range(5, 20)))

    publication = publish(zones)

    assert publication.remade == ()
    assert content(zones.open_dir) == made_anew(zones)


def test_the_snapshot_that_the_open_zone_shows_is_kept_and_gone_on_from(zones: Settings) -> None:
    for number in range(3):
        with open_lake(zones) as lake:
            load(lake, *incidents(120, f"m{number}-"))
    assert not maintain(zones, keep_files_days=0).failed
    with open_lake(zones) as lake:
        load(lake, incident("late"))

    publication = publish(zones.model_copy(update={"keep_all_snapshots_days": 0}))

    assert publication.remade == ()
    assert content(zones.open_dir) == made_anew(zones)


def test_where_the_snapshot_it_shows_is_gone_the_open_zone_is_made_anew(zones: Settings) -> None:
    with open_lake(zones) as lake:
        load(lake, incident("i3", updated=60))
    assert not maintain(zones, keep_snapshots_days=0, keep_files_days=0).failed

    publication = publish(zones)

    assert "incidents" in publication.remade
    assert content(zones.open_dir) == made_anew(zones)


def test_after_a_restore_of_an_older_catalog_the_open_zone_shows_that(
    zones: Settings, tmp_path: Path
) -> None:
    catalog = catalog_path(zones.lake_dir)
    with open_lake(zones):
        pass
    shutil.copy(catalog, tmp_path / "older")
    with open_lake(zones) as lake:
        load(lake, incident("forgotten"))
    publish(zones)
    shutil.copy(tmp_path / "older", catalog)
    assert read_standing(zones).behind_since is not None, "it shows what is lost"
    with open_lake(zones) as lake:
        load(lake, incident("remembered"))  # in a snapshot with the number of the one that is gone
    assert read_standing(zones).behind_since is not None

    publish(zones)

    ids = {row[0] for row in rows(zones, "SELECT incident_id FROM incidents")}
    assert read_standing(zones).behind_since is None
    assert "remembered" in ids
    assert "forgotten" not in ids


def test_a_zone_that_does_not_agree_is_made_anew_where_it_does_not(
    zones: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with open_lake(zones, "open") as lake, lake.held() as connection:
        connection.execute("DELETE FROM incidents WHERE incident_id = 'i2'")
    with open_lake(zones) as lake:
        load(lake, incident("i2", updated=60, caller_phone_number=PHONE))

    publication = publish(zones)

    assert publication.remade == ("incidents",)
    assert "did not have all rows of incidents" in caplog.text
    assert content(zones.open_dir) == made_anew(zones)


def test_what_no_declaration_shows_any_more_is_made_empty_and_forgotten(
    zones: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = tuple(t for t in publishing.published_tables() if t.name != "media")
    monkeypatch.setattr(publishing, "published_tables", lambda: fewer)

    publication = publish(zones)

    assert publication.is_history_forgotten
    assert rows(zones, "SELECT count(*) FROM media") == [(0,)]
    assert snapshots(zones.open_dir) == 2, "the last publication, and its note that the rest is gone"


def test_a_finer_or_coarser_setting_makes_what_it_touches_anew(zones: Settings) -> None:
    publication = publish(zones.model_copy(update={"coordinate_decimals": 1}))

    assert set(publication.remade) == {
        "cad_incidents",
        "cad_incident_versions",
        "caller_locations",
        "cad_locations",
    }
    assert publication.is_history_forgotten
    assert rows(zones, "SELECT lat, lng FROM cad_incidents") == [(39.7, -105.0)]


def test_a_column_that_a_newer_version_adds_is_null_in_the_open_zone(
    zones: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_colour(layout: migrations.Layout) -> None:
        layout.connection.execute("ALTER TABLE incidents ADD COLUMN colour VARCHAR")

    monkeypatch.setattr(migrations, "MIGRATIONS", {**migrations.MIGRATIONS, "9001 colour": add_colour})
    with open_lake(zones) as lake, lake.held() as connection:
        connection.execute("UPDATE incidents SET colour = 'red'")

    publication = publish(zones)

    assert "incidents" in publication.remade
    assert content(zones.open_dir) == made_anew(zones)
    columns = {row[0] for row in rows(zones, "SELECT column_name FROM (DESCRIBE incidents)")}
    shown = rows(zones, "SELECT DISTINCT colour FROM incidents") if "colour" in columns else [(None,)]
    assert shown == [(None,)]


def test_before_there_is_a_lake_a_person_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        publish(Settings(data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_who_finds_another_publishing_for_too_long_is_told(zones: Settings) -> None:
    hurried = zones.model_copy(update={"lock_wait_s": 0.05})
    with open_lake(zones) as lake:
        load(lake, incident("later"))
    with Script(HOLD, zones.open_dir) as script:
        assert script.line() == "held"

        with pytest.raises(CatalogBusy):
            publish(hurried)

    publish(zones)
    assert content(zones.open_dir) == made_anew(zones)


HOLD = """
import sys
from pathlib import Path
from dispatchlake.lake.lake import writers_lock

with writers_lock(Path(sys.argv[1]), 5):
    print("held", flush=True)
    input()
"""

KILLED = """
import os, sys
from dispatchlake.lake import changes, migrations, publishing, purge, tokens
from dispatchlake.settings import Settings
from pathlib import Path

place, count = sys.argv[2], int(sys.argv[3])

def dying(function):
    def wrapped(*arguments, **named):
        global count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **named)
    return wrapped

module, name = place.split(".")
setattr(globals()[module], name, dying(getattr(globals()[module], name)))
if module in ("tokens", "migrations"):
    publishing.tokenised = tokens.tokenised
publishing.publish(Settings(data_dir=Path(sys.argv[1]), coordinate_decimals=2))
print("done")
"""


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("changes.collect", 2),
        ("tokens.tokenised", 5),
        ("purge.purge", 0),
    ],
)
def test_killed_anywhere_the_next_publication_does_the_rest(zones: Settings, place: str, count: int) -> None:
    with open_lake(zones) as lake:
        load(lake, *incidents(130, "m"), incident("i2", updated=60))
    before = content(zones.open_dir)

    end = Script(KILLED, zones.data_dir, place, count).ended()

    assert "done" not in end
    after = content(zones.open_dir)
    coarser = zones.model_copy(update={"coordinate_decimals": 2})
    expected = made_anew(coarser)
    assert after in (before, expected), "all of it, or nothing"
    publication = publish(coarser)
    assert content(zones.open_dir) == expected
    assert publication.is_history_forgotten
    found = find_published(zones)
    assert found is not None
    assert not found.must_forget


def test_who_reads_in_a_transaction_sees_what_was_published_before_it_began(zones: Settings) -> None:
    with connect_unnoted(zones.open_dir) as reader:
        reader.execute("BEGIN")
        before = reader.execute(STATE).fetchall()
        with open_lake(zones) as lake:
            load(lake, *incidents(130, "m"))
        publish(zones)

        assert reader.execute(STATE).fetchall() == before
        reader.execute("COMMIT")
        assert reader.execute(STATE).fetchall() != before


STATE = """SELECT source_snapshot, (SELECT count(*) FROM incidents), (SELECT count(*) FROM incident_versions),
    (SELECT count(*) FROM cad_incidents), (SELECT sum(epoch_us(updated_at))::VARCHAR FROM incidents),
    (SELECT count(*) FROM runs), (SELECT sum(records)::BIGINT FROM coverage) FROM publication"""

READ = """
import json, select, sys, time
from pathlib import Path
from dispatchlake.lake.reading import connect

answers = []
with connect(Path(sys.argv[1])) as reader:
    reader.execute("SET threads = 1")
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        began_s, answer = time.monotonic(), reader.execute(sys.argv[2]).fetchall()
        answers.append([began_s, time.monotonic(), answer])
print(json.dumps(answers))
"""


def test_readers_of_the_open_zone_see_all_of_a_publication_or_nothing(zones: Settings) -> None:
    """Another process reads without a pause while rows come, change and are made anew."""
    published, publishing_s = rows(zones, STATE), []
    with Script(READ, zones.open_dir, STATE) as reader, open_lake(zones) as lake:
        assert reader.line() == "reading"
        for number in range(3):
            load(lake, *(incident(f"m{n}", updated=10**6 * number, created=n * 3600) for n in range(40)))
            load(lake, cad_incident(f"d{number}"), resource="cad_incidents")
            began_s = time.monotonic()
            publish(zones, rebuild=number == 1)
            publishing_s.append((began_s, time.monotonic()))
            published += rows(zones, STATE)
        assert reader.is_running(), reader.failure()
        reader.go_on()
        answers = [(start, end, tuple(*answer)) for start, end, answer in json.loads(reader.finish())]

    assert [answer for _, _, answer in answers if answer not in published] == [], "half a publication"
    seen = [published.index(answer) for _, _, answer in answers]
    assert seen == sorted(seen), "nobody is shown an older one again"
    assert len(set(seen)) > 2
    during = [one for one in answers if any(start < one[0] and one[1] < end for start, end in publishing_s)]
    assert len(during) > len(publishing_s), "it was read while it was published"


def test_how_long_the_open_zone_has_been_behind_is_known(zones: Settings, tmp_path: Path) -> None:
    assert read_standing(zones).behind_since is None
    with open_lake(zones) as lake:
        load(lake, incident("later"))

    standing = read_standing(zones)

    assert standing.published_at is not None
    assert standing.behind_since is not None
    assert standing.behind_since > standing.published_at
    assert read_standing(Settings(data_dir=tmp_path / "none")).behind_since is None


def test_who_waited_while_the_key_was_changed_publishes_with_the_new_one(
    zones: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = (
        "SELECT caller_phone_number FROM incidents WHERE caller_phone_number IS NOT NULL ORDER BY 1 LIMIT 1"
    )
    (old,) = rows(zones, number)
    rotated: list[object] = []
    open_zone = publishing.open_lake

    def open_late(settings: Settings, *zone: Any) -> Lake:
        if not rotated:
            rotated.append("begun")
            rotate_key(zones)
            rotated.append(rows(zones, number)[0])
        return open_zone(settings, *zone)

    monkeypatch.setattr(publishing, "open_lake", open_late)

    publish(zones)

    assert rotated[1] != old
    assert rows(zones, number) == [rotated[1]]


def test_an_installation_that_never_published_is_behind_since_it_could(zones: Settings) -> None:
    shutil.rmtree(zones.open_dir)

    standing = read_standing(zones)

    assert standing.published_at is None
    assert standing.behind_since is not None


Step = Callable[[Settings, Lake], None]


def _landing(number: int) -> Step:
    def step(_settings: Settings, lake: Lake) -> None:
        land(
            lake,
            incident_metadata("x", updated=number, caller_phone_number=OTHER_PHONE),
            caller_location(f"l{number % 3}", captured=number, lat=1.23456 + number),
            note_created(f"n{number % 2}", note=str(number)),
            media(media_type=str(number)),
            b"?" * number,
        )

    return step


def _loading(number: int, count: int) -> Step:
    def step(_settings: Settings, lake: Lake) -> None:
        news = [incident(f"x{n}", updated=number, created=n * 400_000) for n in range(count)]
        moved = incident("x1", updated=number, created=[0, -40 * 86_400][number % 2])
        pages = [page(*news, moved, 5, center_id="center-c")]
        lake.load(pages, cell=cell("center-c", end=instant(10**6 + number)), run_id=f"run {number}")
        cads = [page(cad_incident(f"c{number % 2}", updated=number), resource="cad_incidents")]
        lake.load(cads, cell=cell(resource="cad_incidents"), run_id="cad")

    return step


def _replay(_settings: Settings, lake: Lake) -> None:
    with lake.held() as connection:  # as if an earlier parser had made something else of the pages
        connection.execute(
            "UPDATE incident_versions SET caller_phone_number = 'wrong' WHERE incident_id = 'x1'"
        )
    lake.replay(Selection())


def _maintain(settings: Settings, _lake: Lake) -> None:
    assert not maintain(settings).failed


def _forget_all(settings: Settings, _lake: Lake) -> None:
    assert not maintain(settings, keep_snapshots_days=0, keep_files_days=0).failed


def _publish(settings: Settings, _lake: Lake) -> None:
    publish(settings)


def _maintain_open(settings: Settings, _lake: Lake) -> None:
    assert not maintain(settings, zone="open", keep_snapshots_days=0, keep_files_days=0).failed


steps = st.one_of(
    st.builds(_loading, st.integers(0, 30), st.sampled_from([2, 40, 130])),
    st.builds(_landing, st.integers(1, 30)),
    st.sampled_from([_replay, _maintain, _forget_all, _publish, _publish, _publish, _maintain_open]),
)


@pytest.fixture(scope="module")
def anywhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@given(st.lists(steps, min_size=4, max_size=7), st.sampled_from((3, changes.PORTION_ROWS)))
@examples(
    3, phases=(Phase.generate,), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_whatever_happens_the_open_zone_is_what_it_would_be_if_made_anew(
    template: Settings, anywhere: Path, steps: list[Step], portion_rows: int
) -> None:
    home = Path(tempfile.mkdtemp(dir=anywhere)) / "data"
    shutil.copytree(template.data_dir, home)
    settings = template.model_copy(update={"data_dir": home})
    with ExitStack() as stack:
        stack.enter_context(patch.object(changes, "PORTION_ROWS", portion_rows))
        lake = stack.enter_context(open_lake(settings))
        for step in steps:
            step(settings, lake)
        publish(settings)
    assert content(settings.open_dir) == made_anew(settings)
    shutil.rmtree(home)


def spoil_nothing(zones: Settings) -> None:
    pass


def lose_the_catalog(zones: Settings) -> None:
    catalog_path(zones.open_dir).unlink()


def write_over_the_catalog(zones: Settings) -> None:
    catalog_path(zones.open_dir).write_bytes(b"this is not a catalog\n" * 500)


def cut_the_catalog(zones: Settings) -> None:
    catalog = catalog_path(zones.open_dir)
    catalog.write_bytes(catalog.read_bytes()[:-20_000])


def empty_a_page_of_the_catalog(zones: Settings) -> None:
    catalog = catalog_path(zones.open_dir)
    content = bytearray(catalog.read_bytes())
    content[8192:12288] = bytes(4096)
    catalog.write_bytes(content)


def drop_a_table_of_the_catalog(zones: Settings) -> None:
    with contextlib.closing(sqlite3.connect(catalog_path(zones.open_dir))) as connection:
        connection.execute("DROP TABLE ducklake_schema")
        connection.commit()


def lose_the_files(zones: Settings) -> None:
    shutil.rmtree(zones.open_dir / "data")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_nothing,
        lose_the_catalog,
        write_over_the_catalog,
        cut_the_catalog,
        empty_a_page_of_the_catalog,
        drop_a_table_of_the_catalog,
        lose_the_files,
    ],
)
def test_a_rebuild_makes_the_open_zone_of_whatever_is_left_of_it(
    zones: Settings, spoil: Callable[[Settings], None]
) -> None:
    with open_lake(zones) as lake:
        load(lake, *incidents(150, "m"))  # in files
    publish(zones)
    before = content(zones.open_dir)
    zones.open_dir.chmod(0o2770)
    spoil(zones)

    publish(zones, rebuild=True)

    assert content(zones.open_dir) == before
    assert stat.S_IMODE(zones.open_dir.stat().st_mode) == 0o2770, "given to a group, it stays so"
    assert publish(zones).remade == ()


def test_a_damaged_open_zone_is_told_with_what_makes_it_anew(zones: Settings) -> None:
    write_over_the_catalog(zones)

    for look in (publish, find_published):
        with pytest.raises(LakeError, match="dispatchlake publish --rebuild"):
            look(zones)


HOLD_OPEN = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake

with Lake.open(Path(sys.argv[1])):
    print("open", flush=True)
    input()
"""


def test_an_open_zone_that_another_process_writes_is_not_removed(zones: Settings) -> None:
    with Script(HOLD_OPEN, zones.open_dir) as writer:
        assert writer.line() == "open"
        write_over_the_catalog(zones)

        with pytest.raises(CatalogBusy, match="open for writing"):
            publish(zones, rebuild=True)

    assert catalog_path(zones.open_dir).read_bytes().startswith(b"this is not")


def test_where_the_restricted_zone_cannot_be_read_the_open_one_is_left_alone(zones: Settings) -> None:
    write_over_the_catalog(zones)
    catalog_path(zones.lake_dir).write_bytes(b"no catalog either")

    with pytest.raises(LakeError):
        publish(zones, rebuild=True)

    assert (zones.open_dir / "data").exists()


@pytest.mark.parametrize("zone", ["lake", "open"])
@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"PAR1" * 9)])
def test_a_data_file_that_is_missing_or_damaged_is_named(
    zones: Settings, zone: str, damage: Callable[[Path], None]
) -> None:
    with open_lake(zones) as lake:
        load(lake, *incidents(150, "m"))
        if zone == "open":
            publish(zones)
            load(lake, *(incident(f"m{n}", updated=10**6, created=n * 3600) for n in range(150)))
    (file,) = (zones.data_dir / zone / "data" / "main" / "incidents").rglob("*.parquet")
    damage(file)

    with pytest.raises(LakeError) as caught:
        publish(zones)

    assert f" {file.relative_to(zones.data_dir)}: " in str(caught.value)
