"""The lake's layout: made once, by one of many, described in full, and never touched by older software."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from dispatchlake.errors import ConfigError, LakeError, LakeTooNew, is_transient
from dispatchlake.lake import CenterFacts, Lake, migrations
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.reading import connect
from dispatchlake.lake.schemas import ALERTS, QUARANTINE, TABLES
from dispatchlake.lake.views import VIEWS
from tests.lake.conftest import Ask
from tests.lake.deliveries import caller_location, incident_metadata, land, media, note_created
from tests.lake.pages import incident, load
from tests.lake.scripts import Script

Step = Callable[[migrations.Layout], None]


def test_a_new_lake_has_every_table_and_column_with_its_comment(ask: Ask) -> None:
    tables = ask("SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lake' ORDER BY ALL")
    columns = ask(
        """SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
        WHERE database_name = 'lake' AND table_name IN (FROM (SELECT table_name FROM duckdb_tables()))"""
    )

    assert [row for row in tables if row[0] != "migrations"] == sorted(
        (table.name, table.comment) for table in TABLES
    )
    types = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    assert {row for row in columns if row[0] != "migrations"} == {
        (table.name, column.name, types.get(column.type, column.type), column.full_comment)
        for table in TABLES
        for column in table.columns
    }


def test_a_new_lake_has_every_view_with_its_comment(ask: Ask) -> None:
    views = ask("SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'lake'")

    assert dict(views) == {view.name: view.comment for view in VIEWS}
    for view in VIEWS:
        assert ask(f"FROM {view.name}") == []


def test_every_comment_says_something() -> None:
    for table in TABLES:
        assert "one row per" in table.comment.lower()
        assert all(column.comment.endswith(".") or ":" in column.comment for column in table.columns)


def test_personal_information_is_named_in_the_catalog(ask: Ask) -> None:
    marked = ask(
        """SELECT table_name, column_name FROM duckdb_columns()
        WHERE comment LIKE '%[personal: %]' AND table_name = 'incidents' ORDER BY ALL"""
    )

    assert [column for _, column in marked] == [
        "caller_phone_number",
        "chatroom_url",
        "extra",
        "version_hash",
    ]


def test_opening_again_applies_nothing_again(lake: Lake, lake_dir: Path) -> None:
    def history() -> list[tuple[object, ...]]:
        with connect(lake_dir) as connection:
            return connection.sql(
                "SELECT name, applied_at, (SELECT max(snapshot_id) FROM lake.snapshots()) FROM migrations"
            ).fetchall()

    load(lake, incident())
    lake.close()
    before = history()

    with Lake.open(lake_dir), Lake.open(lake_dir):
        pass

    assert history() == before
    assert [row[0] for row in before] == list(migrations.MIGRATIONS)


def test_an_older_lake_is_brought_up_to_date_and_keeps_its_rows(
    lake: Lake, lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, incident("i1"))
    lake.close()
    add_steps(monkeypatch, {"9001 colour": add_colour})

    with Lake.open(lake_dir):
        pass

    with connect(lake_dir) as connection:
        assert connection.sql("SELECT incident_id, colour FROM incidents").fetchall() == [("i1", None)]
        names = [row[0] for row in connection.sql("SELECT name FROM migrations ORDER BY ALL").fetchall()]
    assert names == list(migrations.MIGRATIONS)


def test_a_lake_from_before_webhooks_gets_their_tables_and_keeps_its_rows(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident("i1"))
    connection = lake._connection
    for view in ("reconciliation", "incident_sources"):
        connection.execute(f"DROP VIEW {view}")
    for table in NEW_WITH_WEBHOOKS:
        connection.execute(f"DROP TABLE {table}")
    connection.execute("COMMENT ON TABLE raw_pages IS 'One row per page.'")
    connection.execute("COMMENT ON COLUMN incidents.source IS 'How it reached us: rest.'")
    connection.execute("DELETE FROM migrations WHERE name = '0007 deliveries'")
    lake.close()

    with Lake.open(lake_dir) as migrated:
        landed = land(migrated, incident_metadata("i1"), caller_location(), note_created(), media(), b"?")
        ask = migrated._connection.sql

        assert (landed.new, landed.quarantined) == (3, 1)
        assert ask("SELECT incident_id, by_rest, by_webhook FROM incident_sources").fetchall() == [
            ("i1", True, True)
        ]
        comments = {
            (table, column): comment
            for table, column, comment in ask(
                "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'lake'"
            ).fetchall()
        }
        for table in TABLES:
            assert ask(
                f"SELECT comment FROM duckdb_tables() WHERE table_name = '{table.name}'"
            ).fetchall() == [(table.comment,)]
            for column in table.columns:
                assert comments[table.name, column.name] == column.full_comment


NEW_WITH_WEBHOOKS = ("incident_sightings", "caller_locations", "media", "cad_notes", "cad_locations")


def with_statistics(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the tables that DuckLake has statistics of, be it that they are of no rows."""
    rows = connection.execute(
        f"""SELECT table_name FROM {CATALOG}.ducklake_table
        JOIN {CATALOG}.ducklake_table_stats USING (table_id) WHERE end_snapshot IS NULL"""
    ).fetchall()
    return {row[0] for row in rows}


