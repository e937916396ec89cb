"""Every view and macro is explained in full, in step with what it answers, and replaced when it changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import dispatchlake
from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake, dictionary, view_renewal
from dispatchlake.lake.declared import Column, Macro, View
from dispatchlake.lake.reading import connect
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.service_classes import CLASSES
from dispatchlake.lake.views import MACROS, VIEWS
from tests.lake.conftest import Ask
from tests.lake.deliveries import caller_location, land
from tests.lake.pages import incident, load

TYPES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
ARGUMENTS = {"VARCHAR": "'x'", "TIMESTAMPTZ": "now()"}

COLOURS = View(
    "colours",
    "One row per colour.",
    (Column("colour", "VARCHAR", "A colour."),),
    "SELECT 'red' AS colour",
    ("colour",),
    "FROM colours",
)
TWICE = Macro(
    "twice",
    "Twice a number.",
    (Column("number", "BIGINT", "A number."),),
    (Column("twice", "BIGINT", "Twice that."),),
    "2 * number",
    "SELECT twice(1)",
    is_table=False,
)
SAID = Macro(
    "said",
    "One row per word.",
    (Column("word", "VARCHAR", "A word."),),
    (Column("said", "VARCHAR", "That word."),),
    "SELECT word AS said",
    "FROM said('x')",
)


@pytest.fixture(scope="module")
def ask(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks a lake with a few records."""
    lake_dir = tmp_path_factory.mktemp("asked") / "lake"
    shutil.copytree(empty_lake, lake_dir)
    with Lake.open(lake_dir) as lake:
        load(lake, incident("i1"), center_id="houston-tx")
        load(lake, incident("c1"), center_id="houston-tx", resource="cad_incidents")
        land(lake, caller_location(), center_id="houston-tx")
    with connect(lake_dir) as connection:
        yield lambda sql: connection.sql(sql).fetchall()


def called(macro: Macro) -> str:
    return f"{macro.name}({', '.join(ARGUMENTS[one.type] for one in macro.parameters)})"


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_column_of_a_view_is_explained(ask: Ask, view: View) -> None:
    described = ask(f"SELECT column_name, column_type FROM (DESCRIBE FROM {view.name})")

    assert described == [(column.name, TYPES.get(column.type, column.type)) for column in view.columns]
    assert set(view.key) <= {column.name for column in view.columns}


@pytest.mark.parametrize("macro", [m for m in MACROS if m.is_table], ids=lambda macro: macro.name)
def test_every_column_of_a_macro_is_explained(ask: Ask, macro: Macro) -> None:
    described = ask(f"SELECT column_name, column_type FROM (DESCRIBE FROM {called(macro)})")

    assert described == [(column.name, TYPES.get(column.type, column.type)) for column in macro.columns]
    assert set(macro.key) <= {column.name for column in macro.columns}


@pytest.mark.parametrize("one", [*VIEWS, *MACROS], ids=lambda one: one.name)
def test_every_example_can_be_asked(ask: Ask, one: View | Macro) -> None:
    ask(one.example)


def test_comments_are_sentences() -> None:
    for one in [*VIEWS, *MACROS]:
        assert one.comment.endswith(".")
        assert all(column.comment.endswith(".") for column in one.columns), one.name
        assert one.name in one.example


def test_the_dictionary_in_the_lake_has_every_object_and_column(ask: Ask) -> None:
    there = {
        (name, column)
        for name, column in ask(
            """SELECT table_name, column_name FROM duckdb_columns()
            WHERE database_name = 'lake' AND table_name <> 'migrations'"""
        )
    }
    functions = {
        row[0] for row in ask("SELECT function_name FROM duckdb_functions() WHERE database_name = 'lake'")
    }

    explained = ask("SELECT object, kind, role, column_name, meaning FROM dictionary")

    assert {(row[0], row[3]) for row in explained if row[1] != "macro" and row[2] == "column"} == there
    assert {row[0] for row in explained if row[1] == "macro"} == functions
    assert all(row[4] for row in explained)


def test_the_dictionary_says_unit_key_source_and_what_must_not_be_summed(ask: Ask) -> None:
    def said(name: str, column: str) -> list[tuple[object, ...]]:
        return ask(
            f"""SELECT unit, source_field, pii, is_key, must_not_be_summed FROM dictionary
            WHERE object = '{name}' AND column_name = '{column}'"""
        )

    assert said("cad_incidents", "call_received_at") == [("instant, UTC", "received_at", "none", False, None)]
    assert said("incidents", "caller_phone_number") == [(None, "caller_phone_number", "phone", False, None)]
    assert said("response_times", "call_to_dispatch_s") == [("seconds", None, "none", False, True)]
    assert said("volume_by_hour", "incidents") == [(None, None, "none", False, False)]
    assert said("best_location", "lat") == [("degrees", None, "coordinates", False, True)]
    assert said("volume_by_type", "local_date") == [("day", None, "none", True, None)]


