"""What was told, as the lake remembers it."""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime, timedelta

from dispatchlake.lake import open_lake
from dispatchlake.lake.told import Told
from dispatchlake.settings import Settings

AT = datetime(2026, 1, 1, tzinfo=UTC)


def told(condition: str, *, at: datetime = AT) -> Told:
    return Told("center-a", "incident_events", condition, at, at)


def test_what_was_noted_twice_is_remembered_once(settings: Settings) -> None:
    """Two runs that ended together have left such rows; with either of them both would be forgotten."""
    later = told("late", at=AT + timedelta(milliseconds=5))
    with open_lake(settings) as lake:
        lake.remember_told([], [told("late"), told("silent")])
        with lake.held() as connection:
            connection.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", list(astuple(later)))
        before = lake.told()
        assert before == [told("late"), later, told("silent")]

        lake.remember_told(before, [later, told("silent")])

        assert lake.told() == [later, told("silent")]