AWAITING_ROWS = {
    "raw_pages",
    *("incidents", "incident_versions"),
    *("cad_incidents", "cad_incident_versions"),
}


def test_tables_that_may_stay_empty_have_statistics_and_no_rows(lake: Lake) -> None:
    """Without, each query of them asks the catalog twice for each column (decision 28)."""
    with lake.held() as connection:
        assert with_statistics(connection) >= {table.name for table in TABLES} - AWAITING_ROWS
        for table in TABLES:
            rows = connection.execute(f"SELECT count(*) FROM {table.name}").fetchall()
            is_filled = table.name in {"dictionary", "service_classes", "view_editions"}
            assert rows == [(0,)] or is_filled, table.name


def test_an_older_lake_gets_statistics_of_its_empty_tables_and_keeps_its_rows(
    lake: Lake, lake_dir: Path
) -> None:
    load(lake, incident("i1"))
    lake.remember_centers([CenterFacts("houston-tx", "Houston", "America/Chicago")])
    with lake.held() as connection:
        for table in (ALERTS, QUARANTINE):  # as the version before made them
            declared = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
            connection.execute(f"DROP TABLE {table.name}")
            connection.execute(f"CREATE TABLE {table.name} ({declared})")
        connection.execute("DELETE FROM migrations WHERE name = '0013 statistics of empty tables'")
        assert not with_statistics(connection) & {"alerts", "quarantine"}
    lake.close()

    with Lake.open(lake_dir) as migrated, migrated.held() as connection:
        assert with_statistics(connection) >= {"alerts", "quarantine", "centers"}
        for table, count in {"alerts": 0, "quarantine": 0, "centers": 1, "incidents": 1, "runs": 1}.items():
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() == [(count,)], table


def add_colour(layout: migrations.Layout) -> None:
    layout.connection.execute("ALTER TABLE incidents ADD COLUMN colour VARCHAR")


def create_table(layout: migrations.Layout) -> None:
    layout.connection.execute("CREATE TABLE done (x INTEGER)")


def add_steps(monkeypatch: pytest.MonkeyPatch, steps: dict[str, Callable[..., object]]) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", {**migrations.MIGRATIONS, **steps})


def create_and_fail(layout: migrations.Layout) -> None:
    layout.connection.execute("CREATE TABLE half_done (x INTEGER)")
    layout.connection.execute("INSERT INTO half_done VALUES (1)")
    layout.connection.execute("DELETE FROM incidents")
    raise ZeroDivisionError