OURS = {("incident_timeline", "kind")}
"""Columns with words of ours that are called like one with words of a center."""


def test_what_may_reveal_a_person_is_marked_wherever_a_view_shows_it() -> None:
    sensitive = {
        column.name: column.pii for table in TABLES for column in table.columns if column.pii != "none"
    }
    for one in [*VIEWS, *MACROS]:
        for column in one.columns:
            if column.name in sensitive and (one.name, column.name) not in OURS:
                assert column.pii != "none", (one.name, column.name)


def test_classes_of_service_are_known_once_each() -> None:
    names = [row[0] for row in CLASSES]

    assert len(names) == len(set(names))
    assert names == [name.upper() for name in names]


def make(lake_dir: Path, monkeypatch: pytest.MonkeyPatch, release: str, *views: View | Macro) -> None:
    """Open the lake for writing as a release that has some views and macros more."""
    monkeypatch.setattr(dispatchlake, "__version__", release)
    for module in (view_renewal, dictionary):
        monkeypatch.setattr(module, "VIEWS", (*VIEWS, *(v for v in views if isinstance(v, View))))
        monkeypatch.setattr(module, "MACROS", (*MACROS, *(m for m in views if isinstance(m, Macro))))
    view_renewal.digest.cache_clear()
    with Lake.open(lake_dir):
        pass
    monkeypatch.undo()
    view_renewal.digest.cache_clear()


def test_a_lake_of_an_older_version_gets_todays_views_macros_and_dictionary(
    lake: Lake, lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, incident("i1"))
    with lake.held() as connection:
        connection.execute("DELETE FROM view_editions")
    lake.close()
    make(lake_dir, monkeypatch, "0.0.9", COLOURS, TWICE, SAID)
    with connect(lake_dir) as connection:
        assert connection.sql("SELECT colour, twice(2), (FROM said('a')) FROM colours").fetchall() == [
            ("red", 4, "a")
        ]
        assert len(connection.sql("FROM dictionary WHERE object IN ('colours', 'twice', 'said')")) == 8
        connection.sql("FROM incidents_as_of(now())")

    with Lake.open(lake_dir), connect(lake_dir) as connection:
        assert connection.sql("FROM dictionary WHERE object IN ('colours', 'twice', 'said')").fetchall() == []
        left = connection.sql(
            """SELECT view_name FROM duckdb_views() WHERE view_name = 'colours' UNION ALL
            SELECT function_name FROM duckdb_functions() WHERE function_name IN ('twice', 'said')"""
        )
        assert left.fetchall() == []
        assert connection.sql("SELECT incident_id FROM incidents").fetchall() == [("i1",)]


def test_an_older_version_leaves_the_views_of_a_newer_one(
    lake: Lake, lake_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.close()
    make(lake_dir, monkeypatch, "999.0.0", COLOURS)

    with Lake.open(lake_dir) as opened:
        load(opened, incident("i1"))

    with connect(lake_dir) as connection:
        assert connection.sql("FROM colours").fetchall() == [("red",)]
        assert connection.sql("SELECT release FROM view_editions").fetchall() == [("999.0.0",)]


def test_opening_a_lake_whose_views_are_todays_commits_nothing(lake: Lake, lake_dir: Path) -> None:
    def snapshots() -> list[tuple[object, ...]]:
        with connect(lake_dir) as connection:
            return connection.sql("SELECT max(snapshot_id) FROM lake.snapshots()").fetchall()

    lake.close()
    before = snapshots()

    with Lake.open(lake_dir):
        pass

    assert snapshots() == before


def test_a_lake_from_before_there_were_views_for_analysts_gets_them(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident("i1"))
    with lake.held() as connection:
        for table in ("centers", "service_classes", "dictionary", "view_editions"):
            connection.execute(f"DROP TABLE {table}")
        for view in VIEWS[4:]:
            connection.execute(f"DROP VIEW {view.name}")
        connection.execute("DELETE FROM migrations WHERE name = '0008 analysts'")
    lake.close()
    with pytest.raises(LakeError, match="The next ingest run brings it up to date"):
        dictionary.read(lake_dir=lake_dir)

    with Lake.open(lake_dir), connect(lake_dir) as reader:
        assert reader.sql("SELECT incident_id FROM incidents_as_of(now())").fetchall() == [("i1",)]
        assert reader.sql("SELECT count(*) > 300 FROM dictionary").fetchall() == [(True,)]


def test_what_the_lake_does_not_have_is_not_in_the_dictionary(lake: Lake, lake_dir: Path) -> None:
    lake.close()

    assert [entry.column_name for entry in dictionary.read("centers", lake_dir=lake_dir)] == [
        None, "center_id", "name", "time_zone", "updated_at",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no table, view or macro 'nothing'"):
        dictionary.read("nothing", lake_dir=lake_dir)
