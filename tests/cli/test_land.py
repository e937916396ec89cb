"""`dispatchlake land`: what waits lands, once or all the time, and ends when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dispatchlake.settings import Settings
from dispatchlake.spool import Spool, is_anything_waiting
from tests.cli.up_process import wait_until
from tests.command_line import COMMAND, run
from tests.lake.deliveries import incident_metadata
from tests.test_landing import ask, delivery, keep


def test_what_waits_is_landed_and_told_in_numbers(settings: Settings) -> None:
    keep(settings, delivery(incident_metadata(caller_phone_number="+13035550142")), delivery(b"?"))

    first, second = run("land"), run("land")

    assert first.returncode == second.returncode == 0
    assert first.stdout.startswith("2 deliveries landed in ")
    assert "5550142" not in first.stdout + first.stderr
    assert second.stdout == "No delivery waits.\n"


@pytest.mark.parametrize(
    ("every", "said"),
    [
        ("0.5", "Every 0.5 s is too often."),
        ("-1", "Every -1 s is too often."),
        ("nan", "Every nan s is no pause between two looks."),
        ("inf", "Every inf s is no pause between two looks."),
    ],
)
def test_a_pause_that_is_none_is_refused_with_a_sentence(settings: Settings, every: str, said: str) -> None:
    outcome = run("land", f"--every={every}")

    assert outcome.returncode == 1
    assert f"{said} Give 1 to 86400." in outcome.stderr


def test_a_damaged_spool_is_one_sentence(settings: Settings) -> None:
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / "spool.sqlite").write_bytes(b"no database" * 100)

    outcome = run("land")

    assert outcome.returncode == 1
    assert "spool" in outcome.stderr
    assert "Traceback" not in outcome.stderr


LOOK = """
import sys
from dispatchlake.cli.land import land
land()
print(sorted({"duckdb", "pyarrow", "dispatchlake.lake"} & sys.modules.keys()))
"""


def test_where_nothing_waits_the_lakes_packages_are_not_loaded(settings: Settings) -> None:
    """A process that only looks is then a third as large, and one runs wherever `up` does."""
    Spool.open(settings.spool_dir).close()

    looked = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)

    assert looked.stdout == "No delivery waits.\n[]\n"


def test_it_lands_what_comes_until_it_is_told_to_end(settings: Settings) -> None:
    process = subprocess.Popen(
        [*COMMAND, "land", "--every", "1"], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        for number in range(2):
            keep(settings, delivery(incident_metadata(f"i{number}")))
            wait_until(lambda: not is_anything_waiting(settings.spool_dir), "it has landed")
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0
    assert told.count("1 deliveries landed") == 2
    assert ask(settings, "SELECT count(*) FROM incidents") == [(2,)]
