from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.errors import ConfigError
from dispatchlake.windows import Window, next_window, tile

NOW = datetime(2026, 3, 8, 10, 30, tzinfo=UTC)
ZONELESS = NOW.replace(tzinfo=None)

YEARS = timedelta(days=10_000)
INSTANTS = st.datetimes(ZONELESS - YEARS, ZONELESS + YEARS, timezones=st.timezones())
SPANS = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))


@pytest.mark.parametrize("end", [NOW, NOW - timedelta(microseconds=1)])
def test_a_window_that_ends_before_it_starts_is_refused(end: datetime) -> None:
    with pytest.raises(ConfigError, match=r"The window ends .* before it starts .*\. Give an end after"):
        Window(NOW, end)


@pytest.mark.parametrize(("start", "end"), [(None, ZONELESS), (ZONELESS, NOW)])
def test_a_bound_without_a_zone_is_refused(start: datetime | None, end: datetime) -> None:
    with pytest.raises(ConfigError, match="must say their time zone"):
        Window(start, end)


def test_bounds_in_different_zones_are_compared_as_instants() -> None:
    chicago = timezone(timedelta(hours=-6))

    Window(datetime(2026, 3, 8, 12, tzinfo=UTC), datetime(2026, 3, 8, 7, tzinfo=chicago))
    with pytest.raises(ConfigError):
        Window(datetime(2026, 3, 8, 7, tzinfo=chicago), datetime(2026, 3, 8, 12, tzinfo=UTC))


def test_a_first_run_reads_from_the_beginning() -> None:
    assert next_window(None, lookback=timedelta(hours=1), now=NOW) == Window(None, NOW)


def test_a_later_run_reads_from_the_watermark_less_the_lookback() -> None:
    watermark = NOW - timedelta(minutes=5)

    window = next_window(watermark, lookback=timedelta(hours=1), now=NOW)

    assert window == Window(watermark - timedelta(hours=1), NOW)


@given(watermark=INSTANTS, lookback=st.timedeltas(timedelta(0), timedelta(days=30)), now=INSTANTS)
def test_every_watermark_gives_a_window_that_begins_at_the_lookback(
    watermark: datetime, lookback: timedelta, now: datetime
) -> None:
    """One ahead of our clock counts as now: nobody has read until then."""
    watermark, now = watermark.astimezone(UTC), now.astimezone(UTC)

    window = next_window(watermark, lookback=lookback, now=now)

    assert window.start == min(watermark, now) - lookback
    assert window.end > window.start
    assert now <= window.end <= now + timedelta(seconds=1)


@given(start=INSTANTS, span=SPANS, parts=st.integers(1, 40))
def test_slices_cover_a_window_without_gap_or_overlap(start: datetime, span: timedelta, parts: int) -> None:
    start = start.astimezone(UTC)
    window = Window(start, start + span)
    size = max(span / parts, timedelta(microseconds=1))

    slices = list(tile(window, size))

    assert slices[0].start == window.start
    assert slices[-1].end == window.end
    for one, following in pairwise(slices):
        assert one.end == following.start
    for one in slices:
        assert one.start is not None
        assert timedelta(0) < one.end - one.start <= size


def test_a_slice_longer_than_the_window_is_the_window() -> None:
    window = Window(NOW, NOW + timedelta(hours=1))

    assert list(tile(window, timedelta(days=1))) == [window]


def test_a_window_without_a_start_cannot_be_cut() -> None:
    with pytest.raises(ConfigError, match="without a start"):
        next(tile(Window(None, NOW), timedelta(days=1)))


@pytest.mark.parametrize("size", [timedelta(0), timedelta(seconds=-1)])
def test_a_slice_of_no_length_is_refused(size: timedelta) -> None:
    with pytest.raises(ConfigError, match="longer than nothing"):
        next(tile(Window(NOW, NOW + timedelta(hours=1)), size))
