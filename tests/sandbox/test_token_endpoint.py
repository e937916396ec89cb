"""Logging in: what the token endpoint takes, what it refuses, and how long its tokens live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.vendor import Vendor

NewCenter = Callable[..., Vendor]


@pytest.mark.parametrize("is_form", [False, True], ids=["json", "form"])
def test_a_login_gives_a_bearer_token_for_the_scope(new_center: NewCenter, *, is_form: bool) -> None:
    answer = new_center().log_in("cad_incidents", is_form=is_form)

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert set(body) == {"access_token", "token_type", "expires_in", "scope", "created_at"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 7200, "cad_incidents")
    assert abs(body["created_at"] - time.time()) < 60
    assert body["access_token"].count(".") == 2, "it looks like a JWT"


def test_a_login_may_leave_the_scope_out(new_center: NewCenter) -> None:
    assert new_center().log_in("cad_incidents", scope=None).json()["scope"] == "cad_incidents"


@pytest.mark.parametrize(
    ("rule", "is_form", "status"),
    [("json", False, 200), ("json", True, 400), ("form", True, 200), ("form", False, 400)],
)
def test_a_body_rule_refuses_the_other_form(
    new_center: NewCenter, rule: str, status: int, *, is_form: bool
) -> None:
    answer = new_center(token={"body": rule}).log_in(is_form=is_form)

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"client_secret": "not it"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"scope": "everything"}, 400, "invalid_scope"),
        ({"scope": "cad_incidents"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
    ],
)
@pytest.mark.parametrize("is_form", [False, True], ids=["json", "form"])
def test_a_refusal_is_json_with_its_oauth_code(
    new_center: NewCenter, changed: dict[str, Any], status: int, code: str, *, is_form: bool
) -> None:
    center = new_center()
    answer = center.log_in(is_form=is_form, **changed)

    assert answer.status_code == status
    assert answer.json()["error"] == code
    assert answer.json()["error_description"]
    assert center.sandbox.tokens(center.center_id) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"client_id": 5}', b"\xff\xfe"])
def test_a_body_that_says_nothing_is_an_unknown_client(new_center: NewCenter, body: bytes) -> None:
    center = new_center()
    answer = center.http.post(
        f"{center.sandbox.url}/oauth/token", content=body, headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_token_of_one_center_opens_that_center_alone(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()

    assert {r["id"] for r in one.get().json()}.isdisjoint({r["id"] for r in other.get().json()})


def test_a_life_may_be_stated_as_a_number(new_center: NewCenter) -> None:
    assert new_center(token={"life_s": 90}).log_in().json()["expires_in"] == 90


def test_a_life_may_be_stated_as_text(new_center: NewCenter) -> None:
    answer = new_center(token={"life_s": 90, "expires_in": "text"}).log_in()
    assert answer.json()["expires_in"] == "90"


def test_a_life_may_be_left_out(new_center: NewCenter) -> None:
    answer = new_center(token={"expires_in": "missing"}).log_in()
    assert answer.status_code == 200
    assert "expires_in" not in answer.json()


def test_a_life_may_be_stated_as_zero_and_the_token_is_good(new_center: NewCenter) -> None:
    center = new_center(token={"expires_in": "zero"})
    assert center.log_in().json()["expires_in"] == 0
    assert center.get().status_code == 200


def test_a_token_lapses_with_its_life(new_center: NewCenter) -> None:
    center = new_center(token={"life_s": 0.2})
    center.token()
    time.sleep(0.25)

    answer = center.get()

    assert answer.status_code == 401
    assert "The access token expired" in answer.headers["www-authenticate"]


def test_every_login_gives_another_token_and_the_earlier_ones_stay_good(new_center: NewCenter) -> None:
    center = new_center()
    first, second = (center.log_in().json()["access_token"] for _ in range(2))

    assert first != second
    assert [center.fetch(center.url(), token).status_code for token in (first, second)] == [200, 200]
    assert center.sandbox.tokens(center.center_id) == [first, second]


def test_a_reused_token_comes_with_its_remaining_life(new_center: NewCenter) -> None:
    center = new_center(token={"mode": "reuse", "life_s": 60})
    first = center.log_in().json()
    time.sleep(1.05)
    second = center.log_in().json()

    assert second["access_token"] == first["access_token"]
    assert first["expires_in"] == 60
    assert second["expires_in"] < 60


def test_a_token_is_reused_for_its_own_scope_only(new_center: NewCenter) -> None:
    center = new_center(token={"mode": "reuse"})
    assert center.token("incident_events") != center.token("cad_incidents")


def test_a_revoked_token_is_not_reused(new_center: NewCenter) -> None:
    center = new_center(token={"mode": "reuse"})
    first = center.token()
    center.fault("revoke_token")
    center.get()

    assert center.log_in().json()["access_token"] != first


def test_a_login_may_revoke_the_token_before_it(new_center: NewCenter) -> None:
    center = new_center(token={"mode": "revoke_previous"})
    first, second = (center.log_in().json()["access_token"] for _ in range(2))
    other_scope = center.token("cad_incidents")

    refused = center.fetch(center.url(), first)

    assert refused.status_code == 401
    assert "The access token was revoked" in refused.headers["www-authenticate"]
    assert center.fetch(center.url(), second).status_code == 200
    assert center.fetch(center.url("cad_incidents"), other_scope).status_code == 200


def test_logins_are_counted_by_center(new_center: NewCenter) -> None:
    one, other = new_center(), new_center()
    one.log_in()
    one.log_in("cad_incidents")
    one.log_in(client_secret="not it")

    counts = one.sandbox.counts(one.center_id)

    assert (counts["logins_ok"], counts["logins_refused"]) == (2, 1)
    assert counts["requests"] == {"token": 3}
    assert counts["statuses"] == {"200": 2, "401": 1}
    assert other.sandbox.counts(other.center_id)["logins_ok"] == 0
