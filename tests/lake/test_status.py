"""The view `status`: how each listing stands, from coverage, runs and quarantine alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake import Failure, Lake
from dispatchlake.lake.reading import connect
from dispatchlake.lake.standing import Figures, ListingStatus, read_figures
from dispatchlake.lake.status_view import HISTORY_DAYS
from tests.lake.pages import cell, incident, load, page

RESOURCE = "incident_events"


@pytest.fixture(scope="module")
def status_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Path]]:
    lake_dir = tmp_path_factory.mktemp("status") / "lake"
    with Lake.open(lake_dir) as lake:
        yield lake, lake_dir


class Center:
    """One dispatch center whose runs are written down as they might have been."""

    def __init__(self, lake: Lake, lake_dir: Path) -> None:
        self.center_id = f"center-{secrets.token_hex(4)}"
        self.lake, self._lake_dir = lake, lake_dir
        self.runs: list[dict[str, Any]] = []

    def ran(self, hours_ago: float, *, rows: int = 0, **fields: Any) -> None:
        """Write down a run that ended so long ago."""
        self.runs.append(
            {
                "run_id": "run", "center_id": self.center_id, "resource": RESOURCE, "state": "landed",
                "new": rows, "changed": 0, "started_at": datetime.now(UTC) - timedelta(hours=hours_ago),
                "seconds": 0.0, "kind": "ingest", "logins": 0, **fields,
            }
        )  # fmt: skip

    def covered(self, seconds_ago: float = 0) -> None:
        """Land nothing, in a window that ended so long ago."""
        end = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        self.lake.load([], cell=cell(self.center_id, RESOURCE, end=end), run_id="run")

    def status(self) -> ListingStatus:
        """Return how its listing stands."""
        if self.runs:
            with self.lake.held() as connection:
                for run in self.runs:
                    named = ", ".join(f"${name} AS {name}" for name in run)
                    connection.execute(f"INSERT INTO runs BY NAME SELECT {named}", run)
            self.runs.clear()
        (one,) = [row for row in read_figures(self._lake_dir).listings if row.center_id == self.center_id]
        return one


@pytest.fixture
def center(status_lake: tuple[Lake, Path]) -> Center:
    return Center(*status_lake)


def test_a_listing_is_complete_through_the_end_of_its_last_window(center: Center) -> None:
    center.covered(seconds_ago=300)

    status = center.status()

    assert status.lag_s == pytest.approx(300, abs=60)
    assert status.complete_through is not None
    assert status.last_success_at is not None
    assert status.last_success_at > status.complete_through
    assert (status.failures_in_a_row, status.last_error) == (0, None)


def test_failures_are_counted_until_one_success_and_the_last_is_remembered(center: Center) -> None:
    for number in (1, 2):
        center.lake.record_failure(
            cell(center.center_id),
            Failure(f"It was down, {number}.", "CenterUnavailable", logins=3),
            run_id="run",
            started_at=datetime.now(UTC),
        )
    failing = center.status()
    center.covered()
    recovered = center.status()

    assert (failing.failures_in_a_row, failing.last_error) == (2, "It was down, 2.")
    assert failing.last_error_class == "CenterUnavailable"
    assert failing.last_failure_at is not None
    assert failing.complete_through is None
    assert failing.lag_s is None
    assert failing.logins_last_hour == 6
    assert (recovered.failures_in_a_row, recovered.last_error) == (0, "It was down, 2.")
    assert recovered.last_failure_at == failing.last_failure_at


def test_a_failure_of_long_ago_is_still_told_while_it_lasts(center: Center) -> None:
    center.lake.record_failure(
        cell(center.center_id), Failure("It was down."), run_id="run", started_at=datetime.now(UTC)
    )
    with center.lake.held() as connection:
        connection.execute(
            "UPDATE runs SET started_at = started_at - INTERVAL 90 DAY WHERE center_id = ?",
            [center.center_id],
        )

    status = center.status()

    assert (status.failures_in_a_row, status.last_error) == (1, "It was down.")


def test_an_hour_is_compared_with_the_same_hour_of_earlier_days(center: Center) -> None:
    center.covered()
    center.ran(0.2, rows=3)
    center.ran(0.6, rows=4)
    center.ran(1.5, rows=100)  # an hour earlier
    for days, rows in ((1, 10), (2, 20), (3, 90)):
        center.ran(24 * days + 0.5, rows=rows)
        center.ran(24 * days + 1.5, rows=1000)

    status = center.status()

    assert status.rows_last_hour == 7
    assert status.usual_rows_per_hour == 20
    assert status.hours_without_rows == 0


def test_two_days_are_not_enough_to_call_something_usual(center: Center) -> None:
    center.covered()
    center.ran(24.5, rows=10)
    center.ran(48.5, rows=10)

    assert center.status().usual_rows_per_hour is None


def test_a_day_on_which_nothing_was_read_is_not_a_day_without_rows(center: Center) -> None:
    center.covered()
    for days in (1, 3, 5):
        center.ran(24 * days + 0.5, rows=30)

    assert center.status().usual_rows_per_hour == 30


def test_a_backfill_brings_no_rows_to_an_hour_but_its_logins_count(center: Center) -> None:
    center.covered()
    center.ran(0.1, rows=50_000, kind="backfill", logins=1)
    center.ran(0.1, state="failed", error="No such day.", kind="backfill", logins=2)

    status = center.status()

    assert (status.rows_last_hour, status.logins_last_hour, status.last_error) == (0, 3, None)


def test_silence_is_compared_with_the_same_hours_of_days_before_it_began(center: Center) -> None:
    center.covered()
    quiet_h = 30
    for hour in range(quiet_h, 24 * 10):
        center.ran(hour + 0.5, rows=2)
    for hour in range(quiet_h):
        center.ran(hour + 0.5)

    status = center.status()

    assert status.hours_without_rows == quiet_h
    assert status.days_compared == 8, "the days before it: neither today nor yesterday"
    assert status.days_without_rows == 0
    assert status.usual_rows_meanwhile == 48, "of a whole day; longer silences are not compared"


def test_a_quiet_night_is_compared_with_other_nights(center: Center) -> None:
    center.covered()
    for day in range(1, 10):
        for hour in range(24):
            center.ran(24 * day + hour + 0.5, rows=0 if hour < 3 else 5)
    for hour in range(3):
        center.ran(hour + 0.5)
    center.ran(3.5, rows=5)

    status = center.status()

    assert (status.hours_without_rows, status.days_compared, status.days_without_rows) == (3, 9, 9)


def test_what_lies_in_quarantine_is_counted_and_what_came_in_the_last_hour(center: Center) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    for received_at, records in ((long_ago, ["a", "b"]), (datetime.now(UTC), ["b", "c"])):
        pages = [page(*records, center_id=center.center_id, received_at=received_at)]
        center.lake.load(pages, cell=cell(center.center_id), run_id="run")

    status = center.status()

    assert (status.quarantined, status.quarantined_last_hour) == (3, 1)


def test_rows_written_before_there_was_a_kind_count_as_live(center: Center) -> None:
    center.covered()
    center.ran(0.5, rows=5, kind=None, logins=None)

    status = center.status()

    assert (status.rows_last_hour, status.logins_last_hour) == (5, 0)


def test_what_is_older_than_the_history_is_not_looked_at(center: Center) -> None:
    center.covered()
    for days in (HISTORY_DAYS + 1, HISTORY_DAYS + 2, HISTORY_DAYS + 3):
        center.ran(24 * days + 0.5, rows=10)

    assert center.status().usual_rows_per_hour is None


def test_without_a_lake_there_is_no_status(lake_dir: Path) -> None:
    assert read_figures(lake_dir) == Figures()


def test_an_older_lake_gets_the_columns_the_view_and_the_table(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident())
    with lake.held() as connection:
        connection.execute("DROP VIEW status")
        connection.execute("DROP TABLE alerts")
        for name in ("kind", "error_class", "logins"):
            connection.execute(f"ALTER TABLE runs DROP COLUMN {name}")
        connection.execute("DELETE FROM migrations WHERE name = '0006 status'")
    lake.close()
    with pytest.raises(LakeError, match="The next ingest run brings it up to date"):
        read_figures(lake_dir)

    with Lake.open(lake_dir) as opened:
        load(opened, incident(updated=1))

    (status,) = read_figures(lake_dir).listings
    assert status.rows_last_hour == 2, "one of before, one of now"
    with connect(lake_dir) as connection:
        assert connection.sql("SELECT kind, logins FROM runs ORDER BY started_at").fetchall() == [
            (None, None),
            ("ingest", 0),
        ]
        assert connection.sql("FROM alerts").fetchall() == []