def create_and_meet_an_error(layout: migrations.Layout) -> None:
    layout.connection.execute("CREATE TABLE half_done (x INTEGER)")
    layout.connection.execute("SELECT * FROM no_such_table")


@pytest.mark.parametrize(
    ("step", "error"),
    [(create_and_fail, ZeroDivisionError), (create_and_meet_an_error, LakeError)],
    ids=["a fault", "an error of DuckDB"],
)
def test_a_migration_that_fails_is_undone_and_tried_again_next_time(
    lake: Lake, lake_dir: Path, monkeypatch: pytest.MonkeyPatch, step: Step, error: type[Exception]
) -> None:
    load(lake, incident("i1"))
    lake.close()
    done_before = len(migrations.MIGRATIONS)
    with monkeypatch.context() as patch:
        add_steps(patch, {"9001 good": create_table, "9002 bad": step})
        with pytest.raises(error):
            Lake.open(lake_dir)
        with connect(lake_dir) as connection:
            tables = {row[0] for row in connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()}
            assert connection.sql("SELECT incident_id FROM incidents").fetchall() == [("i1",)]
            assert connection.sql("SELECT count(*) FROM migrations").fetchall() == [(done_before + 1,)]
        assert "done" in tables, "what came before it stays"
        assert "half_done" not in tables

        add_steps(patch, {"9002 bad": add_colour})
        with Lake.open(lake_dir), connect(lake_dir) as connection:
            assert connection.sql("SELECT count(*) FROM migrations").fetchall() == [(done_before + 2,)]


def test_a_new_lake_whose_first_migration_fails_is_no_lake_yet(
    lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", {"0001 first tables": create_and_fail})
        with pytest.raises(LakeError):
            Lake.open(lake_dir)
        with pytest.raises(ConfigError, match="There is no lake"):
            connect(lake_dir)

    with Lake.open(lake_dir) as lake:
        assert load(lake, incident()).new == 1


def test_a_lake_of_a_newer_version_is_refused_and_left_alone(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident())
    lake._connection.execute("INSERT INTO migrations VALUES ('9999 of the future', now())")
    lake.close()
    before = fingerprints(lake_dir)

    with pytest.raises(LakeTooNew) as writing:
        Lake.open(lake_dir)
    with pytest.raises(LakeTooNew) as reading:
        connect(lake_dir)

    assert fingerprints(lake_dir) == before
    for error in (writing.value, reading.value):
        assert "newer version" in str(error)
        assert "'9999 of the future'" in str(error)
        assert not is_transient(error)


def fingerprints(lake_dir: Path) -> dict[str, str]:
    """Return what every file of the lake holds; only while nobody in this process has it open."""
    log = catalog_path(lake_dir).with_suffix(".sqlite-wal")
    assert not log.exists() or not log.stat().st_size, "nothing waits to be written"
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in lake_dir.rglob("*")
        if path.is_file() and path.suffix not in {".sqlite-wal", ".sqlite-shm"}
    }


OPENER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import incident, load

print("ready", flush=True)
input()
with Lake.open(Path(sys.argv[1])) as lake:
    print(load(lake, incident(), center_id=sys.argv[2]).new)
"""


def test_many_processes_may_open_a_new_lake_at_once(lake_dir: Path) -> None:
    """The catalog's file is there a moment before it is a lake."""
    lake_dir.mkdir()
    catalog_path(lake_dir).touch()
    openers = [Script(OPENER, lake_dir, f"center-{number}") for number in range(3)]
    for opener in openers:
        assert opener.line() == "ready"
    for opener in openers:
        opener.go_on()

    assert [opener.finish() for opener in openers] == ["1\n"] * 3

    with connect(lake_dir) as connection:
        assert connection.sql("SELECT count(*) FROM migrations").fetchall() == [(len(migrations.MIGRATIONS),)]
        assert connection.sql("SELECT count(*) FROM incidents").fetchall() == [(3,)]
