"""Exports: all of one snapshot, whole or not there, their owner's alone, and no formula for a spreadsheet."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake
from dispatchlake.lake.export_items import Item, item_of
from dispatchlake.lake.export_target import Target, target_of, whole_or_nothing
from dispatchlake.lake.export_writer import Writer
from dispatchlake.lake.exporting import Exported, Source, export
from dispatchlake.lake.reading import connect
from tests.lake.pages import incident, instant, load, stamp
from tests.lake.scripts import Script
from tests.waiting import wait_until

QUESTION = "SELECT incident_id, caller_phone_number, updated_at, extra FROM incidents ORDER BY incident_id"


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in a folder with a name that wants quoting, closed, with two incidents."""
    lake_dir = tmp_path_factory.mktemp("analyst") / 'it\'s; a "lake" 100% é' / "lake"
    with Lake.open(lake_dir) as lake:
        load(
            lake,
            incident("i1", caller_phone_number="+15550100", is_audio_live=False, note='says "hi",\nit\'s'),
            incident("i2", updated=3600, audio_call_ended_at=stamp(60)),
        )
    return lake_dir


@pytest.fixture
def lake_dir(landed: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(landed, tmp_path / "data" / "lake")
    return tmp_path / "data" / "lake"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder to export to."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def write(
    lake_dir: Path,
    path: Path,
    *what: str,
    at: datetime | int | None = None,
    overwrite: bool = False,
    exact: bool = False,
) -> Exported:
    target = target_of(path, overwrite=overwrite, exact=exact)
    return export([item_of(text) for text in what], target, at=at, source=Source(lake_dir))


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as content:
        return list(csv.DictReader(content))


def counts(file: Path, tables: Sequence[str]) -> list[int]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return [connection.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables]


@pytest.mark.parametrize("name", ["i.xlsx", "i.json", "i.csv.gz", "i.TSV"])
def test_an_ending_of_another_form_is_refused_and_makes_no_folder(landed: Path, out: Path, name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"Name a file that ends in \.parquet, \.csv, \.duckdb, or a folder"
    ):
        write(landed, out / name, "incidents")

    assert not any(out.iterdir())


@pytest.mark.parametrize("name", ["incidents", "2024.03", ".hidden"])
def test_a_name_without_the_ending_of_a_file_is_a_folder(landed: Path, out: Path, name: str) -> None:
    write(landed, out / name, "incidents")

    assert (out / name / "incidents.parquet").exists()


# What is in the files


@pytest.mark.parametrize("name", ["answer.csv", "it's an answer.csv", "with spaces; é 100%.csv"])
def test_an_answer_is_exported_as_csv(landed: Path, out: Path, name: str) -> None:
    assert write(landed, out / name, QUESTION).rows == {"answer": 2}

    rows = rows_of(out / name)
    assert [row["incident_id"] for row in rows] == ["i1", "i2"]
    assert [row["caller_phone_number"] for row in rows] == ["+15550100", ""]
    assert [datetime.fromisoformat(row["updated_at"]) for row in rows] == [instant(0), instant(3600)]
    assert json.loads(rows[0]["extra"]) == {"note": 'says "hi",\nit\'s'}
    assert list(out.iterdir()) == [out / name]


@pytest.mark.parametrize("name", ["answer.parquet", "it's an answer.parquet"])
def test_an_answer_is_exported_as_parquet(landed: Path, out: Path, name: str) -> None:
    exported = write(landed, out / name, QUESTION)

    file = pq.ParquetFile(out / name)
    assert file.read()["incident_id"].to_pylist() == ["i1", "i2"]
    assert file.read()["updated_at"].to_pylist() == [instant(0), instant(3600)]
    assert file.metadata.metadata[b"dispatchlake_snapshot"] == str(exported.snapshot.number).encode()
    assert list(out.iterdir()) == [out / name]


