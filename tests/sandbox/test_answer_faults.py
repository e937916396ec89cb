"""Faults that come in place of an answer: refusals, pages of a proxy, redirects."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable

import httpx
import pytest

from tests.sandbox.vendor import Vendor, records

NewCenter = Callable[..., Vendor]

ON = ("token", "incident_events")


def ask(center: Vendor, on: str) -> httpx.Response:
    return center.log_in() if on == "token" else center.get()


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 502, 503, 504])
def test_a_status_is_answered_once_and_then_all_is_well(new_center: NewCenter, on: str, status: int) -> None:
    center = new_center()
    center.token()
    center.fault("status", on=on, status=status, body="<h1>no</h1>")

    answer = ask(center, on)

    assert (answer.status_code, answer.text) == (status, "<h1>no</h1>")
    assert answer.headers["content-type"].startswith("text/html")
    assert "retry-after" not in answer.headers
    assert ask(center, on).status_code == 200
    assert center.sandbox.faults_left(center.center_id) == []


def test_a_status_without_a_number_is_503(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status")
    assert center.get().status_code == 503


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "The access token is invalid"), (403, "insufficient_scope")]
)
def test_a_refused_token_says_why_with_an_empty_body(new_center: NewCenter, status: int, reason: str) -> None:
    center = new_center()
    center.fault("status", status=status)

    answer = center.get()

    assert (answer.status_code, answer.content) == (status, b"")
    assert reason in answer.headers["www-authenticate"]
    assert center.get().status_code == 200, "the token itself is still good"


def test_retry_after_may_be_seconds(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status", status=429, retry_after_s=7)
    assert center.get().headers["retry-after"] == "7"


def test_retry_after_may_be_a_date(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status", status=429, retry_after_s=3600, retry_after_form="date")

    text = center.get().headers["retry-after"]

    assert text.endswith(" GMT")
    assert abs(email.utils.parsedate_to_datetime(text).timestamp() - time.time() - 3600) < 60


@pytest.mark.parametrize("on", ON)
def test_html_may_come_with_a_good_status(new_center: NewCenter, on: str) -> None:
    center = new_center()
    center.token()
    center.fault("html_200", on=on)

    answer = ask(center, on)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("kind", ["not_json", "empty_body"])
def test_what_is_called_json_may_be_none(new_center: NewCenter, kind: str, on: str) -> None:
    center = new_center()
    center.token()
    center.fault(kind, on=on)

    answer = ask(center, on)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert bool(answer.content) == (kind == "not_json")
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(("on", "status"), [("token", 307), ("incident_events", 302)])
def test_a_redirect_may_stay_on_the_origin(new_center: NewCenter, on: str, status: int) -> None:
    center = new_center()
    center.token()
    center.fault("redirect_same", on=on)

    answer = ask(center, on)

    assert answer.status_code == status
    assert answer.headers["location"] == str(answer.url)
    assert ask(center, on).status_code == 200


def test_a_redirect_keeps_the_query(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("redirect_same")
    answer = center.get(page=2, updated_since="2024-03-01T00:00:00+00:00")
    assert answer.headers["location"] == str(answer.url)


@pytest.mark.parametrize("on", ON)
def test_a_redirect_may_leave_the_origin(new_center: NewCenter, on: str) -> None:
    center = new_center()
    center.token()
    center.fault("redirect_foreign", on=on)

    answer = ask(center, on)

    target = httpx.URL(answer.headers["location"])
    assert str(target.copy_with(path="/")) == f"{center.sandbox.foreign_url}/"
    assert target.path == answer.url.path


def test_the_foreign_origin_remembers_what_it_was_given(new_center: NewCenter) -> None:
    center = new_center()
    before = len(center.sandbox.call("GET", "foreign"))
    foreign = f"{center.sandbox.foreign_url}/v1/incident_events"

    answer = center.http.get(foreign)
    center.fetch(foreign, center.token())
    center.http.post(f"{center.sandbox.foreign_url}/oauth/token", json={"client_secret": "synthetic"})

    assert (answer.status_code, records(answer)) == (200, [])
    assert center.sandbox.call("GET", "foreign")[before:] == [
        {"method": "GET", "path": "/v1/incident_events", "has_authorization": False, "has_secret": False},
        {"method": "GET", "path": "/v1/incident_events", "has_authorization": True, "has_secret": False},
        {"method": "POST", "path": "/oauth/token", "has_authorization": False, "has_secret": True},
    ]
