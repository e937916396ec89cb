"""Days as a person means them: whole, local, without gap or overlap, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.backfill import Slice, cut_days
from dispatchlake.backfill.days import refuse_days, refuse_future, zone_of
from dispatchlake.errors import ConfigError

LATER = datetime(2100, 1, 1, tzinfo=UTC)

days = st.dates(date(1970, 1, 1), date(2037, 1, 1))


def cut(
    first: date, last: date, zone: tzinfo = UTC, *, slice_days: int = 1, now: datetime = LATER
) -> list[Slice]:
    return list(cut_days(first, last, slice_days=slice_days, zone=zone, now=now))


@given(days, st.integers(0, 40), st.integers(1, 50), st.timezone_keys())
def test_slices_tile_the_days_in_every_time_zone(first: date, more: int, slice_days: int, zone: str) -> None:
    last = first + timedelta(days=more)

    slices = cut(first, last, ZoneInfo(zone), slice_days=slice_days)

    assert all(before.window.end == after.window.start for before, after in pairwise(slices))
    starts = [one.window.start for one in slices]
    assert all(start is not None and start.utcoffset() == timedelta(0) for start in starts)
    assert all(one.first <= one.last < one.first + timedelta(days=slice_days) for one in slices)
    if slices:  # a zone may have skipped the only day
        (whole,) = cut(first, last, ZoneInfo(zone), slice_days=41) or [None]
        assert whole is not None
        assert (slices[0].window.start, slices[-1].window.end) == (whole.window.start, whole.window.end)


@given(days, st.integers(0, 40), st.timezone_keys(), st.integers(-50, 2000))
def test_nothing_after_now_is_part_of_a_slice(first: date, more: int, zone: str, hours: int) -> None:
    now = datetime.combine(first, datetime.min.time(), UTC) + timedelta(hours=hours)

    slices = cut(first, first + timedelta(days=more), ZoneInfo(zone), now=now)

    assert all(one.window.end <= now for one in slices)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/Chicago", date(2024, 3, 10), 23),
        ("America/Chicago", date(2024, 11, 3), 25),
        ("America/Chicago", date(2024, 7, 1), 24),
        ("Australia/Lord_Howe", date(2024, 10, 6), 23.5),
        ("America/Havana", date(2024, 3, 10), 23),  # the clock jumps over midnight itself
        ("America/Havana", date(2024, 11, 3), 25),  # the hour after midnight comes twice
    ],
)
def test_a_local_day_is_as_long_as_its_clocks_say(zone: str, day: date, hours: float) -> None:
    (one,) = cut(day, day, ZoneInfo(zone))

    assert one.window.start is not None
    assert one.window.end - one.window.start == timedelta(hours=hours)


def test_a_day_that_a_zone_has_skipped_is_part_of_no_slice() -> None:
    """Samoa went from the 29th to the 31st."""
    slices = cut(date(2011, 12, 29), date(2011, 12, 31), ZoneInfo("Pacific/Apia"))

    assert [one.label for one in slices] == ["2011-12-29", "2011-12-31"]
    assert slices[0].window.end == slices[1].window.start


def test_the_last_slice_has_the_days_that_are_left() -> None:
    slices = cut(date(2024, 7, 1), date(2024, 7, 10), slice_days=7)

    assert [one.label for one in slices] == ["2024-07-01 to 2024-07-07", "2024-07-08 to 2024-07-10"]


def test_today_is_read_until_now() -> None:
    now = datetime(2024, 7, 2, 15, tzinfo=UTC)

    *_, today = cut(date(2024, 7, 1), date(2024, 7, 2), now=now)

    assert today.window.end == now


def test_days_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"The last day \(2024-01-01\) is before the first day \(2024-01-02\)"
    ):
        refuse_days(date(2024, 1, 2), date(2024, 1, 1))


def test_days_before_all_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="before 1970-01-01"):
        refuse_days(date(1, 1, 1), date(2024, 1, 1))


def test_a_day_is_in_the_future_only_where_it_has_not_begun() -> None:
    now = datetime(2024, 7, 1, 20, tzinfo=UTC)  # the 2nd has begun in Tokyo, and not in Chicago
    day = date(2024, 7, 2)

    refuse_future("tokyo", day, zone=zone_of("Asia/Tokyo", "center local time"), now=now)
    with pytest.raises(ConfigError, match=r"at houston-tx it is 2024-07-01"):
        refuse_future("houston-tx", day, zone=zone_of("America/Chicago", "center local time"), now=now)
    with pytest.raises(ConfigError, match="in the future"):
        refuse_future("tokyo", day, zone=zone_of("Asia/Tokyo", "UTC"), now=now)