def test_a_duckdb_file_stands_alone_and_explains_itself(landed: Path, out: Path) -> None:
    exported = write(landed, out / "it's.duckdb", "incidents", "complete_through", f"mine={QUESTION}")

    assert exported.rows == {"incidents": 2, "complete_through": 1, "mine": 2}
    with duckdb.connect(str(out / "it's.duckdb"), read_only=True) as file, connect(landed) as lake:
        assert file.sql("FROM incidents ORDER BY ALL").fetchall() == (
            lake.sql("FROM incidents ORDER BY ALL").fetchall()
        )
        comments = (
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE table_name = 'incidents'"
        )
        assert file.sql(f"{comments} ORDER BY ALL").fetchall() == (
            lake.sql(f"{comments} AND database_name = 'lake' ORDER BY ALL").fetchall()
        )
        ((of_view,),) = file.sql(
            "SELECT comment FROM duckdb_tables() WHERE table_name = 'complete_through'"
        ).fetchall()
        assert of_view.startswith("One row per center and resource")
        ((of_column,),) = file.sql(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'complete_through' "
            "AND column_name = 'complete_through'"
        ).fetchall()
        assert of_column
        assert file.sql("SELECT name, rows, query, snapshot FROM export_info").fetchall() == [
            ("incidents", 2, None, exported.snapshot.number),
            ("complete_through", 1, None, exported.snapshot.number),
            ("mine", 2, QUESTION, exported.snapshot.number),
        ]


def test_a_folder_has_a_file_each_and_says_of_which_snapshot(landed: Path, out: Path) -> None:
    exported = write(landed, out / "all", "incidents", "mine=SELECT 1 AS one")

    manifest = json.loads((out / "all" / "export.json").read_bytes())
    assert {path.name for path in (out / "all").iterdir()} == {
        "export.json",
        "incidents.parquet",
        "mine.parquet",
    }
    assert manifest["snapshot"] == exported.snapshot.number
    assert [(file["file"], file["rows"]) for file in manifest["files"]] == [
        ("incidents.parquet", 2),
        ("mine.parquet", 1),
    ]


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "none.duckdb"])
def test_no_rows_are_an_export_too(landed: Path, out: Path, name: str) -> None:
    assert write(landed, out / name, "FROM incidents WHERE false").rows == {"answer": 0}
    assert (out / name).stat().st_size > 0


@pytest.mark.parametrize("name", ["sorted.csv", "sorted.parquet"])
def test_the_order_asked_for_is_kept(landed: Path, out: Path, name: str) -> None:
    many = 300_000
    write(landed, out / name, f"SELECT {many} - range AS i FROM range({many}) ORDER BY i")

    ((in_order,),) = duckdb.sql(
        f"""SELECT count(*) FILTER (i = place) FROM
        (SELECT i, row_number() OVER () AS place FROM '{out / name}')"""
    ).fetchall()
    assert in_order == many


# What a spreadsheet makes of it

HOSTILE = [
    '=HYPERLINK("http://x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "  =1",
    "\r=1",
    "\uff1d1",
]
HARMLESS = ["+15550100", "-95.3", "- 5", "N Main St = 5", "'=1", "", "12 - 14 Elm", "(713) 555-0100"]


def test_a_callers_text_is_no_formula_in_a_spreadsheet(landed: Path, out: Path) -> None:
    texts = ", ".join("('" + text.replace("'", "''") + "')" for text in [*HOSTILE, *HARMLESS])
    query = f'SELECT col0 AS "a ""column""", -1 AS n FROM (VALUES {texts}) ORDER BY ALL'

    write(landed, out / "safe.csv", query)
    write(landed, out / "exact.csv", query, exact=True)

    safe = {row['a "column"'] for row in rows_of(out / "safe.csv")}
    assert safe == {f"'{text}" for text in HOSTILE} | set(HARMLESS)
    assert {row['a "column"'] for row in rows_of(out / "exact.csv")} == {*HOSTILE, *HARMLESS}
    assert {row["n"] for row in rows_of(out / "safe.csv")} == {"-1"}, "a number stays one"


