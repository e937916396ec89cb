"""How long a schedule leaves alone what fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.pauses import FREE_TRIES, LONGEST, Failing, pause_after

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


def failing(tries: int) -> Failing:
    return Failing("houston-tx", "cad_incidents", tries, "It does not answer.", NOW)


def test_pauses_double_up_to_half_an_hour() -> None:
    minutes = [pause_after(tries) / timedelta(minutes=1) for tries in range(1, 8)]

    assert minutes == [0, 0, 5, 10, 20, 30, 30]


@given(st.integers(0, 2**63))
def test_no_pause_is_shorter_than_the_one_before_or_longer_than_the_longest(tries: int) -> None:
    assert pause_after(tries) <= pause_after(tries + 1) <= LONGEST


def test_what_failed_seldom_does_not_rest() -> None:
    assert not failing(FREE_TRIES - 1).is_resting(NOW)


def test_it_rests_until_its_pause_is_over() -> None:
    one = failing(FREE_TRIES)

    assert one.is_resting(NOW + timedelta(minutes=5, seconds=-1))
    assert not one.is_resting(NOW + timedelta(minutes=5))


def test_what_a_clock_that_was_fast_has_dated_does_not_rest_until_then() -> None:
    one = failing(FREE_TRIES)
    assert one.is_resting(NOW)
    assert not one.is_resting(NOW - timedelta(days=1))


def test_its_sentence_says_how_often_until_when_and_why() -> None:
    assert failing(4).sentence() == (
        "Not tried: it failed 4 times in a row, so a schedule tries it again only after "
        "2024-03-01 12:10 UTC; a run of your own does at once. The last error: It does not answer."
    )
