"""Where DuckDB spills to: a folder of each process's own, there for as long as it has the lake open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from dispatchlake.lake import Lake, scratch
from dispatchlake.lake.reading import connect
from tests.lake.scripts import Script

DAY_S = 86_400.0

SPILLER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from dispatchlake.lake.scratch import scratch_dir

lake_dir, factor = Path(sys.argv[1]), int(sys.argv[2])
with Lake.open(lake_dir, memory_limit_mb=32) as lake:
    connection = lake._connection
    connection.execute("SET threads = 1")
    connection.execute(
        f"CREATE TEMP TABLE much AS SELECT range AS i, repeat(md5((i * {factor})::VARCHAR), 4) AS t "
        "FROM range(250_000)"
    )
    print(sum(file.stat().st_size for file in scratch_dir(lake_dir).rglob("duckdb_temp*")), flush=True)
    input()
    query = f"SELECT count(*) FROM much WHERE t = repeat(md5((i * {factor})::VARCHAR), 4)"
    print(connection.execute(query).fetchone()[0], flush=True)
    input()
"""


def test_processes_that_spill_at_once_do_not_meet(lake_dir: Path, lake: Lake) -> None:
    """In one folder they would write into each other's files: DuckDB names them alike everywhere."""
    with Script(SPILLER, lake_dir, 3) as one, Script(SPILLER, lake_dir, 7) as other:
        for script in (one, other):
            assert int(script.line()) > 0, "it spilled"
        for script in (one, other):
            script.go_on()
            assert script.line() == "250000"
        assert scratch.count_others(lake_dir) == 2
        for script in (one, other):
            script.go_on()
            script.finish()

    assert scratch.count_others(lake_dir) == 0
    assert [path.name for path in entries(lake_dir)] == [scratch.scratch_dir(lake_dir).name]


def test_a_reader_may_spill_and_leaves_nothing(lake: Lake, lake_dir: Path) -> None:
    with connect(lake_dir) as reader:
        row = reader.execute("SELECT current_setting('temp_directory')").fetchone()
        assert row
        folder = Path(row[0])
        reader.execute("SET memory_limit = '32MB'; SET threads = 1")
        reader.execute(
            "CREATE TEMP TABLE much AS SELECT repeat(md5(range::VARCHAR), 4) AS t FROM range(400_000)"
        )
        assert list(folder.iterdir())
        assert folder.parent.stat().st_mode & 0o777 == 0o700

    assert not folder.exists()


@pytest.mark.parametrize("who", ["a writer", "a reader"])
def test_what_is_spilled_says_nothing_of_a_record(lake: Lake, lake_dir: Path, who: str) -> None:
    """A killed process leaves it, and so would the disk that it was deleted from."""
    rows = "SELECT range AS i, 'caller ' || range || ' ' || sha256(range::VARCHAR) AS t FROM range(300_000)"
    with connect(lake_dir) as reader:
        connection = lake._connection if who == "a writer" else reader
        connection.execute("SET GLOBAL memory_limit = '24MB'; SET GLOBAL threads = 1")
        connection.execute(f"CREATE TEMP TABLE much AS {rows}")
        row = connection.execute("SELECT current_setting('temp_directory')").fetchone()
        assert row

        spilled = b"".join(file.read_bytes() for file in Path(row[0]).iterdir())

        assert len(spilled) > 1_000_000
        assert spilled.count(b"caller ") == 0
        assert connection.execute(f"SELECT count(*) FROM much JOIN ({rows}) USING (i, t)").fetchone() == (
            300_000,
        )


READER = """
import sys
from pathlib import Path
from dispatchlake.lake.reading import connect

with connect(Path(sys.argv[1])) as reader:
    reader.execute("SET memory_limit = '32MB'; SET threads = 1")
    reader.execute("CREATE TEMP TABLE much AS SELECT repeat(md5(range::VARCHAR), 4) AS t FROM range(400_000)")
    print(reader.execute("SELECT current_setting('temp_directory')").fetchone()[0], flush=True)
    input()
"""


