"""Who is read next: every reading ends, none is lost, and one that fails holds up no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.backfill import Lanes, Reading
from dispatchlake.backfill.lanes import GIVE_UP_AFTER, PAUSE_AFTER
from tests.backfill.asking import reading

DELAYS_S = [60.0, 300.0]


def lanes(*readings: Reading, per_center: int = 4) -> Lanes:
    return Lanes(readings, per_center=per_center, retry_delays_s=DELAYS_S)


def fail(
    those: Lanes, one: Reading, now_s: float = 0, *, retry: bool = True, for_all: bool = False
) -> list[Reading] | None:
    return those.failed(one, now_s, is_worth_retrying=retry, is_for_all=for_all)


def take_all(those: Lanes, now_s: float = 0) -> list[Reading]:
    taken = []
    while (one := those.take(now_s)) is not None:
        taken.append(one)
    return taken


def test_centers_take_turns_and_none_has_more_than_its_part() -> None:
    of_a = [reading(day) for day in range(9)]
    of_b = [reading(day, "center-b") for day in range(2)]

    taken = take_all(lanes(*of_a, *of_b))

    assert taken == [of_a[0], of_b[0], of_a[1], of_b[1], of_a[2], of_a[3]]


def test_the_part_of_a_center_is_for_all_its_listings_together() -> None:
    both = [reading(day, resource=name) for day in range(4) for name in ("cad_incidents", "incident_events")]

    assert len(take_all(lanes(*both))) == 4


def test_a_passing_fault_is_tried_again_when_its_time_has_come() -> None:
    one = reading()
    those = lanes(one)
    assert those.take(0) == one
    assert fail(those, one, 10) is None
    assert those.take(69) is None
    assert those.wait_s(69) == 1
    assert those.take(70) == one
    assert fail(those, one, 80) is None
    assert those.take(379) is None
    assert those.take(380) == one
    assert those.tries(one) == 3
    assert fail(those, one, 400) == [], "that was the last time"
    assert those.is_done


def test_what_waits_for_its_time_holds_up_nothing_else() -> None:
    bad, *others = [reading(day) for day in range(5)]
    those = lanes(bad, *others)
    take_all(those)
    fail(those, bad)

    assert take_all(those) == [others[-1]]


def test_of_a_listing_that_keeps_failing_nothing_new_is_begun_before_its_time() -> None:
    of_a, of_b = [reading(day) for day in range(9)], [reading(day, "center-b") for day in range(9)]
    those = lanes(*of_a, *of_b, per_center=PAUSE_AFTER)
    taken = take_all(those)
    for one in taken:
        if one.center_id == "center-a":
            fail(those, one)
        else:
            those.landed(one)

    assert {one.center_id for one in take_all(those)} == {"center-b"}
    assert [one.center_id for one in take_all(those, DELAYS_S[0])] == ["center-a"] * PAUSE_AFTER


def test_a_center_that_is_down_is_given_up_after_its_tries_and_the_rest_is_named() -> None:
    readings = [reading(day) for day in range(90)]
    those = lanes(*readings)
    now_s, tries = 0.0, 0
    ended: list[Reading] = []
    while not those.is_done:
        for one in take_all(those, now_s):
            tries += 1
            given_up = fail(those, one, now_s)
            ended += [] if given_up is None else [one, *given_up]
        now_s += 30

    assert sorted(ended, key=lambda one: one.name) == readings
    assert tries <= 4 * (1 + len(DELAYS_S))


def test_readings_that_fail_for_good_do_not_stop_others_unless_there_are_many_in_a_row() -> None:
    readings = [reading(day) for day in range(30)]
    those = lanes(*readings)
    for number in range(10):
        one = those.take(0)
        assert one is not None
        if number % 3 < 2:
            assert fail(those, one, retry=False) == []
        else:
            those.landed(one)
    for _ in range(GIVE_UP_AFTER - 2):  # the last of those ten was the first in a row
        one = those.take(0)
        assert one is not None
        assert fail(those, one, retry=False) == []
    last = those.take(0)
    assert last is not None
    assert fail(those, last, retry=False) == readings[10 + GIVE_UP_AFTER - 1 :]
    assert those.is_done


def test_refused_credentials_end_a_listing_at_once_and_no_other() -> None:
    """Each further login risks a lock-out."""
    of_a, of_b = [reading(day) for day in range(5)], [reading(day, "center-b") for day in range(2)]
    those = lanes(*of_a, *of_b, per_center=1)
    first = those.take(0)
    assert first == of_a[0]

    assert fail(those, first, retry=False, for_all=True) == of_a[1:]
    assert those.take(0) == of_b[0]


@given(st.data())
def test_every_reading_ends_exactly_once_whatever_happens(data: st.DataObject) -> None:
    readings = [
        reading(day, center_id)
        for center_id in ("center-a", "center-b", "center-c")[: data.draw(st.integers(1, 3))]
        for day in range(data.draw(st.integers(0, 6)))
    ]
    those = lanes(*readings, per_center=data.draw(st.integers(1, 3)))
    under_way: list[Reading] = []
    ended: list[Reading] = []
    now_s = 0.0
    while not those.is_done:
        under_way += take_all(those, now_s)
        if not under_way:
            wait_s = those.wait_s(now_s)
            assert wait_s is not None, "something must be due, or it would never end"
            now_s += wait_s
            continue
        one = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        match data.draw(st.sampled_from(["landed", "again", "failed", "refused"])):
            case "landed":
                those.landed(one)
                ended.append(one)
            case how:
                given_up = fail(those, one, now_s, retry=how == "again", for_all=how == "refused")
                ended += [] if given_up is None else [one, *given_up]

    assert sorted(one.name for one in ended) == sorted(one.name for one in readings)
