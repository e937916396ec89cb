"""Which request a fault is for: the endpoint, the page, how many times, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.vendor import Vendor

NewCenter = Callable[..., Vendor]


def played(center: Vendor) -> list[tuple[str, str | None]]:
    """Return which request met which fault, in order."""
    return [(seen["on"], seen["fault"]) for seen in center.sandbox.requests(center.center_id)]


def ask_for_all(center: Vendor) -> dict[str, int]:
    """Log in and ask for both listings; return the statuses."""
    return {
        "token": center.log_in().status_code,
        "incident_events": center.get("incident_events").status_code,
        "cad_incidents": center.get("cad_incidents").status_code,
    }


@pytest.mark.parametrize(
    ("on", "met"),
    [
        ("token", {"token"}),
        ("incident_events", {"incident_events"}),
        ("cad_incidents", {"cad_incidents"}),
        ("lists", {"incident_events", "cad_incidents"}),
        ("any", {"token", "incident_events", "cad_incidents"}),
    ],
)
def test_a_fault_meets_the_requests_it_is_on(new_center: NewCenter, on: str, met: set[str]) -> None:
    center = new_center()
    center.token("incident_events"), center.token("cad_incidents")
    center.fault("status", on=on, times=9)

    statuses = ask_for_all(center)

    assert {name for name, status in statuses.items() if status == 503} == met


def test_a_fault_is_for_the_listings_unless_it_says_otherwise(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status")
    assert center.log_in().status_code == 200
    assert center.get().status_code == 503


def test_a_fault_happens_as_many_times_as_it_says(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status", times=3)

    left = []
    statuses = []
    for _ in range(5):
        statuses.append(center.get().status_code)
        left.append([fault["times"] for fault in center.sandbox.faults_left(center.center_id)])

    assert statuses == [503, 503, 503, 200, 200]
    assert left == [[2], [1], [], [], []]


@pytest.mark.parametrize(
    ("form", "second"),
    [
        ("link", {"page": 2}),
        ("pagy", {"page": 2}),
        ("page_ignored", {"page": 2}),
        ("offset", {"offset": 10}),
        ("offset", {"offset": 9}),
        ("offset", {"offset": 3, "limit": 3}),
    ],
)
def test_a_fault_of_a_page_waits_for_that_page(
    new_center: NewCenter, form: str, second: dict[str, int]
) -> None:
    center = new_center(paging=form)
    center.fault("status", page=2)

    assert center.get().status_code == 200
    assert center.get(**second).status_code == 503
    assert center.get(**second).status_code == 200


def test_a_fault_of_a_page_waits_for_its_cursor(new_center: NewCenter) -> None:
    center = new_center(paging="cursor")
    cursor = center.get().json()["next_cursor"]
    center.fault("status", page=2)

    assert center.get().status_code == 200
    assert center.get(cursor=cursor).status_code == 503


def test_a_parameter_of_another_form_does_not_count_as_a_page(new_center: NewCenter) -> None:
    center = new_center(paging="link")
    center.fault("status", page=2)
    assert center.get(offset=10, cursor="anything").status_code == 200


def test_faults_of_one_request_happen_one_after_the_other(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status", status=500)
    center.fault("html_200")
    center.fault("duplicate_rows")
    for _ in range(4):
        center.get()

    assert played(center) == [
        ("token", None),
        ("incident_events", "status"),
        ("incident_events", "html_200"),
        ("incident_events", "duplicate_rows"),
        ("incident_events", None),
    ]


def test_a_fault_of_listings_passes_logins_by(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("duplicate_rows", on="any")
    center.get()
    assert played(center) == [("token", None), ("incident_events", "duplicate_rows")]


@pytest.mark.parametrize("kind", ["expire_token", "revoke_token"])
def test_a_token_may_be_spoiled_in_the_middle_of_a_reading(new_center: NewCenter, kind: str) -> None:
    center = new_center()
    center.fault(kind, page=2)

    assert [center.get(page=page).status_code for page in (1, 2, 3)] == [200, 401, 401]
    fresh = center.log_in().json()["access_token"]
    assert center.fetch(center.url().copy_set_param("page", 2), fresh).status_code == 200


def test_a_login_may_spoil_every_token_before_it(new_center: NewCenter) -> None:
    center = new_center()
    old = center.token()
    center.fault("revoke_token", on="token")
    fresh = center.log_in().json()["access_token"]

    assert center.fetch(center.url(), old).status_code == 401
    assert center.fetch(center.url(), fresh).status_code == 200


def test_a_fault_meets_its_own_center_alone(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()
    one.fault("status", on="any")
    assert other.get().status_code == 200
    assert one.log_in().status_code == 503


def test_faults_that_are_left_can_be_dropped(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status", times=5)
    center.sandbox.call("DELETE", f"faults/{center.center_id}")
    assert center.sandbox.faults_left(center.center_id) == []
    assert center.get().status_code == 200


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"kind": "explode"}, "kind: Input should be 'status', 'html_200', "),
        ({"kind": "status", "status": 200}, "status: Input should be greater than or equal to 400"),
        ({"kind": "status", "tmies": 2}, "tmies: there is no such key"),
        ({"kind": "status", "times": 0}, "times: Input should be greater than or equal to 1"),
        ({"kind": "nan", "on": "token"}, "a nan fault is of a listing, so it cannot be on: token"),
        ({"kind": "reset", "on": "token", "page": 2}, "a page is of a listing, so it cannot be on: token"),
        ({}, "kind: Field required"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_a_sentence(
    new_center: NewCenter, fault: dict[str, Any], sentence: str
) -> None:
    center = new_center()
    with pytest.raises(ValueError, match="400") as refused:
        center.sandbox.call("POST", f"faults/{center.center_id}", fault)
    assert f'{{"error":"{sentence}' in str(refused.value)
    assert center.sandbox.faults_left(center.center_id) == []
