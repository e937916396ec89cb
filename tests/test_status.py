"""Whether a listing is well, why not and what to press."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatchlake import errors
from dispatchlake.lake.standing import ListingStatus
from dispatchlake.settings import Settings
from dispatchlake.status import State, judge, measure_disk, overview
from tests.standings import LATE_AFTER_S, failing, listing, silent, silent_webhook, view, webhook


def state_of(one: ListingStatus, *, is_enabled: bool | None = True) -> State:
    return judge(one, is_enabled=is_enabled, late_after_s=LATE_AFTER_S).state


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (listing(), State.OK),
        (listing(lag_s=LATE_AFTER_S), State.OK),
        (listing(lag_s=LATE_AFTER_S + 1), State.LATE),
        (failing(), State.FAILING),
        (failing(lag_s=LATE_AFTER_S + 1), State.LATE),
        (failing(lag_s=None), State.LATE),
        (failing(error_class="AuthRejected"), State.LOGIN_FAILED),
        (failing(error_class="AuthRejected", lag_s=10**6), State.LOGIN_FAILED),
        (listing(last_error="Recovered from.", last_error_class="AuthRejected"), State.OK),
        (ListingStatus("houston-tx", "cad_incidents"), State.UNREAD),
        (silent(), State.SILENT),
        (silent(lag_s=LATE_AFTER_S + 1), State.LATE),
        (silent(days_compared=6, days_without_rows=0), State.OK),
        (silent(days_compared=20, days_without_rows=3), State.OK),
        (silent(usual_rows_meanwhile=9.5), State.OK),
        (silent(hours_without_rows=0), State.OK),
        (silent(hours_without_rows=None), State.OK),
    ],
)
def test_a_listing_is_in_the_one_state_that_matters_most(one: ListingStatus, state: State) -> None:
    assert state_of(one) is state


@pytest.mark.parametrize(("is_enabled", "state"), [(False, State.DISABLED), (None, State.UNREGISTERED)])
def test_nothing_is_asked_of_a_center_that_is_not_read(is_enabled: bool | None, state: State) -> None:
    judged = judge(failing(lag_s=10**6), is_enabled=is_enabled, late_after_s=LATE_AFTER_S)

    assert (judged.state, judged.why, judged.advice, judged.notice) == (state, "", "", "")


def test_whatever_is_not_well_says_why_and_what_to_do() -> None:
    for one in (failing(), failing(lag_s=10**4), listing(lag_s=10**4), ListingStatus("a", "b"), silent()):
        judged = judge(one, is_enabled=True, late_after_s=LATE_AFTER_S)
        assert judged.why.endswith(".")
        assert judged.advice
        assert "{" not in judged.advice


def test_every_known_error_has_advice_of_its_own() -> None:
    told = {
        name: judge(failing(error_class=name), is_enabled=True, late_after_s=LATE_AFTER_S).advice
        for name in ("AuthRejected", "CenterUnavailable", "RateLimited", "RequestRejected", "ContractBroken",
                     "LakeError", "CatalogBusy", "ConfigError")
    }  # fmt: skip
    unknown = judge(
        failing(error_class="ZeroDivisionError"), is_enabled=True, late_after_s=LATE_AFTER_S
    ).advice

    assert all(hasattr(errors, name) for name in told)
    assert unknown not in told.values()
    assert "houston-tx" in told["AuthRejected"]


def test_the_headline_counts_and_names() -> None:
    taken = view(listing("a"), failing("b", lag_s=10**4), silent("c"), used=0.95)

    assert taken.headline() == (
        "1 of 3 listings are ok. late: b cad_incidents. silent: c cad_incidents. the disk is nearly full"
    )
    assert [one.name for one in taken.bad] == ["b cad_incidents"]
    assert view().headline() == "No dispatch center is read"


def test_a_registered_center_that_never_landed_is_there(settings: Settings) -> None:
    seen = overview(settings, {("new-tx", "cad_incidents"): True, ("old-tx", "cad_incidents"): False})

    assert [(one.name, one.state) for one in seen.standings] == [
        ("new-tx cad_incidents", State.UNREAD),
        ("old-tx cad_incidents", State.DISABLED),
    ]


def test_a_disk_is_nearly_full_beyond_its_share(tmp_path: Path) -> None:
    def disk(**fields: Any) -> Any:
        return measure_disk(Settings(data_dir=tmp_path / "not" / "made", **fields))

    assert disk(disk_full_share=0).is_nearly_full
    assert not disk(disk_full_share=1).is_nearly_full
    assert 0 < disk().free_bytes < disk().total_bytes


def test_webhooks_that_fell_silent_are_in_the_headline_and_no_listings() -> None:
    taken = view(listing(), webhook(), silent_webhook("b"))

    assert taken.headline() == "1 of 1 listings are ok. nothing is delivered: b webhook:cad"
    assert taken.is_well, "that nothing comes may be true"
    assert [one.name for one in taken.subjects] == [
        "houston-tx cad_incidents", "houston-tx webhook:cad", "b webhook:cad",
    ]  # fmt: skip


def test_deliveries_that_wait_too_long_are_in_the_headline_and_not_well() -> None:
    assert view(listing(), waited_s=599).is_well
    late = view(listing(), waited_s=601)

    assert not late.is_well
    assert late.headline() == "1 of 1 listings are ok. webhook deliveries wait"


def test_an_open_zone_that_is_behind_for_too_long_is_in_the_headline_and_not_well() -> None:
    assert view(listing(), behind_s=3599).is_well
    late = view(listing(), behind_s=3601)

    assert not late.is_well
    assert late.headline() == "1 of 1 listings are ok. the open zone is late"
