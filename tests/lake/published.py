"""An installation with two zones, and what is in the open one: for the tests of publishing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dispatchlake.lake import Lake, open_lake
from dispatchlake.lake.publishing import publish
from dispatchlake.lake.reading import connect_unnoted
from dispatchlake.lake.treatments import published_tables
from dispatchlake.settings import Settings
from tests.lake.deliveries import (
    caller_location,
    incident_metadata,
    land,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import incident, load

PHONE, OTHER_PHONE, THIRD_PHONE = "+13035550140", "+13035550141", "+13035550142"
NOTE = "the caller says that xylophone"
CHATROOM = "https://portal.example/rooms/quux-4711"
MEDIA_URL = "https://media.example/clips/zebra-0815.mp4"
LAT, LNG = 39.742137, -104.991531
HOUSE = "1437"

Content = dict[str, list[str]]
"""By table, each row as a text, in order."""


def cad_incident(identity: str = "c1", updated: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a record of `cad_incidents` with everything that is personal in one."""
    return incident(identity, updated=updated) | {
        "address": f"{HOUSE} Blake St Apt 12",
        "city": "Denver",
        "postal_code": "80202-1441",
        "lat": LAT,
        "lng": LNG,
        "incident_type": "MEDICAL",
        "units": ["E1", "M3"],
        "comments": NOTE,
        **fields,
    }


def fill(lake: Lake) -> None:
    """Load something personal of every kind into every table that may have it."""
    load(
        lake,
        incident("i1", caller_phone_number=PHONE, chatroom_url=CHATROOM, remark=NOTE),
        incident("i2", caller_phone_number=PHONE),
        incident("i3", caller_phone_number=OTHER_PHONE),
        f"no object, but {NOTE}",
    )
    load(lake, incident("i1", caller_phone_number=PHONE), center_id="center-b")
    load(lake, cad_incident(), resource="cad_incidents")
    land(
        lake,
        incident_metadata("i1", updated=60, caller_phone_number=THIRD_PHONE, chatroom_url=CHATROOM),
        caller_location(lat=LAT, lng=LNG, class_of_service="WPH2"),
        note_created(note=NOTE, metadata={"said": NOTE}),
        location_updated(lat=LAT, lng=LNG),
        media(url=MEDIA_URL, media_type="video"),
        media(id="m1", url=MEDIA_URL),
        NOTE.encode(),
    )


def home_with_two_zones(home: Path, empty_lake: Path) -> Settings:
    """Return the settings of an installation in that folder, filled and published, that nobody has open."""
    settings = Settings(data_dir=home, lock_wait_s=60)
    shutil.copytree(empty_lake, settings.lake_dir)
    with open_lake(settings) as lake:
        fill(lake)
    publish(settings)
    return settings


def content(lake_dir: Path) -> Content:
    """Return what the published tables of a zone hold."""
    with connect_unnoted(lake_dir) as reader:
        reader.execute("SET threads = 1")
        return {
            table.name: sorted(
                row[0] for row in reader.execute(f"SELECT t::VARCHAR FROM {table.name} AS t").fetchall()
            )
            for table in published_tables()
        }


def made_anew(settings: Settings) -> Content:
    """Return what the open zone would hold if it were made of the restricted zone as that is now."""
    aside = settings.open_dir.with_name("open-aside")
    settings.open_dir.rename(aside)
    try:
        publish(settings)
        return content(settings.open_dir)
    finally:
        shutil.rmtree(settings.open_dir, ignore_errors=True)
        aside.rename(settings.open_dir)