def test_other_forms_keep_every_text_as_it_is(landed: Path, out: Path) -> None:
    write(landed, out / "a.parquet", "SELECT '=1' AS a")

    assert pq.read_table(out / "a.parquet")["a"].to_pylist() == ["=1"]


# Of which moment

LOADING = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import incident, load

with Lake.open(Path(sys.argv[1])) as lake:
    print("begins", flush=True)
    for number in range(2000):
        load(lake, incident(f"n{number}"))
        if number == 2:
            print("goes on", flush=True)
"""


def test_all_of_an_export_is_of_one_snapshot_while_loads_commit(lake_dir: Path, out: Path) -> None:
    """Each load brings one incident, one version and one page, in one transaction."""
    tables = ("incidents", "raw_pages", "incident_versions")
    seen = set()
    with Script(LOADING, lake_dir) as loading:
        assert (loading.line(), loading.line()) == ("begins", "goes on")
        for number in range(3):
            write(lake_dir, out / f"{number}.duckdb", *tables)
            incidents, pages, versions = counts(out / f"{number}.duckdb", tables)
            assert incidents == versions == pages + 1, "the first page had two"
            seen.add(incidents)
        assert loading.is_running()
    assert len(seen) == 3, "loads committed meanwhile"


def test_the_past_is_exported_by_number_and_by_time(lake_dir: Path, out: Path) -> None:
    with connect(lake_dir) as reader:
        query = "SELECT max(snapshot_id), max(snapshot_time) FROM lake.snapshots()"
        ((number, committed_at),) = reader.sql(query).fetchall()
    with Lake.open(lake_dir) as lake:
        load(lake, incident("i3"))

    assert write(lake_dir, out / "now.csv", "incidents").rows == {"incidents": 3}
    assert write(lake_dir, out / "number.csv", "incidents", at=number).rows == {"incidents": 2}
    by_time = write(lake_dir, out / "time.csv", "incidents", at=committed_at + timedelta(microseconds=1))
    assert (by_time.rows, by_time.snapshot.number) == ({"incidents": 2}, number)


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        (999_999, r"no snapshot 999999\. Kept are some of snapshot 0 of .* to snapshot"),
        (datetime(2020, 1, 1, tzinfo=UTC), r"no snapshot of 2020-01-01T00:00:00\+00:00\. Kept are some of"),
        (datetime(2999, 1, 1, tzinfo=UTC), "still to come"),
        (datetime(2024, 1, 1), "has no time zone"),  # noqa: DTZ001 - the point
    ],
)
def test_a_moment_that_the_lake_does_not_have_is_refused(
    landed: Path, out: Path, at: datetime | int, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        write(landed, out / "a.csv", "incidents", at=at)

    assert list(out.iterdir()) == []


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_snapshot_that_expires_meanwhile_gives_no_file(
    lake_dir: Path, out: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """DuckLake may find fewer files without a word, and the export would have too few rows."""
    original = Writer.write

    def expire() -> None:
        with Lake.open(lake_dir) as lake:
            load(lake, incident("i3"))
            lake._connection.execute("CALL ducklake_expire_snapshots('lake', older_than => now())")

    def write_meanwhile(self: Writer, *arguments: Any) -> dict[str, int]:
        if when == "before it is read":
            expire()
            return original(self, *arguments)
        rows = original(self, *arguments)
        expire()
        return rows

    monkeypatch.setattr(Writer, "write", write_meanwhile)
    with pytest.raises(LakeError, match="Maintenance has let snapshot"):
        write(lake_dir, out / "a.csv", "FROM lake.incidents")

    assert list(out.iterdir()) == []


# What cannot be exported


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (("incident",), r"no table or view incident in snapshot .* Did you mean incidents\?"),
        (("zzz",), "no table or view zzz in snapshot"),
        (("",), "Nothing is named"),
        ((), "Nothing is named"),
        (("incidents", "runs"), "takes one table"),
    ],
)
def test_what_is_not_there_is_named(landed: Path, out: Path, what: Sequence[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        write(landed, out / "a.csv", *what)

    assert list(out.iterdir()) == []


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_what_names_no_file_is_refused(
    landed: Path, out: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(out)

    with pytest.raises(ConfigError, match="no name for an export"):
        write(landed, Path(path), "incidents", overwrite=True)
    with pytest.raises(ConfigError, match="is no name"):
        Item("../a", "SELECT 1")


def test_an_empty_folder_may_be_filled(landed: Path, out: Path) -> None:
    (out / "mine").mkdir()

    write(landed, out / "mine", "incidents")

    assert {path.name for path in (out / "mine").iterdir()} == {"export.json", "incidents.parquet"}


def test_two_things_of_one_name_are_refused(landed: Path, out: Path) -> None:
    for what in (("SELECT 1", "SELECT 2"), ("incidents", "Incidents=SELECT 1")):
        with pytest.raises(ConfigError, match="Two things would be called"):
            write(landed, out / "a.duckdb", *what)
    with pytest.raises(ConfigError, match="export_info is the name"):
        write(landed, out / "a.duckdb", "export_info=SELECT 1")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT incident_id::INTEGER FROM incidents", "answer.csv"),
        ("SELECT incident_id::INTEGER FROM incidents", "answer.parquet"),
        ("SELECT incident_id::INTEGER FROM incidents", "answer.duckdb"),
        ("SELECT incident_id::INTEGER FROM incidents", "answers"),
        ("FROM incident", "answer.csv"),
        ("DELETE FROM incidents", "answer.csv"),
        ("ATTACH ':memory:' AS x", "answer.csv"),
        ("SELECT 1; SELECT 2; SELEC", "answer.csv"),
    ],
)
def test_a_question_that_cannot_be_answered_leaves_no_file(
    landed: Path, out: Path, sql: str, name: str
) -> None:
    with pytest.raises(LakeError):
        write(landed, out / name, sql)

    assert list(out.iterdir()) == [], "no file, not even a part of one"


# Whole or not there, and nobody else's


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.duckdb", "folder"])
def test_an_export_is_its_owners_alone(landed: Path, out: Path, name: str) -> None:
    write(landed, out / name, "incidents")

    paths = [out / name, *(out / name).rglob("*")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()}
    assert modes == {0o600}
    if name == "folder":
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o700


def test_a_folder_that_others_made_open_is_closed_before_it_is_written_to(
    landed: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = out / ".a.csv.partial"
    partial.mkdir()
    partial.chmod(0o777)
    with whole_or_nothing(target_of(out / "a.csv")) as made:
        assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in made.parent.iterdir()} == {0o600}
        made.write_text("x")

    partial.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with pytest.raises(LakeError, match="is in the way, and no export of yours has made it"):
        write(landed, out / "a.csv", "incidents", overwrite=True)
    assert (out / "a.csv").read_text() == "x"


def test_a_link_in_the_place_of_that_folder_is_not_followed(landed: Path, out: Path) -> None:
    victim = out / "victim"
    (victim / "sub").mkdir(parents=True)
    for file in (victim / "a", victim / "sub" / "b"):
        file.write_text("x")
    (out / ".a.csv.partial").symlink_to(victim)

    with pytest.raises(LakeError, match="is in the way"):
        write(landed, out / "a.csv", "incidents")

    assert {path.name for path in victim.rglob("*")} == {"a", "sub", "b"}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.duckdb", "folder"])
def test_what_is_there_stays_unless_it_is_to_be_overwritten(landed: Path, out: Path, name: str) -> None:
    write(landed, out / name, "incidents")

    with pytest.raises(ConfigError, match=r"is there already.*--overwrite"):
        write(landed, out / name, "SELECT 1 AS x")
    write(landed, out / name, "answer=FROM incidents WHERE false", overwrite=True)

    if name == "folder":
        assert {path.name for path in (out / name).iterdir()} == {"export.json", "answer.parquet"}
    assert [path.name for path in out.iterdir()] == [name]


def test_an_export_replaces_what_was_there_only_when_it_is_whole(landed: Path, out: Path) -> None:
    target = out / "answer.csv"
    target.write_text("from yesterday")

    with pytest.raises(LakeError):
        write(landed, target, "SELECT incident_id::INTEGER FROM incidents", overwrite=True)
    assert target.read_text() == "from yesterday"

    write(landed, target, "SELECT incident_id FROM incidents ORDER BY ALL", overwrite=True)
    assert target.read_text() == "incident_id\ni1\ni2\n"


def test_a_folder_of_other_files_is_never_overwritten(landed: Path, out: Path) -> None:
    (out / "mine").mkdir()
    (out / "mine" / "thesis.txt").write_text("years of work")

    for overwrite in (True, False):
        with pytest.raises(ConfigError, match="files that no export has written"):
            write(landed, out / "mine", "incidents", overwrite=overwrite)
    assert (out / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_export_into_no_folder_or_over_a_folder_is_refused(landed: Path, out: Path) -> None:
    (out / "folder.csv").mkdir()
    one = [Item("answer", "SELECT 1")]

    for path in (out / "no" / "such" / "folder.csv", out / "folder.csv"):
        with pytest.raises(LakeError, match="could not be written"):
            export(one, Target(path, "csv", overwrite=True), source=Source(landed))

    assert [path.name for path in out.rglob("*")] == ["folder.csv"]


ENDLESS = """
import sys
from pathlib import Path
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import target_of
from dispatchlake.lake.exporting import Source, export

