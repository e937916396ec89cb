"""What is a question is answered; what is none is refused before it has done anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake import Lake
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import target_of
from dispatchlake.lake.exporting import Source, export
from dispatchlake.lake.reading import Session, query_arrow, reading_session
from tests.lake.pages import incident, incidents, load

PHONE = "+13035550140"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake, in which a file waits for its removal, and a secret beside it."""
    home = tmp_path_factory.mktemp("questions")
    with Lake.open(home / "lake") as lake:
        load(lake, *incidents(150))
        load(lake, *(incident(f"i{number}", updated=10**6, created=number * 3600) for number in range(150)))
        load(lake, incident("i1", updated=10**7, caller_phone_number=PHONE))
        connection = lake._connection
        connection.execute("CALL ducklake_rewrite_data_files('lake', 'incidents', delete_threshold => 0)")
        connection.execute("CALL ducklake_expire_snapshots('lake', older_than => now())").fetchall()
    (home / "token-key").write_text("the key")
    return home


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    with reading_session(home / "lake") as session:
        yield session


def files(folder: Path) -> set[Path]:
    """Return the files there, but for SQLite's log and ours of who has read."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path for path in found if path.parent.name != "access" and "catalog.sqlite-" not in path.name}


@pytest.mark.parametrize(
    "question",
    [
        "SELECT 1",
        "-- first\nSELECT 1 -- last",
        "SELECT 1;",
        "FROM incidents",
        "TABLE incidents",
        "(SELECT 1)",
        "VALUES (1)",
        "WITH a AS (SELECT 1) FROM a",
        "SHOW TABLES",
        "DESCRIBE incidents",
        "DESCRIBE SELECT 1",
        "SUMMARIZE incidents",
        "PIVOT incidents ON is_audio_live USING count(*) GROUP BY center_id",
        "WITH p AS (PIVOT incidents ON is_audio_live USING count(*)) FROM p",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b INTO NAME n VALUE v",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE FROM incidents",
        "EXPLAIN (FORMAT json) SELECT 1",
        "PRAGMA table_info('incidents')",
        "PRAGMA database_size",
        "SELECT 'é' AS checkpoint, 'checkpoint()' AS query",
        "FROM lake.snapshots()",
        "FROM ducklake_table_info('lake')",
        "SELECT * FROM incidents AT (VERSION => (SELECT max(snapshot_id) FROM lake.snapshots())) LIMIT 0",
    ],
)
def test_a_question_is_answered(home: Path, session: Session, question: str) -> None:
    if "AT (" in question:
        (newest,) = (
            session.connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchone() or ()
        )
        question = f"SELECT * FROM incidents AT (VERSION => {newest})"

    assert session.ask(question).columns


NONE = [
    "",
    "-- nothing",
    ";;",
    "COPY (FROM incidents) TO '{home}/written.csv'",
    "COPY (PIVOT incidents ON is_audio_live USING count(*)) TO '{home}/written.csv'",
    "EXPLAIN ANALYZE COPY (FROM incidents) TO '{home}/written.csv'",
    "EXPLAIN (ANALYZE) COPY (FROM incidents) TO '{home}/written.csv'",
    "/* c */ EXPLAIN -- c\n ANALYZE COPY incidents TO '{home}/written.csv'",
    "EXPORT DATABASE '{home}/written'",
    "ATTACH '{home}/written.duckdb' AS other",
    "ATTACH '{home}/lake/catalog.sqlite' AS other (TYPE sqlite)",
    "CREATE TEMP TABLE mine AS FROM incidents",
    "CREATE TEMP TABLE mine AS (PIVOT incidents ON is_audio_live USING count(*))",
    "CREATE TEMP TABLE mine AS (PIVOT incidents ON is_audio_live USING count(*)); SELECT 1",
    "CREATE TEMPORARY SECRET s (TYPE http)",
    "CREATE TEMP MACRO f() AS TABLE FROM checkpoint()",
    "INSTALL '{home}/written'",
    "LOAD '{home}/written'",
    "SET profiling_output = '{home}/written'",
    "PRAGMA enable_profiling",
    "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "SELECT * FROM system.main.\"Ducklake_Cleanup_Old_Files\" /* c */ ('lake', cleanup_all => true)",
    "FROM query('FROM ducklake_cleanup_old_files(''lake'', cleanup_all => true)')",
    "FROM force_checkpoint()",
    "FROM lake.set_option('parquet_compression', 'snappy')",
    "FROM enable_logging('QueryLog', storage = 'file', storage_path = '{home}/written')",
    "FROM sqlite_scan('{home}/lake/catalog.sqlite', 'ducklake_snapshot')",
    "FROM sqlite_attach('{home}/lake/catalog.sqlite')",
    "DELETE FROM incidents",
    "WITH a AS (SELECT 1) INSERT INTO incidents (incident_id) FROM a",
    "BEGIN; SELECT 1",
    "SELECT 1; COPY (FROM incidents) TO '{home}/written.csv'; SELECT 2",
]


@pytest.mark.parametrize("statement", NONE)
def test_what_is_no_question_is_refused_and_nothing_is_run(
    home: Path, session: Session, capfd: pytest.CaptureFixture[str], statement: str
) -> None:
    """It was run, and told afterwards to have no answer: a COPY had written callers' rows for all to read."""
    before = files(home)
    told: Callable[[str], object]
    for told in (session.ask, lambda sql: session.show(sql, max_rows=9, max_width=80)):
        with pytest.raises(LakeError, match="The query has no answer, and nothing was run"):
            told(statement.format(home=home))

    assert files(home) == before
    assert capfd.readouterr().out == ""
    assert session.ask("FROM duckdb_databases() WHERE database_name = 'other'").fetchall() == []


