"""Opening the lake in each way that docs/opening-the-lake.md names, while a load runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake
from dispatchlake.lake.extensions import loading_statements
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import opening_sql
from dispatchlake.settings import Settings
from tests.command_line import COMMAND, run
from tests.lake.pages import incident, load
from tests.lake.scripts import ROOT, Script

PAGE = (ROOT / "docs" / "opening-the-lake.md").read_text()

LOADING = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import incident, load

with Lake.open(Path(sys.argv[1])) as lake:
    for number in range(100_000):
        load(lake, incident(f"n{number}"))
        print(number, flush=True)
"""

COUNTS = """SELECT (SELECT count(*) FROM incidents) AS incidents,
    (SELECT count(*) FROM incident_versions) AS versions, (SELECT count(*) FROM raw_pages) AS pages"""
"""In one statement: each load brings one of each, and a reader sees all of a load or nothing."""

ASKED = 4
"""Times that each way asks, while loads commit."""

IN_PYTHON = f"""
import dispatchlake
with dispatchlake.connect(zone="restricted") as lake:
    for _ in range({ASKED}):
        print(*lake.sql('''{COUNTS}''').fetchone())
    lake.sql("INSERT INTO incidents (incident_id) VALUES ('x')")
"""

IN_DUCKDB = f"""
import sys
import duckdb
with duckdb.connect() as lake:
    lake.execute(sys.stdin.read())
    for _ in range({ASKED}):
        print(*lake.sql('''{COUNTS}''').fetchone())
    assert not [name for name in sys.modules if name.startswith("dispatchlake")]
    lake.sql("INSERT INTO incidents (incident_id) VALUES ('x')")
"""


def ask(command: list[str], lake_dir: Path, stdin: str = "") -> str:
    """Run a program that reads four times and then tries to write; return what it printed."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"DISPATCHLAKE_DATA_DIR": str(lake_dir.parent), "TZ": "Pacific/Kiritimati"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "read-only" in ended.stderr, ended.stderr
    return ended.stdout


def with_dispatchlake_sql(lake_dir: Path) -> str:
    typed = f"{COUNTS};\n" * ASKED + "INSERT INTO incidents (incident_id) VALUES ('x');\n"
    return ask([*COMMAND, "sql", "--restricted"], lake_dir, typed)


def with_one_line_of_python(lake_dir: Path) -> str:
    return ask([sys.executable, "-c", IN_PYTHON], lake_dir)


def with_plain_duckdb(lake_dir: Path) -> str:
    return ask([sys.executable, "-c", IN_DUCKDB], lake_dir, opening_sql(lake_dir))


def with_the_statements_of_the_page(lake_dir: Path) -> str:
    (block,) = re.findall(r"```sql\n(INSTALL.*?)```", PAGE, re.DOTALL)
    # What INSTALL would fetch from the network is here as files.
    installed = re.sub(r"(INSTALL|LOAD) .*?;\n", "", block)
    statements = ";\n".join(loading_statements()) + ";\n" + installed.replace("/path/to/lake", str(lake_dir))
    return ask([sys.executable, "-c", IN_DUCKDB], lake_dir, statements)


WAYS = [
    with_dispatchlake_sql,
    with_one_line_of_python,
    with_plain_duckdb,
    with_the_statements_of_the_page,
]


@pytest.fixture(scope="module")
def loading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Script]]:
    """A lake, and a process that loads into it without end."""
    lake_dir = tmp_path_factory.mktemp("opening") / "data" / "lake"
    with Script(LOADING, lake_dir) as script:
        assert script.line() == "0"
        yield lake_dir, script


@pytest.mark.parametrize("way", WAYS)
def test_it_is_read_while_a_load_runs_and_neither_waits_for_the_other(
    loading: tuple[Path, Script], way: Callable[[Path], str]
) -> None:
    lake_dir, script = loading

    output = way(lake_dir)

    seen = [tuple(map(int, row)) for row in re.findall(r"(\d+)\D+(\d+)\D+(\d+)", _rows(output))]
    assert len(seen) == ASKED, output
    assert all(incidents == versions == pages for incidents, versions, pages in seen)
    assert seen == sorted(seen), "a later answer never has less"
    assert script.is_running()
    landed = int(script.line())
    while landed < seen[-1][0]:  # what was printed long ago is read first
        landed = int(script.line())


def test_loads_go_on_while_a_reader_sits_in_a_transaction(loading: tuple[Path, Script]) -> None:
    lake_dir, script = loading
    sitting = """
