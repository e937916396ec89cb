"""Which cells a backfill reads, given what was read before, and what it reads at once."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.backfill import Plan, Source
from dispatchlake.errors import ConfigError
from dispatchlake.model import RESOURCES
from dispatchlake.windows import Covered
from tests.backfill.asking import FIRST, NOW, RUN, covered, midnight, plan, source


def asked(found: Plan) -> list[int]:
    """Return the days, from 0, that are to be read."""
    return [(cell.slice.first - FIRST).days for cell in found.cells if cell.is_asked]


@pytest.mark.parametrize(
    ("mode", "days"),
    [("missing", [2, 4]), ("missing and failed", [2, 3, 4]), ("everything again", [0, 1, 2, 3, 4])],
)
def test_each_mode_reads_what_it_says(mode: str, days: list[int]) -> None:
    found = plan(covered(0, 2), covered(3, 4, "failed"), mode=mode)

    assert asked(found) == days
    assert found.asked == len(days)
    assert [cell.before for cell in found.cells] == ["complete", "complete", "missing", "failed", "missing"]


def test_what_the_live_reading_has_covered_is_complete() -> None:
    assert asked(plan(covered(None, 3, kind="ingest"))) == [3, 4]


def test_a_failure_of_the_live_reading_says_nothing_of_single_days() -> None:
    assert asked(plan(covered(None, 5, "failed", kind="ingest"), mode="missing")) == [0, 1, 2, 3, 4]


def test_a_cell_may_be_complete_by_several_readings_together() -> None:
    rows = [covered(0, 2), covered(2, 4), covered(None, 1, kind="ingest")]

    assert asked(plan(*rows, slice_days=4, days=8)) == [4]


def test_a_cell_that_is_complete_in_part_is_read() -> None:
    assert asked(plan(covered(0, 3), slice_days=4, days=8)) == [0, 4]


def test_a_failed_reading_of_what_was_complete_is_failed_until_it_is_read() -> None:
    """Whoever reads something again has a reason; the mode that the summary names must find it."""
    rows = [covered(0, 5, at=0), covered(1, 2, "failed", at=1)]
    assert asked(plan(*rows)) == [1]
    assert asked(plan(*rows, covered(None, 9, kind="ingest", at=2))) == [1], "it may not have read day 1"
    assert asked(plan(*rows, covered(1, 2, at=2))) == []


def test_a_long_failure_is_made_good_day_by_day() -> None:
    rows = [covered(0, 5, "failed", at=0), covered(0, 2, at=1), covered(3, 4, at=1)]

    assert asked(plan(*rows)) == [2, 4]


def test_a_run_that_goes_on_does_not_read_again_what_it_has_read_itself() -> None:
    rows = [covered(0, 2, run_id=RUN), covered(2, 4)]

    assert asked(plan(*rows, mode="everything again")) == [2, 3, 4]


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.sampled_from(["complete", "failed"]))),
    st.integers(1, 5),
)
def test_a_cell_is_complete_just_when_each_of_its_days_is(
    spans: list[tuple[int, int, str]], slice_days: int
) -> None:
    rows = [
        covered(start, start + length, "complete" if state == "complete" else "failed", at=at)
        for at, (start, length, state) in enumerate(spans)
    ]
    by_day: dict[int, str] = {}
    for start, length, state in spans:
        by_day.update(dict.fromkeys(range(start, start + length), state))

    found = plan(*rows, days=12, slice_days=slice_days)

    for cell in found.cells:
        first, last = (cell.slice.first - FIRST).days, (cell.slice.last - FIRST).days
        states = {by_day.get(day) for day in range(first, last + 1)}
        expected = "failed" if "failed" in states else "missing" if None in states else "complete"
        assert cell.before == expected


def test_a_source_with_both_filters_is_read_cell_by_cell_and_centers_take_turns() -> None:
    sources = [source("center-a"), source("center-b")]

    found = plan(sources=sources, days=2)

    assert [reading.name for reading in found.readings] == [
        "center-a cad_incidents 2024-03-01",
        "center-b cad_incidents 2024-03-01",
        "center-a cad_incidents 2024-03-02",
        "center-b cad_incidents 2024-03-02",
    ]


def test_a_source_without_both_filters_is_one_reading_of_what_is_asked_for() -> None:
    found = plan(covered(1, 3), sources=[source(is_cell_by_cell=False)])

    (reading,) = found.readings
    assert reading.name == "center-a cad_incidents 2024-03-01 to 2024-03-05, one reading"
    assert [(w.start, w.end) for w in reading.windows] == [
        (midnight(day), midnight(day + 1)) for day in (0, 3, 4)
    ]


@pytest.mark.parametrize(
    ("since", "until", "is_cell_by_cell"),
    [(None, None, False), ("s", None, False), (None, "u", False), ("s", "u", True)],
)
def test_only_both_filters_together_make_cells_that_can_be_read_alone(
    since: str | None, until: str | None, is_cell_by_cell: bool
) -> None:
    resource = RESOURCES["cad_incidents"].model_copy(update={"since_param": since, "until_param": until})

    assert Source.of("a", "UTC", resource).is_cell_by_cell is is_cell_by_cell


def test_nothing_to_read_is_no_reading() -> None:
    assert plan(covered(0, 5), sources=[source(), source(is_cell_by_cell=False)]).readings == ()


def test_days_are_local_to_each_center() -> None:
    sources = [source("tokyo", time_zone="Asia/Tokyo"), source("houston", time_zone="America/Chicago")]

    found = plan(sources=sources, days=1, days_are="center local time")

    starts = [cell.slice.window.start for cell in found.cells]
    assert starts == [midnight(0) - timedelta(hours=9), midnight(0) + timedelta(hours=6)]


def test_a_large_grid_is_read_only_when_its_size_is_confirmed() -> None:
    sources = [source(f"center-{number}") for number in range(20)]

    with pytest.raises(ConfigError, match=r"20 listings x 60 slices = 1,200 cells.*enter 1200 "):
        plan(sources=sources, days=60)
    with pytest.raises(ConfigError, match="enter 1200 "):
        plan(sources=sources, days=60, confirm_cells=1199)
    assert len(plan(sources=sources, days=60, confirm_cells=1200).cells) == 1200
    assert len(plan(sources=sources, days=50).cells) == 1000


def test_a_grid_that_nobody_could_read_is_refused() -> None:
    sources = [source(f"center-{number}") for number in range(50)]

    with pytest.raises(ConfigError, match="too large: 50 listings x 4,000 slices = 200,000 cells"):
        plan(sources=sources, first_day=date(2013, 1, 1), last_day=date(2023, 12, 14), confirm_cells=200_000)


def test_one_future_day_refuses_the_whole_run() -> None:
    with pytest.raises(ConfigError, match="in the future"):
        plan(last_day=NOW.date() + timedelta(days=1))


def test_coverage_of_another_listing_says_nothing() -> None:
    rows: list[Covered] = [covered(0, 5)]

    assert asked(plan(*rows, sources=[source(resource="incident_events")])) == [0, 1, 2, 3, 4]