@pytest.mark.parametrize("name", ["answer.csv", "answer.parquet", "answer.duckdb"])
def test_an_export_asks_questions_only(home: Path, tmp_path: Path, name: str) -> None:
    before = files(home)

    for query in ("COPY (FROM incidents) TO '{home}/written.csv'", "FROM read_text('{home}/token-key')"):
        with pytest.raises(LakeError):
            export(
                [Item("answer", query.format(home=home))],
                target_of(tmp_path / name),
                source=Source(home / "lake"),
            )

    assert files(home) == before
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "question",
    [
        "FROM read_text('{home}/token-key')",
        "FROM read_blob('{home}/*')",
        "FROM read_text('{home}/lake/data/../../token-key')",
        "FROM glob('{home}/*')",
        "FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd.csv'",
        "FROM read_text('https://example.com')",
        "SELECT * FROM incidents, read_text('{home}/token-key')",
    ],
)
def test_a_question_reads_no_file_but_the_lakes(home: Path, session: Session, question: str) -> None:
    with pytest.raises(duckdb.PermissionException):
        session.ask(question.format(home=home)).fetchall()

    assert session.ask("SELECT count(*) FROM incidents").fetchall() == [(150,)]


def test_a_question_sees_no_variable_of_ours(session: Session) -> None:
    with pytest.raises(duckdb.CatalogException, match="statements does not exist"):
        session.ask("FROM statements")


def test_several_questions_are_each_shown(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    session.show(
        "SELECT 11 AS a; PIVOT incidents ON is_audio_live USING count(*); SELECT 22 AS b;",
        max_rows=9,
        max_width=80,
    )

    shown = capfd.readouterr().out
    assert [part in shown for part in ("11", "150", "22")] == [True] * 3


def test_where_one_answer_is_wanted_several_questions_are_refused(home: Path) -> None:
    with pytest.raises(LakeError, match="these are several: nothing was run"):
        query_arrow("SELECT 1; SELECT 2", lake_dir=home / "lake")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT max(caller_phone_number)::DATE FROM incidents", "Conversion error: it is about a value"),
        (
            "SELECT caller_phone_number::DATE FROM incidents",
            "a value of the column caller_phone_number, which",
        ),
        ("SELECT (caller_phone_number || '!')::INT FROM incidents", "LINE 1: SELECT CAST("),
        ("SELECT strptime(caller_phone_number, '%Y') FROM incidents", "Invalid Input error"),
        ("SELECT json_extract(caller_phone_number || '!', '$.x') FROM incidents", "which is not shown"),
        ("SELECT regexp_matches('a', '(' || caller_phone_number) FROM incidents", "which is not shown"),
        (
            "SELECT if(caller_phone_number IS NULL, '', error(caller_phone_number)) FROM incidents",
            "is not shown",
        ),
        ("SELECT caller_phone_number::BIGINT * 1_000_000_000 FROM incidents", "Out Of Range error"),
    ],
)
def test_an_error_about_a_row_is_told_by_its_kind_and_place_and_never_by_its_value(
    home: Path, query: str, said: str
) -> None:
    with pytest.raises(LakeError) as caught:
        query_arrow(f"{query} WHERE incident_id = 'i1'", lake_dir=home / "lake")

    assert said in str(caught.value)
    assert PHONE.strip("+") not in str(caught.value)
    assert caught.value.__suppress_context__, "nor by a traceback"


def test_what_our_own_macro_refuses_is_told_in_its_words(home: Path) -> None:
    with pytest.raises(LakeError, match="The listing cad_incidents of center a-tx has not been read whole"):
        query_arrow(
            "SELECT require_complete('a-tx', 'cad_incidents', TIMESTAMPTZ '2024-03-01 00:00:00 UTC')",
            lake_dir=home / "lake",
        )
