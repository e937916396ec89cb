"""What is told when: once when it begins, once a day while it holds, once when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.alerts import AGAIN_AFTER, RECOVERED, Condition, decide
from dispatchlake.lake.standing import ListingStatus
from dispatchlake.lake.told import Told
from dispatchlake.quality import Doubt, Quality
from dispatchlake.status import Overview
from tests.standings import NOW, failing, listing, silent, view

EVERY = timedelta(minutes=5)


class Teller:
    """Tells what changes from one look to the next."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.bodies: list[str] = []

    def look(self, seen: Overview) -> list[tuple[str, str]]:
        """Return what is told: the condition or `recovered`, and the center."""
        alerts, self.told = decide(seen, self.told)
        self.bodies = [alert.body for alert in alerts]
        return [(alert.what, alert.center_id) for alert in alerts]


@pytest.fixture
def teller() -> Teller:
    return Teller()


@pytest.mark.parametrize(
    ("one", "condition"),
    [
        (failing(error_class="AuthRejected"), Condition.LOGIN_FAILED),
        (failing(lag_s=10**4), Condition.LATE),
        (silent(), Condition.SILENT),
    ],
)
def test_a_condition_is_told_once_and_when_it_is_over(
    teller: Teller, one: ListingStatus, condition: Condition
) -> None:
    assert teller.look(view(one)) == [(condition, "houston-tx")]
    assert teller.look(view(one, at=NOW + EVERY)) == []
    assert teller.look(view(listing(), at=NOW + 2 * EVERY)) == [(RECOVERED, "houston-tx")]
    assert teller.told == []
    assert teller.look(view(listing(), at=NOW + 3 * EVERY)) == []


def test_what_lasts_is_told_again_once_a_day(teller: Teller) -> None:
    told = [bool(teller.look(view(silent(), at=NOW + number * EVERY))) for number in range(2 * 288 + 1)]

    assert [number for number, one in enumerate(told) if one] == [0, 288, 576]
    assert teller.told[0].since_at == NOW


def test_the_listings_of_a_center_are_told_together(teller: Teller) -> None:
    both = [failing(lag_s=10**4, resource=name) for name in ("cad_incidents", "incident_events")]

    assert teller.look(view(*both)) == [(Condition.LATE, "houston-tx")]
    assert "cad_incidents: houston-tx: it did not answer." in teller.bodies[0]
    assert "incident_events: " in teller.bodies[0]


def test_another_listing_of_the_center_is_told_when_it_joins(teller: Teller) -> None:
    first, second = (failing(lag_s=10**4, resource=name) for name in ("cad_incidents", "incident_events"))
    teller.look(view(first))

    assert teller.look(view(first, second, at=NOW + EVERY)) == [(Condition.LATE, "houston-tx")]
    assert teller.look(view(first, second, at=NOW + 2 * EVERY)) == []


def test_a_message_says_what_why_until_when_and_what_to_do(teller: Teller) -> None:
    teller.look(view(failing(error_class="AuthRejected", last_error="houston-tx: refused (401).")))

    (body,) = teller.bodies
    assert "refused (401)." in body
    assert "Complete through 2024-03-01 11:59 UTC, 60 s ago." in body
    assert "dispatchlake check houston-tx" in body


def test_a_failing_center_that_works_in_between_is_not_over_until_it_is_well(teller: Teller) -> None:
    teller.look(view(failing(lag_s=10**4)))

    assert teller.look(view(failing(lag_s=100), at=NOW + EVERY)) == []
    assert teller.look(view(failing(lag_s=10**4), at=NOW + 2 * EVERY)) == [], "the same trouble"
    assert teller.look(view(listing(), at=NOW + 3 * EVERY)) == [(RECOVERED, "houston-tx")]


def test_one_condition_may_follow_another_without_a_recovery(teller: Teller) -> None:
    teller.look(view(failing(lag_s=10**4)))

    assert teller.look(view(failing(error_class="AuthRejected"), at=NOW + EVERY)) == [
        (Condition.LOGIN_FAILED, "houston-tx")
    ]
    assert [one.condition for one in teller.told] == [Condition.LOGIN_FAILED]


def test_a_center_that_is_no_longer_read_is_forgotten_quietly(teller: Teller) -> None:
    teller.look(view(failing(lag_s=10**4)))

    assert teller.look(view(at=NOW + EVERY)) == []
    assert teller.told == []


