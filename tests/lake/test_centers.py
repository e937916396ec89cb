"""What the lake knows of centers: written when it changes, and only then."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatchlake.lake import CenterFacts, Lake
from tests.lake.conftest import Ask

HOUSTON = CenterFacts("houston-tx", "Houston", "America/Chicago")
DENVER = CenterFacts("denver-co", "Denver", "America/Denver")


def known(ask: Ask) -> list[tuple[object, ...]]:
    return ask("SELECT center_id, name, time_zone FROM centers ORDER BY ALL")


def snapshots(ask: Ask) -> list[tuple[object, ...]]:
    return ask("SELECT max(snapshot_id) FROM lake.snapshots()")


def forget(lake: Lake) -> None:
    """Let this process ask the lake again, as another would."""
    lake._opened.centers.clear()


def test_centers_are_written_once(lake: Lake, ask: Ask) -> None:
    lake.remember_centers([HOUSTON, DENVER])
    before = snapshots(ask)

    lake.remember_centers([HOUSTON])
    forget(lake)
    lake.remember_centers([DENVER, HOUSTON])

    assert known(ask) == [
        ("denver-co", "Denver", "America/Denver"),
        ("houston-tx", "Houston", "America/Chicago"),
    ]
    assert snapshots(ask) == before


def test_what_changed_takes_the_place_of_what_was_said(lake: Lake, ask: Ask) -> None:
    lake.remember_centers([HOUSTON, DENVER])
    moved = CenterFacts("denver-co", "Denver North", "America/Phoenix")

    lake.remember_centers([HOUSTON, moved])
    lake.remember_centers([DENVER])
    lake.remember_centers([moved])

    assert known(ask) == [
        ("denver-co", "Denver North", "America/Phoenix"),
        ("houston-tx", "Houston", "America/Chicago"),
    ]


def test_a_time_zone_that_sql_does_not_know_counts_as_utc_and_the_log_says_so(
    lake: Lake, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    odd = CenterFacts("odd", "Odd", "Mars/Olympus")
    with caplog.at_level(logging.WARNING):
        lake.remember_centers([odd])
    before = snapshots(ask)
    forget(lake)
    lake.remember_centers([odd])

    assert known(ask) == [("odd", "Odd", "UTC")]
    assert "odd" in caplog.text
    assert snapshots(ask) == before


def test_what_is_said_of_no_center_is_nothing(lake: Lake, ask: Ask) -> None:
    lake.remember_centers([])

    assert known(ask) == []


def test_threads_that_say_the_same_at_once_write_one_row(lake: Lake, lake_dir: Path, ask: Ask) -> None:
    def remember(number: int) -> None:
        with Lake.open(lake_dir, lock_wait_s=30) as own:
            for _ in range(3):
                own.remember_centers([HOUSTON, CenterFacts(f"center-{number}", "One", "UTC")])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(remember, range(4)))

    assert [row[0] for row in known(ask)] == [*(f"center-{number}" for number in range(4)), "houston-tx"]
