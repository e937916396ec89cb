"""Who may read what: the answers before any record is listed."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.sandbox.vendor import Vendor, ids

NewCenter = Callable[..., Vendor]


def assert_refused(answer: httpx.Response, status: int, reason: str) -> None:
    assert answer.status_code == status
    assert answer.content == b""
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert reason in answer.headers["www-authenticate"]


def test_a_token_nobody_issued_is_invalid(new_center: NewCenter) -> None:
    center = new_center()
    assert_refused(center.fetch(center.url(), "made-up"), 401, "The access token is invalid")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}])
def test_a_request_without_a_bearer_token_is_refused(new_center: NewCenter, headers: dict[str, str]) -> None:
    center = new_center()
    assert_refused(center.http.get(center.url(), headers=headers), 401, 'error="invalid_token"')


def test_bearer_may_be_written_small(new_center: NewCenter) -> None:
    center = new_center()
    answer = center.http.get(center.url(), headers={"Authorization": f"bearer {center.token()}"})
    assert answer.status_code == 200


def test_an_expired_token_is_refused_with_that_reason(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("expire_token")
    assert_refused(center.get(), 401, "The access token expired")
    assert_refused(center.get(), 401, "The access token expired")


def test_a_revoked_token_is_refused_with_that_reason(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("revoke_token")
    assert_refused(center.get(), 401, "The access token was revoked")
    assert_refused(center.get(), 401, "The access token was revoked")


def test_a_forgotten_token_is_invalid(new_center: NewCenter) -> None:
    center = new_center()
    center.token()
    center.sandbox.call("DELETE", f"centers/{center.center_id}")
    center.sandbox.put_center(center.center_id, center.config)
    assert_refused(center.get(), 401, "The access token is invalid")


def test_a_login_after_a_refusal_opens_the_listing_again(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("revoke_token")
    assert center.get().status_code == 401
    assert center.fetch(center.url(), center.log_in().json()["access_token"]).status_code == 200


def test_a_token_of_the_other_scope_is_forbidden(new_center: NewCenter) -> None:
    center = new_center()
    assert_refused(
        center.fetch(center.url("cad_incidents"), center.token("incident_events")), 403, "insufficient_scope"
    )


@pytest.mark.parametrize("kind", ["slow_bytes", "duplicate_rows", "nan", "repeated_page"])
def test_a_fault_of_the_answer_does_not_open_a_listing(new_center: NewCenter, kind: str) -> None:
    center = new_center(token={"mode": "revoke_previous"})
    old = center.token()
    center.log_in()
    center.fault(kind)

    assert_refused(center.fetch(center.url(), old), 401, "The access token was revoked")


def test_a_path_that_is_no_listing_is_not_found(new_center: NewCenter) -> None:
    center = new_center()
    answer = center.fetch(f"{center.sandbox.url}/v1/everything", center.token())
    assert (answer.status_code, answer.json()) == (404, {"status": 404, "error": "Not Found"})


def test_a_listing_may_have_another_path(new_center: NewCenter) -> None:
    center = new_center(paths={"cad_incidents": "/v3/cad/list"})

    listed = center.get("cad_incidents")
    usual = center.fetch(f"{center.sandbox.url}/v1/cad_incidents", center.token("cad_incidents"))

    assert str(listed.url).endswith("/v3/cad/list")
    assert len(ids(listed)) == 10
    assert usual.status_code == 404
    assert center.get("incident_events").status_code == 200
    assert set(center.listed("cad_incidents")) == center.true_ids("cad_incidents"), "links have the path too"
