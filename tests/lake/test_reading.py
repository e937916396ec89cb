"""The analyst's side: read-only, in UTC, DuckDB's own hints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import connect, query_arrow, query_frame, show
from dispatchlake.settings import Settings
from tests.lake.pages import incident, instant, load, stamp
from tests.lake.scripts import Script


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in a folder with a name that wants quoting, closed, with two incidents."""
    lake_dir = tmp_path_factory.mktemp("analyst") / 'it\'s; a "lake" 100% é'
    with Lake.open(lake_dir) as lake:
        load(
            lake,
            incident("i1", caller_phone_number="+15550100", is_audio_live=False, note='says "hi",\nit\'s'),
            incident("i2", updated=3600, audio_call_ended_at=stamp(60)),
        )
    return lake_dir


@pytest.fixture(scope="module")
def reader(landed: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(landed) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO incidents (incident_id) VALUES ('x')",
        "UPDATE incidents SET incident_id = 'x'",
        "DELETE FROM incidents",
        "DROP TABLE incidents",
        "CREATE TABLE mine (x INTEGER)",
        "ALTER TABLE incidents ADD COLUMN x INTEGER",
        "COMMENT ON TABLE incidents IS 'x'",
        "CALL lake.set_option('parquet_compression', 'snappy')",
        "CALL ducklake_expire_snapshots('lake', older_than => now())",
    ],
)
def test_a_reader_changes_nothing(reader: duckdb.DuckDBPyConnection, statement: str) -> None:
    with pytest.raises(duckdb.Error):
        reader.execute(statement)

    assert reader.sql("SELECT count(*) FROM incidents").fetchall() == [(2,)]


def test_a_reader_may_keep_tables_of_its_own(reader: duckdb.DuckDBPyConnection) -> None:
    reader.execute("CREATE TEMP TABLE mine AS FROM incidents")

    assert reader.sql("SELECT count(*) FROM mine").fetchall() == [(2,)]


def test_where_there_is_no_lake_a_person_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no lake in .*Land something first"):
        connect(tmp_path / "none")
    with pytest.raises(ConfigError):
        query_arrow("SELECT 1", lake_dir=tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_without_a_folder_the_settings_say_where_the_lake_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path))
    with Lake.open(tmp_path / "lake") as lake:
        load(lake, incident("here"))

    publish(Settings(data_dir=tmp_path))

    assert query_arrow("SELECT incident_id FROM incidents").to_pylist() == [{"incident_id": "here"}]


def test_an_answer_is_an_arrow_table_of_the_lakes_types(landed: Path) -> None:
    table = query_arrow("FROM incidents ORDER BY incident_id", lake_dir=landed)

    assert table.schema.field("updated_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("is_audio_live").type == pa.bool_()
    assert table["updated_at"].to_pylist() == [instant(0), instant(3600)]
    assert json.loads(table["extra"][0].as_py()) == {"note": 'says "hi",\nit\'s'}


def test_an_answer_is_a_frame_of_aware_times(landed: Path) -> None:
    frame = query_frame("FROM incidents ORDER BY incident_id", lake_dir=landed)

    assert list(frame["incident_id"]) == ["i1", "i2"]
    assert list(frame["updated_at"]) == [pd.Timestamp(instant(0)), pd.Timestamp(instant(3600))]
    assert str(frame["updated_at"].dt.tz) == "UTC"


def test_no_rows_are_an_answer_too(landed: Path) -> None:
    nothing = "FROM incidents WHERE false"

    assert query_arrow(nothing, lake_dir=landed).num_rows == 0
    assert query_frame(nothing, lake_dir=landed).empty


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM incident", 'Did you mean "incident'),
        ("SELECT phone FROM incidents", "caller_phone_number"),
        ("SELECT incident_id::INTEGER FROM incidents", "a value of the column incident_id"),
        ("SELECT (SELECT incident_id FROM incidents)", "More than one row"),
        ("INSERT INTO incidents (incident_id) VALUES ('x')", "read-only"),
    ],
)
def test_a_question_that_cannot_be_answered_gets_duckdbs_hint(landed: Path, sql: str, hint: str) -> None:
    with pytest.raises(LakeError) as caught:
        query_arrow(sql, lake_dir=landed)

    assert hint in str(caught.value)


def test_a_question_that_cannot_be_answered_gives_no_frame(landed: Path) -> None:
    with pytest.raises(LakeError, match="The query cannot be answered"):
        query_frame("SELECT incident_id::INTEGER FROM incidents", lake_dir=landed)


def test_an_answer_is_drawn_for_a_terminal(
    reader: duckdb.DuckDBPyConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    show(
        reader,
        "SELECT incident_id, audio_call_ended_at FROM incidents ORDER BY ALL",
        max_rows=9,
        max_width=80,
    )

    drawn = capfd.readouterr().out
    assert "i1" in drawn
    assert "·" in drawn
    assert "2024-03-01 00:01:00+00" in drawn
    with pytest.raises(LakeError, match="Did you mean"):
        show(reader, "FROM incident", max_rows=9, max_width=80)


ANYWHERE = """
import os, sys
from pathlib import Path
from dispatchlake.lake import Lake
from dispatchlake.lake.reading import connect
from tests.lake.pages import incident, load

with Lake.open(Path(sys.argv[1])) as lake:
    load(lake, incident("winter") | {"updated_at": "2024-01-15T10:30:00-05:00"},
               incident("summer") | {"updated_at": "2024-07-15 10:30:00 UTC"})
with connect(Path(sys.argv[1])) as reader:
    print(*reader.sql("SELECT current_setting('TimeZone')").fetchone())
    columns = "updated_at::VARCHAR, hour(updated_at), epoch(updated_at)"
    for row in reader.sql(f"SELECT {columns} FROM incidents ORDER BY ALL").fetchall():
        print(*row)
"""


def test_the_session_is_in_utc_wherever_the_machine_is(tmp_path: Path) -> None:
    script = Script(ANYWHERE, tmp_path / "lake", environment={"TZ": "Pacific/Kiritimati"})

    assert script.finish().splitlines() == [
        "UTC",
        f"2024-01-15 15:30:00+00 15 {datetime(2024, 1, 15, 15, 30, tzinfo=UTC).timestamp()}",
        f"2024-07-15 10:30:00+00 10 {datetime(2024, 7, 15, 10, 30, tzinfo=UTC).timestamp()}",
    ]


def test_a_lake_that_was_moved_is_read_and_written_where_it_is_now(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "elsewhere" / "after"
    after.parent.mkdir()
    many = [incident(f"i{number}") for number in range(150)]  # in files, whose folder the catalog names
    with Lake.open(before) as lake:
        load(lake, *many)
    before.rename(after)

    assert query_arrow("FROM incidents", lake_dir=after).num_rows == 150
    with Lake.open(after) as lake:
        summary = load(lake, *many, *(incident(f"new{number}") for number in range(150)))

    assert (summary.new, summary.unchanged) == (150, 150)
    assert query_arrow("FROM incidents", lake_dir=after).num_rows == 300
    assert not before.exists()


def test_what_was_known_at_a_time_can_be_asked(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident("i1", caller_phone_number="old"))
    with connect(lake_dir) as reader:
        ((snapshot,),) = reader.sql("SELECT max(snapshot_id) FROM lake.snapshots()").fetchall()
        load(lake, incident("i1", updated=1, caller_phone_number="new"))

        past = reader.sql(f"SELECT caller_phone_number FROM incidents AT (VERSION => {snapshot})").fetchall()
        now = reader.sql("SELECT caller_phone_number FROM incidents").fetchall()

    assert (past, now) == ([("old",)], [("new",)])