import sys, duckdb
with duckdb.connect() as lake:
    lake.execute(sys.argv[1])
    lake.execute("BEGIN")
    print(*lake.sql("SELECT count(*) FROM incidents").fetchone(), flush=True)
    input()
    print(*lake.sql("SELECT count(*) FROM incidents").fetchone(), flush=True)
"""
    with Script(sitting, opening_sql(lake_dir)) as reader:
        before = int(reader.line())
        while int(script.line()) < before + 3:
            pass
        reader.go_on()
        assert int(reader.line()) == before, "a transaction sees one state"


def _rows(output: str) -> str:
    """Return the lines with numbers in them; a table is drawn round those of the command."""
    lines = (line.replace("│", " ").strip() for line in output.splitlines())
    return "\n".join(line for line in lines if re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)", line))


# The page and the commands that it names


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake_dir = tmp_path_factory.mktemp("opened") / "data" / "it's a lake"
    with Lake.open(lake_dir) as lake:
        load(lake, incident("i1"))
    return lake_dir


def test_every_option_of_the_page_is_the_one_we_open_with(landed: Path) -> None:
    (block,) = re.findall(r"```sql\n(INSTALL.*?)```", PAGE, re.DOTALL)
    theirs = {part.strip() for part in re.split(r"[(),;\n]", block.replace("/path/to/lake", "LAKE"))}

    ours = opening_sql(landed).replace(str(landed).replace("'", "''"), "LAKE")
    wanted = {part.strip() for part in re.split(r"[(),;\n]", ours.split("\n", 1)[1])}
    assert {one for one in wanted if not one.startswith(("LOAD", "ATTACH"))} <= theirs
    assert {"ATTACH 'ducklake:sqlite:LAKE/catalog.sqlite' AS lake"} <= theirs


def test_a_lake_whose_name_wants_quoting_is_opened(landed: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(opening_sql(landed))
        assert connection.sql("SELECT incident_id FROM incidents").fetchall() == [("i1",)]


def test_the_command_prints_the_statements(landed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landed.rename(landed.with_name("lake"))
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(landed.parent))
    try:
        assert run("opening-sql", "--restricted").stdout == opening_sql(landed.with_name("lake"))
    finally:
        landed.with_name("lake").rename(landed)


@pytest.fixture
def at_home(landed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person stands whose lake it is."""
    shutil.copytree(landed, tmp_path / "data" / "lake")
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    publish(Settings(data_dir=tmp_path / "data"))
    return tmp_path


def test_the_python_lines_of_the_page_run(at_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}

    exec(block, names)
    names["lake"].close()

    assert re.search(r"center-a\s+│\s+1 │", capfd.readouterr().out)


EXPORTS = [
    line
    for line in re.findall(r"^\$ dispatchlake (export .*)$", PAGE, re.MULTILINE)
    if "--at" not in line  # of a moment that this lake does not have
]


def test_the_exports_of_the_page_are_written(at_home: Path) -> None:
    assert len(EXPORTS) == 4
    for line in EXPORTS:
        words = shlex.split(line, comments=True)

        result = run(*words)

        assert result.returncode == 0, result.stderr
        assert (at_home / words[words.index("--to") + 1]).exists()


def test_where_there_is_no_lake_there_is_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake in"):
        opening_sql(tmp_path)


@pytest.mark.parametrize("line", re.findall(r"^\$ dispatchlake (.*)$", PAGE, re.MULTILINE))
def test_every_command_of_the_page_is_known(line: str) -> None:
    words = shlex.split(line, comments=True)
    result = run(words[0], "--help")

    assert result.returncode == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in result.stdout
