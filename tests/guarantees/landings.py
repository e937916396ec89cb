"""Deliveries of two centers that wait, what a victim does with them, and what the lake holds afterwards."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from dispatchlake import landing
from dispatchlake.lake import open_lake
from dispatchlake.lake.custody import verify
from dispatchlake.lake.reading import connect
from dispatchlake.spool import Delivery, Spool
from tests.guarantees.content import Content
from tests.guarantees.victims import Point, at
from tests.guarantees.work import settings_of, watched
from tests.lake.deliveries import caller_location, incident_metadata, location_updated, media, note_created
from tests.lake.pages import cell, incident, page, stamp
from tests.test_landing import delivery

CENTERS = ("center-a", "center-b")

IN_BATCH = 24
"""Deliveries of one transaction: what waits makes three."""

RECORDS = (
    "incident_versions",
    "incident_sightings",
    "caller_locations",
    "media",
    "cad_notes",
    "cad_locations",
)


def put_lake(data_dir: Path) -> None:
    """Make a lake that knows some of the incidents by REST, and let deliveries wait beside it."""
    known = [incident(f"i{number}", updated=number, created=number) for number in range(4)]
    with open_lake(settings_of(data_dir)) as lake:
        for center_id in CENTERS:
            pages = [page(*known, center_id=center_id)]
            lake.load(pages, cell=cell(center_id), run_id="run")
    keep(data_dir, _waiting())


def _waiting() -> list[Delivery]:
    contents: list[Any] = []
    for number in range(4):
        identity = f"i{number}"
        contents += [
            caller_location(f"l{number}", captured=number, incident_id=identity),
            incident_metadata(identity, updated=number, created=number),
            incident_metadata(identity, updated=number + 60, created=number, audio_call_ended_at=stamp(9)),
            note_created(f"n{number}", incident_id=identity, note="Smoke."),
            location_updated(number, incident_id=identity),
            media(id=f"m{number}", url=f"https://media.example.net/{number}?sig=x"),
        ]
    contents[10:10] = [b"?", {"type": "new"}, *contents[:6]]
    received_at = datetime(2024, 3, 2, tzinfo=UTC)
    return [
        delivery(content, center_id, received_at + timedelta(seconds=number))
        for number, content in enumerate(contents)
        for center_id in CENTERS
    ]


def keep(data_dir: Path, deliveries: list[Delivery]) -> None:
    """Let deliveries wait."""
    with Spool.open(settings_of(data_dir).spool_dir) as spool:
        spool.keep(deliveries)


def land(data_dir: Path, point: Point | None = None) -> list[str]:
    """Land what waits; return the statements it took. The point may be the spool's `forget` too."""
    forget = Spool.forget
    if point is not None and point.statement == "forget":
        forget = at(point, forget, lambda *_: True)
        point = None
    with (
        watched(point) as statements,
        mock.patch.object(landing, "MAX_COUNT", IN_BATCH),
        mock.patch.object(Spool, "forget", forget),
    ):
        landing.land_deliveries(settings_of(data_dir))
    return statements


def land_until(data_dir: Path, stop: Path) -> int:
    """Land what waits, a few at a time, again and again until the file `stop` is there; return how often."""
    turns = 0
    with mock.patch.object(landing, "MAX_COUNT", 5):
        while not stop.exists():
            landing.land_deliveries(settings_of(data_dir))
            turns += 1
    return turns


def deliver_until(data_dir: Path, stop: Path) -> int:
    """Let one delivery after another wait until the file `stop` is there; return how many.

    Not faster than they are landed a few at a time: the test would only take longer.
    """
    count = 0
    while not stop.exists():
        time.sleep(0.02)
        identity = f"{os.getpid()}-{count}"
        keep(data_dir, [delivery(incident_metadata(identity), center) for center in CENTERS])
        count += 1
    return count


def read_landed(data_dir: Path) -> Content:
    """Return what the lake holds, every row with its delivery; fail where it does not add up."""
    lake_dir = data_dir / "lake"
    with connect(lake_dir) as connection:
        connection.execute("SET threads = 1")
        connection.execute("BEGIN")
        columns = "center_id, version_hash, source, raw_id, received_at"
        current = connection.execute(f"SELECT {columns} FROM incidents").fetchall()
        versions = [
            (table, *row)
            for table in RECORDS
            for row in connection.execute(f"SELECT {columns} FROM {table}").fetchall()
        ]
        archived = connection.execute("SELECT 'raw_pages', center_id, raw_id, body_sha256 FROM raw_pages")
        versions += archived.fetchall()
        quarantined = connection.execute("SELECT quarantine_id, raw_id FROM quarantine").fetchall()
        ids = connection.execute("SELECT count(DISTINCT (center_id, incident_id)) FROM incident_versions")
        assert ids.fetchone() == (len(current),), "each incident has one current row"
        connection.execute("COMMIT")
    for custody in verify(lake_dir):
        assert custody.broken is None
    sets = [frozenset(rows) for rows in (current, versions, quarantined)]
    return Content(
        *sets,
        watermark=None,
        complete_through=None,
        landed=0,
        repeated=len(current) + len(versions) + len(quarantined) - sum(map(len, sets)),
    )


def waiting(data_dir: Path) -> int:
    """Return how many deliveries wait."""
    with Spool.open(settings_of(data_dir).spool_dir) as spool:
        return spool.count()


def assert_none_is_missing(data_dir: Path) -> None:
    """Fail unless all that `deliver_until` let wait, counted from 0, is in the lake, once at each center."""
    with connect(data_dir / "lake") as connection:
        rows = connection.execute(
            """SELECT count(*), max(split_part(incident_id, '-', 2)::BIGINT) + 1
            FROM incidents WHERE contains(incident_id, '-') GROUP BY center_id"""
        ).fetchall()
    assert len(rows) == len(CENTERS)
    assert all(count == expected for count, expected in rows), rows
    assert len(set(rows)) == 1