def test_the_quarantine_is_told_when_it_grows_and_not_when_it_stops(teller: Teller) -> None:
    grown = listing(quarantined=40, quarantined_last_hour=12)

    assert teller.look(view(grown)) == [(Condition.QUARANTINE_GREW, "houston-tx")]
    assert "12 records were set aside in the last hour, 40 lie in quarantine." in teller.bodies[0]
    assert teller.look(view(grown, at=NOW + EVERY)) == []
    assert teller.look(view(listing(quarantined=40), at=NOW + 2 * EVERY)) == []
    assert teller.told == []


def test_records_that_are_worse_than_usual_are_told_once_and_when_they_are_as_usual_again(
    teller: Teller,
) -> None:
    no_place, no_type = (
        Doubt("houston-tx", f"cad_incidents.{check}", "30 of 60 records.")
        for check in ("no_place", "no_type")
    )

    def look(number: int, *doubts: Doubt, is_checked: bool = True) -> list[tuple[str, str]]:
        quality = Quality(frozenset(["houston-tx"] if is_checked else []), doubts)
        return teller.look(replace(view(listing(), at=NOW + number * EVERY), quality=quality))

    assert look(0, no_place) == [(Condition.QUALITY_DROPPED, "houston-tx")]
    assert teller.bodies[0].startswith("cad_incidents.no_place: 30 of 60 records.\nNothing is lost")
    assert look(1, no_place) == []
    assert look(2, is_checked=False) == [], "a run that brought nothing knows nothing"
    assert look(3, no_place, no_type) == [(Condition.QUALITY_DROPPED, "houston-tx")]
    assert look(4, no_type) == [(RECOVERED, "houston-tx")]
    assert "cad_incidents.no_place: as usual again" in teller.bodies[0]
    assert look(288 + 4, no_type) == [(Condition.QUALITY_DROPPED, "houston-tx")]
    assert look(288 + 5) == [(RECOVERED, "houston-tx")]
    assert teller.told == []


def test_the_disk_is_told_once_and_when_it_has_room_again(teller: Teller) -> None:
    assert teller.look(view(used=0.95)) == [(Condition.DISK_NEARLY_FULL, "")]
    assert "95% full: 50.0 GB are left." in teller.bodies[0]
    assert teller.look(view(used=0.95, at=NOW + EVERY)) == []
    assert teller.look(view(used=0.5, at=NOW + 2 * EVERY)) == [(RECOVERED, "")]
    assert teller.told == []


def test_deliveries_that_wait_are_told_once_and_when_they_are_landed_again(teller: Teller) -> None:
    assert teller.look(view(waited_s=600)) == []
    assert teller.look(view(waited_s=601, at=NOW + EVERY)) == [(Condition.DELIVERIES_WAIT, "")]
    assert "2 webhook deliveries wait to be landed, the oldest for 10 min." in teller.bodies[0]
    assert "dispatchlake land" in teller.bodies[0]
    assert teller.look(view(waited_s=900, at=NOW + 2 * EVERY)) == []
    assert teller.look(view(waited_s=1, at=NOW + 3 * EVERY)) == [(RECOVERED, "")]
    assert teller.told == []


KINDS = {"ok": listing, "failing": failing, "silent": silent}


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(sorted(KINDS)), st.booleans()),
                     unique_by=lambda one: one[0]),
            st.booleans(),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_no_condition_is_told_twice_within_a_day_unless_it_was_over(
    looks: list[tuple[list[tuple[str, str, bool]], bool]],
) -> None:
    told: list[Told] = []
    last: dict[tuple[str, str], datetime] = {}
    for number, (centers, is_full) in enumerate(looks):
        at = NOW + number * timedelta(hours=2)
        listings = [KINDS[kind](name, lag_s=10**4 if late else 60) for name, kind, late in centers]
        before = {(one.center_id, one.condition) for one in told}
        alerts, told = decide(view(*listings, at=at, used=0.95 if is_full else 0.5), told)
        for alert in alerts:
            if alert.what == RECOVERED:
                continue
            key = (alert.center_id, alert.what)
            assert key not in before or at - last[key] >= AGAIN_AFTER
            last[key] = at
        assert {(one.center_id, one.condition) for one in told} <= before | keys(last)
        assert len(told) == len({(one.center_id, one.resource, one.condition) for one in told})


def keys(last: dict[tuple[str, str], datetime]) -> Iterable[tuple[str, str]]:
    return set(last)
