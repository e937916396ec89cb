"""The catalog's log stays while somebody writes, and the process that holds it ends with them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dispatchlake.lake import Lake, log_holder
from dispatchlake.lake.connection import catalog_path
from tests.waiting import wait_until


def holders(catalog: Path) -> list[int]:
    """Return the processes that hold a catalog's log."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile
                continue
            if b"hold" in command and str(catalog).encode() in command:
                found.append(int(entry.name))
    return found


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.path.realpath(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def is_held(catalog: Path) -> bool:
    return any(has_open(pid, Path(f"{catalog}-wal")) for pid in holders(catalog))


def test_the_log_outlives_a_transaction_and_not_the_lake(tmp_path: Path) -> None:
    catalog, log = catalog_path(tmp_path), Path(f"{catalog_path(tmp_path)}-wal")
    with Lake.open(tmp_path) as lake:
        wait_until(lambda: is_held(catalog))
        inode = log.stat().st_ino
        for _ in range(3):
            lake.watermark("houston-tx", "cad_incidents")
        assert log.stat().st_ino == inode
    assert not holders(catalog)
    assert not log.exists()


def test_all_who_write_in_one_process_share_one_holder(tmp_path: Path) -> None:
    with Lake.open(tmp_path), Lake.open(tmp_path):
        wait_until(lambda: len(holders(catalog_path(tmp_path))) == 1)
        with Lake.open(tmp_path):
            pass
        assert len(holders(catalog_path(tmp_path))) == 1
    assert not holders(catalog_path(tmp_path))


def test_letting_go_twice_is_letting_go_once(tmp_path: Path) -> None:
    with Lake.open(tmp_path):
        let_go = log_holder.hold(catalog_path(tmp_path))
        let_go()
        let_go()
        wait_until(lambda: len(holders(catalog_path(tmp_path))) == 1)


def test_the_holder_ends_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dispatchlake.lake import Lake\n"
        "lake = Lake.open(Path(sys.argv[1])); print('open', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            wait_until(lambda: is_held(catalog_path(tmp_path)))
        finally:
            process.send_signal(signal.SIGKILL)
    wait_until(lambda: not holders(catalog_path(tmp_path)))


def test_a_log_that_cannot_be_held_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = tmp_path / "catalog.sqlite"
    damaged.write_bytes(b"no database" * 1000)

    with caplog.at_level(logging.WARNING):
        log_holder.hold(damaged)()

    assert "not a database" in caplog.text
    assert "was not held" in caplog.text
