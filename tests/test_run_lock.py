"""Whether a run has a process: asked of the kernel, with processes that are really killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatchlake import run_lock

HOLD = """
import sys, time
from pathlib import Path
from dispatchlake.run_lock import hold
hold(Path(sys.argv[1]), "run-1", sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def holder(state_dir: Path, attempt: str = "attempt-1") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a run; killed at the end, if it is not already."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir), attempt], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def killed(state_dir: Path, attempt: str = "attempt-1") -> None:
    """Let a process hold a run and be killed."""
    with holder(state_dir, attempt) as process:
        process.kill()


def edit_note(state_dir: Path, **fields: str) -> None:
    note = state_dir / "runs" / "run-1.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | fields))


def test_a_run_that_nobody_held_is_unknown(tmp_path: Path) -> None:
    assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "unknown"


def test_a_run_is_alive_while_its_process_is_and_dead_after_a_sigkill(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "alive"
        assert run_lock.read_fate(tmp_path, "run-1") == "alive"
        process.kill()
        process.wait()
        assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "dead"


def test_the_next_attempt_is_not_dead_because_the_one_before_was(tmp_path: Path) -> None:
    """Between the server's word that a run runs and its process's, there is a moment."""
    killed(tmp_path)

    assert run_lock.read_fate(tmp_path, "run-1", "attempt-2") == "unknown"
    with holder(tmp_path, "attempt-2"):
        assert run_lock.read_fate(tmp_path, "run-1", "attempt-2") == "alive"


def test_this_process_is_alive_to_itself(tmp_path: Path) -> None:
    run_lock.hold(tmp_path, "run-2", "attempt-1")
    run_lock.hold(tmp_path, "run-2", "attempt-2")

    assert run_lock.read_fate(tmp_path, "run-2", "attempt-2") == "alive"


def test_what_another_machine_left_is_unknown(tmp_path: Path) -> None:
    """A data folder was copied, or is shared: a lock that is free here may be held there."""
    killed(tmp_path)
    edit_note(tmp_path, host="elsewhere", boot="another")

    assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "unknown"


def test_a_reboot_is_death(tmp_path: Path) -> None:
    killed(tmp_path)
    edit_note(tmp_path, boot="the one before")

    assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "dead"


def test_another_container_of_the_same_machine_is_known(tmp_path: Path) -> None:
    killed(tmp_path)
    edit_note(tmp_path, host="a container that is gone")

    assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "dead"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_note_that_was_cut_off_says_nothing(tmp_path: Path, content: str) -> None:
    killed(tmp_path)
    (tmp_path / "runs" / "run-1.json").write_text(content)

    assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "unknown"


def test_files_are_forgotten_when_a_run_is_long_over_and_not_before(tmp_path: Path) -> None:
    killed(tmp_path)
    run_lock.forget(tmp_path, lambda _: True)
    assert run_lock.known_runs(tmp_path) == ["run-1"], "it has only just ended"

    old = time.time() - run_lock.KEEP_S - 1
    os.utime(tmp_path / "runs" / "run-1.json", (old, old))
    run_lock.forget(tmp_path, lambda _: False)
    assert run_lock.known_runs(tmp_path) == ["run-1"], "it is not over"

    run_lock.forget(tmp_path, lambda _: True)
    assert not list((tmp_path / "runs").iterdir())


def test_the_files_of_a_run_that_is_alive_stay(tmp_path: Path) -> None:
    with holder(tmp_path):
        os.utime(tmp_path / "runs" / "run-1.json", (0, 0))
        run_lock.forget(tmp_path, lambda _: True)

        assert run_lock.read_fate(tmp_path, "run-1", "attempt-1") == "alive"


def test_silence_is_counted_from_when_it_was_first_noted(tmp_path: Path) -> None:
    first = run_lock.silent_since(tmp_path, "run-1", is_silent=True)

    assert first is not None
    assert run_lock.silent_since(tmp_path, "run-1", is_silent=True) == first
    assert run_lock.silent_since(tmp_path, "run-1", is_silent=False) is None
    again = run_lock.silent_since(tmp_path, "run-1", is_silent=True)
    assert again is not None
    assert again >= first
