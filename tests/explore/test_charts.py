"""Pictures as what they are made of: valid, with all they need inside, true to scale and to the clock."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatchlake.explore import charts

NOON = datetime(2024, 7, 8, 12)  # noqa: DTZ001 - by a center's clock

VOLUME = [
    {"center_id": "houston-tx", "local_start": NOON + timedelta(hours=number), "incidents": number}
    for number in range(3)
]
CELLS = [
    {"lng": -95.4, "lng_end": -95.3, "lat": 29.7, "lat_end": 29.75, "incidents": 3},
    {"lng": -95.3, "lng_end": -95.2, "lat": 29.75, "lat_end": 29.8, "incidents": 300},
]
TIMES = [
    {"grouped": "Alarms", "incidents": 10, "timed": 9, "p50_s": 300.0, "p90_s": 600.0},
    {"grouped": "Other", "incidents": 5, "timed": 0, "p50_s": None, "p90_s": None},
]
HOURS = [
    {"center_id": "houston-tx", "local_hour": NOON, "records": 3, "expected": None, "state": "complete"},
    {"center_id": "houston-tx", "local_hour": NOON, "records": 0, "expected": 9.0, "state": "gap"},
]
RHYTHM = [{"center_id": "houston-tx", "weekday": 7, "hour": 23, "incidents": 9, "days": 2}]

PICTURES = {
    "volume": charts.volume_chart("hour", VOLUME),
    "rhythm": charts.rhythm_chart(RHYTHM),
    "map": charts.map_chart(CELLS, stretch=0.87),
    "response": charts.response_chart(TIMES),
    "completeness": charts.completeness_chart(HOURS),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_needs_nothing_from_elsewhere_and_offers_to_send_nothing(name: str) -> None:
    made = PICTURES[name].to_dict()  # checked against the schema of what draws it

    assert made["usermeta"] == {"embedOptions": {"actions": False}}
    assert "url" not in _keys(made)
    assert made["datasets"]


@pytest.mark.parametrize("grain", ["hour", "day", "week", "month"])
def test_a_local_time_is_shown_as_it_is_wherever_the_browser_is(grain: str) -> None:
    made = charts.volume_chart(grain, VOLUME).to_dict()

    (values,) = made["datasets"].values()
    assert values[0]["start"] == "2024-07-08T12:00:00Z"
    assert made["encoding"]["x"]["timeUnit"].startswith("utc")
    assert "2024" in values[0]["when"]


def test_a_map_is_true_to_scale() -> None:
    made = PICTURES["map"].to_dict()

    (west, east), (south, north) = (made["encoding"][axis]["scale"]["domain"] for axis in ("x", "y"))
    across = made["width"] / ((east - west) * 0.87)
    along = made["height"] / (north - south)
    assert math.isclose(across, along)
    assert made["width"] <= charts.MAP_WIDTH
    assert made["height"] <= charts.MAP_HEIGHT + 1e-6


def test_what_has_no_times_is_no_zero() -> None:
    made = PICTURES["response"].to_dict()

    (values,) = made["datasets"].values()
    assert [value["group"] for value in values] == ["Alarms"]
    assert (values[0]["median"], values[0]["ninety"]) == (5, 10)


def test_an_hour_of_the_week_is_an_average() -> None:
    assert _keys(PICTURES["rhythm"].to_dict()) >= {"average"}
    assert 4.5 in _leaves(PICTURES["rhythm"].to_dict())


def _keys(made: Any) -> set[str]:
    if isinstance(made, dict):
        return set(made).union(*map(_keys, made.values()))
    return set().union(*map(_keys, made)) if isinstance(made, list) else set()


def _leaves(made: Any) -> list[Any]:
    if isinstance(made, dict):
        return [leaf for value in made.values() for leaf in _leaves(value)]
    return [leaf for value in made for leaf in _leaves(value)] if isinstance(made, list) else [made]
