"""Landings in `runs`, and the view `webhook_status`: what was delivered, by center and kind of webhook."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake import Lake, landed_runs, migrations
from dispatchlake.lake.standing import WebhookStatus, read_figures
from dispatchlake.lake.webhook_view import SHOWN_DAYS
from tests.lake.deliveries import (
    CAD,
    INCIDENT_EVENTS,
    caller_location,
    delivery,
    incident_metadata,
    note_created,
)
from tests.lake.pages import END


@pytest.fixture(scope="module")
def webhook_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Path]]:
    lake_dir = tmp_path_factory.mktemp("webhooks") / "lake"
    with Lake.open(lake_dir) as lake:
        yield lake, lake_dir


class Center:
    """One dispatch center that delivers, or has delivered as may be written down."""

    def __init__(self, lake: Lake, lake_dir: Path) -> None:
        self.center_id = f"center-{secrets.token_hex(4)}"
        self.lake, self._lake_dir = lake, lake_dir
        self.landings: list[dict[str, Any]] = []

    def landed(self, hours_ago: float, count: int = 1, **fields: Any) -> None:
        """Write down that so many deliveries landed so long ago."""
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        self.landings.append(
            {
                "run_id": "landing", "center_id": self.center_id, "resource": CAD, "state": "landed",
                "kind": "landing", "records": count, "quarantined": 0, "started_at": at, "seconds": 0.0,
                "last_received_at": at, **fields,
            }
        )  # fmt: skip

    def land(self, *contents: Any, run_id: str = "landing") -> None:
        deliveries = [
            delivery(one, center_id=self.center_id, received_at=END + timedelta(seconds=number))
            for number, one in enumerate(contents)
        ]
        self.lake.land(deliveries, run_id=run_id)

    def runs(self) -> list[dict[str, Any]]:
        with self.lake.held() as connection:
            rows = connection.execute(
                "SELECT * FROM runs WHERE center_id = ? ORDER BY resource, run_id", [self.center_id]
            )
            found: list[dict[str, Any]] = rows.to_arrow_table().to_pylist()
            return found

    def status(self, resource: str = CAD) -> WebhookStatus:
        """Return how a webhook of it stands."""
        if self.landings:
            with self.lake.held() as connection:
                for run in self.landings:
                    named = ", ".join(f"${name} AS {name}" for name in run)
                    connection.execute(f"INSERT INTO runs BY NAME SELECT {named}", run)
            self.landings.clear()
        (one,) = [
            row
            for row in read_figures(self._lake_dir).webhooks
            if (row.center_id, row.resource) == (self.center_id, resource)
        ]
        return one


@pytest.fixture
def center(webhook_lake: tuple[Lake, Path]) -> Center:
    return Center(*webhook_lake)


def test_a_landing_is_a_row_for_each_kind_with_what_it_brought(center: Center) -> None:
    center.land(incident_metadata("i1"))
    center.land(
        incident_metadata("i1"),  # known
        incident_metadata("i1", updated=5),
        incident_metadata("i2"),
        incident_metadata("i2", updated=5),
        caller_location("l1"),
        b"no JSON",
        note_created("n1"),
        run_id="another",
    )

    rows = {(row["run_id"], row["resource"]): row for row in center.runs()}

    assert set(rows) == {("landing", INCIDENT_EVENTS), ("another", INCIDENT_EVENTS), ("another", CAD)}
    counted = ("state", "kind", "pages", "records", "new", "changed", "unchanged", "quarantined", "logins")
    assert [rows["another", INCIDENT_EVENTS][name] for name in counted] == [
        "landed", "landing", 6, 6, 2, 2, 1, 1, 0,
    ]  # fmt: skip
    assert [rows["another", CAD][name] for name in counted] == ["landed", "landing", 1, 1, 1, 0, 0, 0, 0]
    assert rows["another", CAD]["last_received_at"] == END + timedelta(seconds=6)
    assert rows["another", CAD]["error"] is None


def test_landings_of_one_id_are_one_row_and_count_nothing_twice(center: Center) -> None:
    center.land(note_created("n1"), b"no JSON")
    (first,) = [row for row in center.runs() if row["resource"] == CAD]
    again = delivery(note_created("n3"), center_id=center.center_id, received_at=END)
    for _ in range(2):  # as after a kill between the lake's commit and the spool's
        center.lake.land([again], run_id="landing")
    center.land(note_created("n1"), note_created("n2"))

    cad, incidents = center.runs()

    assert (cad["records"], cad["new"], cad["unchanged"], cad["quarantined"]) == (4, 3, 1, 0)
    assert (incidents["records"], incidents["quarantined"]) == (1, 1)
    assert cad["started_at"] == first["started_at"]
    assert cad["seconds"] > first["seconds"]
    assert cad["last_received_at"] == END + timedelta(seconds=1)


def test_a_landing_that_cannot_be_noted_has_not_landed(
    center: Center, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(landed_runs, "note", fail)
        with pytest.raises(ZeroDivisionError):
            center.land(note_created("n1"))

    assert center.runs() == []
    with center.lake.held() as connection:
        found = connection.execute("FROM cad_notes WHERE center_id = ?", [center.center_id]).fetchall()
    assert found == []


def test_what_was_delivered_and_set_aside_is_counted_by_its_kind(center: Center) -> None:
    center.land(note_created("n1"), b"no JSON", incident_metadata("i1"), {"type": "unknown_event"})

    cad, incidents = center.status(CAD), center.status(INCIDENT_EVENTS)

    assert (cad.deliveries_last_hour, cad.quarantined, cad.quarantined_last_hour, cad.last_reason) == (
        1, 0, 0, None,
    )  # fmt: skip
    assert (incidents.deliveries_last_hour, incidents.quarantined, incidents.quarantined_last_hour) == (
        3, 2, 2,
    )  # fmt: skip
    assert incidents.last_reason is not None
    assert "does not know" in incidents.last_reason
    assert incidents.last_received_at == END + timedelta(seconds=3)
    assert incidents.last_landed_at is not None
    assert incidents.last_landed_at > incidents.last_received_at


def test_an_hour_is_compared_with_the_same_hour_of_earlier_days_also_of_none(center: Center) -> None:
    for day in range(1, 6):
        center.landed(24 * day + 0.5, count=10 * day)
    assert center.status().usual_deliveries_per_hour == 30

    for day in range(6, 12):  # on the days between, that hour brought nothing
        center.landed(24 * day + 5.5)
    assert center.status().usual_deliveries_per_hour == 0


def test_silence_is_told_by_the_days_before_it(center: Center) -> None:
    for hour in range(6, 24 * 21):
        if hour % 24 not in (7, 8):
            center.landed(hour + 0.5, count=4)

    status = center.status()

    assert status.hours_without_deliveries == 6
    assert status.usual_deliveries_meanwhile == 24
    assert (status.days_compared, status.days_without_deliveries) == (20, 0)
    assert status.deliveries_last_hour == 0


def test_a_long_silence_is_still_compared_with_what_was_before_it(center: Center) -> None:
    for day in range(40, 60):
        center.landed(24 * day, count=50)

    status = center.status()

    assert status.hours_without_deliveries in (24 * 40, 24 * 40 - 1)
    assert status.usual_deliveries_meanwhile == 50
    assert status.days_compared >= 18


def test_the_days_before_the_first_delivery_are_none_without_deliveries(center: Center) -> None:
    center.landed(30)
    center.landed(3)

    status = center.status()

    assert (status.days_compared, status.days_without_deliveries) == (1, 1)


def test_who_delivered_nothing_for_a_quarter_of_a_year_is_forgotten(center: Center) -> None:
    center.landed(24 * SHOWN_DAYS + 1)
    with pytest.raises(ValueError, match="not enough values"):
        center.status()


def test_landings_are_no_listings(center: Center, webhook_lake: tuple[Lake, Path]) -> None:
    center.land(note_created("n1"))

    listings = read_figures(webhook_lake[1]).listings

    assert center.center_id not in {one.center_id for one in listings}


def test_a_lake_of_before_gets_the_view_and_keeps_its_runs(lake: Lake, lake_dir: Path) -> None:
    lake.land([delivery(note_created())], run_id="landing")
    connection = lake._connection
    connection.execute("DROP VIEW webhook_status")
    for table, column in (
        ("runs", "last_received_at"),
        ("media_files", "asked_at"),
        ("media_files", "answer"),
    ):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("DELETE FROM migrations WHERE name = '0011 webhook status'")
    lake.close()
    with pytest.raises(LakeError, match="no status yet"):
        read_figures(lake_dir)

    with Lake.open(lake_dir):
        pass

    (one,) = read_figures(lake_dir).webhooks
    assert (one.resource, one.deliveries_last_hour, one.last_received_at) == (CAD, 1, None)
    assert "0011 webhook status" in migrations.MIGRATIONS