export([Item("answer", "SELECT * FROM range(10_000_000_000_000)")], target_of(Path(sys.argv[2])),
       source=Source(Path(sys.argv[1])))
"""


def test_a_killed_export_leaves_no_target_and_nothing_after_the_next(landed: Path, out: Path) -> None:
    target, partial = out / "a.parquet", out / ".a.parquet.partial"
    with Script(ENDLESS, landed, target) as endless:
        wait_until((partial / "a.parquet").exists, "it writes")
        with pytest.raises(LakeError, match="Another export writes to it"):
            write(landed, target, "incidents")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o700, "what is half written is nobody else's either"
        endless.kill()

    assert not target.exists()
    write(landed, target, "incidents")
    assert list(out.iterdir()) == [target]


SORTING = """
import sys
from pathlib import Path
from dispatchlake.lake import exporting
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import target_of

exporting.MEMORY_LIMIT_MB, exporting.THREADS = 128, 2
query = "SELECT hash(range) AS a, repeat('x', 100) || range AS b FROM range(2_000_000) ORDER BY a"
source = exporting.Source(Path(sys.argv[1]))
exporting.export([Item("answer", query)], target_of(Path(sys.argv[2])), source=source)
(peak,) = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]  # not ru_maxrss: ours
print(int(peak.split()[1]) // 1024)
"""


def test_more_than_fits_into_memory_is_exported(landed: Path, out: Path) -> None:
    """A quarter of a gigabyte, sorted, with 128 MB for DuckDB: the process has its libraries beside that."""
    peak_mb = int(Script(SORTING, landed, out / "large.parquet").finish())

    assert pq.ParquetFile(out / "large.parquet").metadata.num_rows == 2_000_000
    assert peak_mb < 550


def test_a_full_disk_is_told_and_leaves_nothing(landed: Path, out: Path) -> None:
    """A limit on the size of files stands for the disk."""
    limited = ENDLESS.replace(
        "import sys", "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    )
    with Script(limited, landed, out / "a.csv") as script:
        error = script.failure()

    assert "a.csv could not be written." in error
    assert list(out.iterdir()) == []