def test_what_a_killed_reader_had_spilled_is_removed_by_the_next_one(lake: Lake, lake_dir: Path) -> None:
    with Script(READER, lake_dir) as live:
        live_dir = Path(live.line())
        with Script(READER, lake_dir) as killed:
            killed_dir = Path(killed.line())
        assert list(killed_dir.iterdir()), "it was killed with what it had spilled"

        with Script(READER, lake_dir) as following:
            following.line()
            assert not killed_dir.parent.exists()
            assert list(live_dir.iterdir())
            following.go_on()
            following.finish()
        live.go_on()
        live.finish()
    assert not live_dir.parent.exists()


def test_of_readers_folders_only_ones_own_that_nobody_holds_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("dead", "held", "not-a-reader's", "dispatchlake-of-a-person", "elsewhere")
    dead, held, unmarked, other, elsewhere = (
        tmp_path / (f"dispatchlake-reader-{name}" if number < 3 else name)
        for number, name in enumerate(names)
    )
    for folder in (dead, held, unmarked, other, elsewhere):
        folder.mkdir()
        (folder / "spilled").write_text("12345")
        if folder is not unmarked:
            (folder / "at-work.lock").touch()
    (link := tmp_path / "dispatchlake-reader-link").symlink_to(elsewhere)
    file = tmp_path / "dispatchlake-reader-file"
    file.write_text("12345")

    with FileLock(held / "at-work.lock"):
        with monkeypatch.context() as patched:
            patched.setattr(os, "getuid", lambda: -1)
            scratch.remove_dead_readers()
        assert dead.exists(), "it is somebody else's"
        scratch.remove_dead_readers()

    assert set(tmp_path.iterdir()) == {held, unmarked, other, elsewhere, link, file}
    for folder in (held, unmarked, other, elsewhere):
        assert (folder / "spilled").exists()


def test_readers_spill_apart(lake: Lake, lake_dir: Path) -> None:
    query = "SELECT current_setting('temp_directory')"
    with connect(lake_dir) as one, connect(lake_dir) as other:
        assert one.execute(query).fetchone() != other.execute(query).fetchone()


def test_a_folder_stays_until_the_last_of_its_process_has_left(empty_lake: Path, lake_dir: Path) -> None:
    folder = scratch.scratch_dir(lake_dir)
    with Lake.open(lake_dir):
        second = Lake.open(lake_dir)
        assert folder.stat().st_mode & 0o777 == 0o700
        second.close()
        second.close()
        assert folder.exists()

    assert entries(lake_dir) == []


HOLDER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from dispatchlake.lake.scratch import scratch_dir

lake_dir = Path(sys.argv[1])
with Lake.open(lake_dir):
    (scratch_dir(lake_dir) / "spilled").write_text("x" * 1000)
    print(scratch_dir(lake_dir), flush=True)
    input()
"""


def test_what_a_killed_process_left_goes_and_what_a_live_one_has_stays(lake: Lake, lake_dir: Path) -> None:
    with Script(HOLDER, lake_dir) as live:
        with Script(HOLDER, lake_dir) as killed:
            live_dir, killed_dir = Path(live.line()), Path(killed.line())
            assert scratch.count_others(lake_dir) == 2
            assert scratch.remove_dead(lake_dir, older_than_s=DAY_S) == 0
        assert scratch.count_others(lake_dir) == 1

        assert scratch.remove_dead(lake_dir, older_than_s=DAY_S) == 1000

        assert not killed_dir.exists()
        assert not killed_dir.with_suffix(".lock").exists()
        assert (live_dir / "spilled").exists()
        assert scratch.scratch_dir(lake_dir).exists()


def test_what_no_lock_belongs_to_goes_when_it_is_old(lake: Lake, lake_dir: Path) -> None:
    old, young, folder = (lake_dir / "tmp" / name for name in ("duckdb_temp_1.tmp", "duckdb_temp_2.tmp", "f"))
    folder.mkdir()
    for path in (old, young, folder / "inside"):
        path.write_text("12345")
    for path in (old, folder, folder / "inside"):
        then = path.stat().st_mtime - 2 * DAY_S
        os.utime(path, (then, then))

    assert scratch.remove_dead(lake_dir, older_than_s=DAY_S) == 10

    assert young.exists()
    assert not old.exists()
    assert not folder.exists()


def entries(lake_dir: Path) -> list[Path]:
    return [path for path in (lake_dir / "tmp").iterdir() if path.suffix != ".lock"]
