"""What the explorer asks, on the sample of three centers: compared with the rows themselves, and bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake, exploring
from dispatchlake.lake.centers import CenterFacts
from dispatchlake.lake.exploring import Explorer
from dispatchlake.lake.exploring_filters import FIRST_LOOK_DAYS, CenterSpan, Filters, first_look
from dispatchlake.lake.reading import query_frame
from dispatchlake.settings import Settings
from tests.lake.pages import load

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def explorer(demo_settings: Settings) -> Iterator[Explorer]:
    explorer = Explorer.open(demo_settings.open_dir)
    yield explorer
    explorer.close()


@pytest.fixture(scope="module")
def centers(explorer: Explorer) -> dict[str, CenterSpan]:
    return {center.center_id: center for center in explorer.centers()}


@pytest.fixture(scope="module")
def rows(demo_settings: Settings) -> pd.DataFrame:
    """Every CAD incident, with its local time computed by another library."""
    frame = query_frame("FROM cad_incidents", lake_dir=demo_settings.open_dir)
    zones = {"houston-tx": "America/Chicago"}
    frame["local"] = [
        at.tz_convert(zones.get(center_id, "America/Los_Angeles")).tz_localize(None)
        for at, center_id in zip(frame["created_at"], frame["center_id"], strict=True)
    ]
    return frame


def everything(*centers: CenterSpan) -> Filters:
    return Filters(
        centers,
        min(center.first_date for center in centers),
        max(center.last_date for center in centers),
    )


def test_centers_say_which_local_days_they_have(centers: dict[str, CenterSpan], rows: pd.DataFrame) -> None:
    assert [center.name for center in centers.values()] == [
        "Houston Emergency Center",
        "San Diego Police Department",
        "San Francisco Fire Department",
    ]
    for center_id, center in centers.items():
        own = rows[rows["center_id"] == center_id]
        assert (center.first_date, center.last_date) == (own["local"].min().date(), own["local"].max().date())
        assert center.cad_incidents == len(own)


def test_the_first_look_is_at_the_last_weeks_of_centers_that_have_any(
    centers: dict[str, CenterSpan],
) -> None:
    look = first_look(list(centers.values()))

    assert [center.center_id for center in look.centers] == ["houston-tx"]
    assert (look.first_date, look.last_date) == (date(2024, 7, 6), date(2024, 7, 8))
    long = replace(centers["houston-tx"], first_date=date(2001, 1, 1))
    assert first_look([long]).days == FIRST_LOOK_DAYS


def test_days_begin_at_the_midnight_of_each_center(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    for center_id, day in (("houston-tx", date(2024, 7, 7)), ("san-diego-ca", date(2023, 1, 5))):
        own = rows[(rows["center_id"] == center_id) & (rows["local"].dt.date == day)]

        assert explorer.count(Filters((centers[center_id],), day, day)) == len(own) > 0


def test_a_day_on_which_clocks_change_has_its_own_length() -> None:
    center = CenterSpan("c", "C", "America/Chicago", date(2024, 1, 1), date(2024, 12, 31), 1)

    for day, hours in ((date(2024, 3, 10), 23), (date(2024, 11, 3), 25), (date(2024, 7, 1), 24)):
        since, until = Filters((center,), day, day).span(center)
        assert until - since == timedelta(hours=hours)


def test_volume_is_counted_by_the_clock_of_each_center(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    for filters, grain, unit in (
        (everything(centers["houston-tx"]), "hour", "h"),
        (everything(centers["san-diego-ca"]), "day", "D"),
    ):
        found, bars = explorer.volume(filters)

        own = rows[rows["center_id"] == filters.centers[0].center_id]
        expected = own.groupby(own["local"].dt.floor(unit)).size()
        assert found == grain
        assert {bar["local_start"]: bar["incidents"] for bar in bars} == {
            start.to_pydatetime(): count for start, count in expected.items()
        }


def test_a_long_span_has_few_bars(explorer: Explorer, centers: dict[str, CenterSpan]) -> None:
    every = tuple(centers.values())

    grain, bars = explorer.volume(Filters(every, date(1990, 1, 1), date(2030, 1, 1)))

    assert grain == "month"
    assert sum(bar["incidents"] for bar in bars) == sum(center.cad_incidents for center in every)


def test_hours_of_the_week_say_how_many_such_days_they_are_of(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    filters = everything(centers["san-francisco-ca"])
    own = rows[rows["center_id"] == "san-francisco-ca"]

    hours = explorer.rhythm(filters)

    expected = own.groupby([own["local"].dt.day_of_week + 1, own["local"].dt.hour]).size()
    assert {(hour["weekday"], hour["hour"]): hour["incidents"] for hour in hours} == expected.to_dict()
    assert {hour["weekday"]: hour["days"] for hour in hours} == {1: 2, 2: 2, 3: 1, 4: 2, 5: 2, 6: 2, 7: 2}


def test_types_filter_everything(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    filters = everything(centers["san-francisco-ca"])
    own = rows[rows["center_id"] == "san-francisco-ca"]
    commonest = explorer.incident_types(filters)[0]
    only = replace(filters, incident_types=(commonest,))
    wanted = int(own["incident_type"].value_counts().iloc[0])

    assert commonest == own["incident_type"].value_counts().index[0]
    assert explorer.count(only) == wanted
    assert sum(bar["incidents"] for bar in explorer.volume(only)[1]) == wanted
    (group,) = explorer.response_times(only, measure="call_to_on_scene_s", by="incident_type")
    assert (group["grouped"], group["incidents"]) == (commonest, wanted)
    assert {row["incident_type"] for row in explorer.incidents(only)} == {commonest}


def test_a_map_counts_everyone_once_in_cells_as_wide_as_high(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    frame = explorer.map(everything(centers["houston-tx"]))
    own = rows[rows["center_id"] == "houston-tx"]

    inside = sum(cell["incidents"] for cell in frame.cells)
    assert inside + frame.outside + frame.without_place == len(own)
    assert frame.without_place == own["lat"].isna().sum()
    assert frame.outside < 0.02 * len(own)
    assert len(frame.cells) <= (exploring.MAP_CELLS + 1) ** 2
    for cell in frame.cells:
        high = cell["lat_end"] - cell["lat"]
        assert math.isclose((cell["lng_end"] - cell["lng"]) * frame.stretch, high, rel_tol=1e-6)
        assert math.isclose(frame.stretch, math.cos(math.radians(29.8)), abs_tol=0.01)
    busiest = max(frame.cells, key=lambda cell: cell["incidents"])
    there = own[
        own["lat"].between(busiest["lat"], busiest["lat_end"])
        & own["lng"].between(busiest["lng"], busiest["lng_end"])
    ]
    assert len(there) == busiest["incidents"]


def test_without_coordinates_there_is_no_map(explorer: Explorer, centers: dict[str, CenterSpan]) -> None:
    frame = explorer.map(everything(centers["san-diego-ca"]))

    assert (list(frame.cells), frame.without_place) == ([], centers["san-diego-ca"].cad_incidents)


def test_percentiles_are_of_what_has_both_times(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    filters = everything(centers["san-francisco-ca"])
    own = rows[rows["center_id"] == "san-francisco-ca"].copy()
    own["s"] = (own["on_scene_at"] - own["call_received_at"]).dt.total_seconds()
    own.loc[own["s"] < 0, "s"] = None

    groups = explorer.response_times(filters, measure="call_to_on_scene_s", by="priority")

    for group in groups:
        of_group = own[own["priority"].fillna("none") == group["grouped"]]
        assert (group["incidents"], group["timed"]) == (len(of_group), of_group["s"].count())
        if group["timed"]:
            assert math.isclose(group["p50_s"], of_group["s"].quantile(0.5))
            assert math.isclose(group["p90_s"], of_group["s"].quantile(0.9))
    assert sum(group["incidents"] for group in groups) == len(own)


def test_words_of_different_centers_are_told_apart(
    explorer: Explorer, centers: dict[str, CenterSpan]
) -> None:
    groups = explorer.response_times(
        everything(*centers.values()), measure="call_to_close_s", by="incident_type"
    )

    assert len(groups) == exploring.MOST_GROUPS
    assert all(": " in group["grouped"] for group in groups)


def test_completeness_tells_the_hours_of_the_days_looked_at(
    explorer: Explorer, centers: dict[str, CenterSpan], rows: pd.DataFrame
) -> None:
    day = date(2024, 7, 7)
    hours = explorer.completeness(Filters((centers["houston-tx"],), day, day), "cad_incidents")

    own = rows[(rows["center_id"] == "houston-tx") & (rows["local"].dt.date == day)]
    assert [hour["local_hour"].hour for hour in hours] == list(range(24))
    assert [hour["records"] for hour in hours] == own.groupby(own["local"].dt.hour).size().tolist()
    assert {hour["state"] for hour in hours} == {"complete"}
    long = Filters((centers["houston-tx"],), date(2020, 1, 1), day)
    assert len(explorer.completeness(long, "cad_incidents")) <= 24 * exploring.COMPLETENESS_DAYS


def test_an_incident_is_found_by_any_of_its_ids_and_tells_its_story(
    explorer: Explorer, centers: dict[str, CenterSpan]
) -> None:
    filters = everything(centers["san-francisco-ca"])
    listed = explorer.incidents(filters)
    assert len(listed) == exploring.MOST_LISTED
    assert listed == sorted(listed, key=lambda row: row["local_created_at"], reverse=True)
    one = next(row for row in listed if row["incident_id"])

    for name in ("cad_incident_id", "incident_id", "cad_partner_incident_id"):
        (found,) = explorer.incidents(filters, text=f" {one[name]} ")
        assert found == one
    assert explorer.incidents(filters, text="' OR true --") == []
    story = explorer.timeline(one["center_id"], one["incident_id"])
    assert [fact["local_occurred_at"] for fact in story] == sorted(
        fact["local_occurred_at"] for fact in story
    )
    assert {"kind", "what", "detail", "source"} <= set(story[0])
    assert explorer.timeline("houston-tx", one["incident_id"]) == [], "of that center alone"


def test_without_a_center_nothing_is_looked_at(explorer: Explorer, centers: dict[str, CenterSpan]) -> None:
    nothing = Filters((), date(2024, 1, 1), date(2024, 12, 31))

    assert explorer.count(nothing) == 0
    assert explorer.volume(nothing)[1] == []
    assert explorer.completeness(nothing, "cad_incidents") == []
    assert explorer.incidents(nothing) == []


def test_an_hour_that_comes_twice_is_counted_twice_under_its_one_name(lake: Lake, lake_dir: Path) -> None:
    lake.remember_centers([CenterFacts("c", "C", "America/Chicago")])
    night = [datetime(2024, 11, 3, hour, 30, tzinfo=UTC) for hour in (5, 6, 7, 8)]  # 0:30 1:30 1:30 2:30
    records = [
        {"id": f"i{at.hour}", "created_at": at.isoformat(), "updated_at": at.isoformat()} for at in night
    ]
    load(lake, *records, center_id="c", resource="cad_incidents")
    explorer = Explorer.open(lake_dir)
    (center,) = explorer.centers()

    _, bars = explorer.volume(Filters((center,), date(2024, 11, 3), date(2024, 11, 3)))

    assert night[1].astimezone(ZoneInfo("America/Chicago")).hour == 1
    assert [(bar["local_start"].hour, bar["incidents"]) for bar in bars] == [(0, 1), (1, 2), (2, 1)]


def test_a_lake_without_its_views_says_what_to_do(lake: Lake, lake_dir: Path) -> None:
    lake._connection.execute("DROP TABLE centers")

    with pytest.raises(LakeError, match="Run dispatchlake maintain once"):
        Explorer.open(lake_dir).centers()


def test_where_there_is_no_lake_there_is_nothing_to_explore(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        Explorer.open(tmp_path)
