"""A lake that a faulty parser has filled, and what a victim replays of it, a page a transaction."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from unittest import mock

from dispatchlake.lake import Selection, open_lake, replay
from tests.guarantees.content import Content, read_content
from tests.guarantees.victims import Point
from tests.guarantees.work import settings_of, watched
from tests.lake.faulty_parser import DROPPED, REFUSED, faulty_parser
from tests.lake.pages import CENTER, END, cell, incident, page, stamp

LISTING = "incident_events"
PAGES = 6


def put_lake(data_dir: Path) -> None:
    """Make a lake of pages with a record each that was wrongly set aside, and one that was typed wrongly."""
    pages = [
        page(
            incident(f"refused-{number}", caller_phone_number=REFUSED),
            incident(f"dropped-{number}", caller_phone_number=DROPPED, audio_call_ended_at=stamp(0)),
            sequence=number + 1,
            received_at=END + timedelta(seconds=number),
        )
        for number in range(PAGES)
    ]
    with open_lake(settings_of(data_dir)) as lake, faulty_parser():
        lake.load(pages, cell=cell(), run_id="run")


def read(data_dir: Path) -> Content:
    """Return what the lake holds."""
    return read_content(data_dir / "lake", CENTER, LISTING)


def replay_page_by_page(data_dir: Path) -> list[Content]:
    """Replay undisturbed; return what the lake holds before the first page, and after each."""
    stages = [read(data_dir)]
    with open_lake(settings_of(data_dir)) as lake:
        for number in range(PAGES):
            (summary,) = lake.replay(Selection(received_until=END + timedelta(seconds=number + 1)))
            assert (summary.added, summary.removed, summary.released) == (2, 1, 1), "there is something to do"
            stages.append(read(data_dir))
    return stages


def replay_all(data_dir: Path, point: Point | None = None) -> list[str]:
    """Replay all pages, or what is left to do; return the statements it took."""
    with (
        watched(point) as statements,
        mock.patch.object(replay, "MAX_PAGES", 1),
        open_lake(settings_of(data_dir)) as lake,
    ):
        lake.replay()
    return statements
