"""The control endpoints: centers come, change and go; what was seen can be read."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from sandbox.center import Counts
from tests.sandbox.vendor import Vendor, ids
from tests.sandbox_process import SandboxProcess
from tests.waiting import wait_until

NewCenter = Callable[..., Vendor]


def test_health_names_both_origins(new_center: NewCenter) -> None:
    center = new_center()

    health = center.sandbox.call("GET", "health")

    assert health["ok"] is True
    assert health["url"] == center.sandbox.url
    assert health["foreign_url"] != health["url"]
    assert center.center_id in health["centers"]


def test_centers_are_shown_without_their_secrets(new_center: NewCenter) -> None:
    center = new_center(paging="cursor", paths={"cad_incidents": "/v2/calls"})

    shown = center.sandbox.call("GET", "centers")

    assert shown[center.center_id] == {
        "now": "2024-03-03T00:00:00Z",
        "paging": "cursor",
        "paths": {"incident_events": "/v1/incident_events", "cad_incidents": "/v2/calls"},
        "clients": {scope: client["client_id"] for scope, client in center.credentials.items()},
    }
    for client in center.credentials.values():
        assert client["client_secret"] not in json.dumps(shown)


def test_some_keys_of_a_center_can_be_changed_and_the_rest_stays(new_center: NewCenter) -> None:
    center = new_center(order="id", page_size=7)
    before = ids(center.get())

    center.patch(paging="array")

    assert set(ids(center.get())) == center.true_ids()
    center.patch(paging="link")
    assert ids(center.get()) == before, "order and page size stayed, and the token is still good"


def test_a_replaced_center_keeps_its_tokens_counts_and_faults(new_center: NewCenter) -> None:
    center = new_center()
    center.get()
    center.fault("status")
    center.sandbox.put_center(center.center_id, center.config)

    assert center.get().status_code == 503
    assert center.sandbox.counts(center.center_id)["logins_ok"] == 1


def test_a_deleted_center_is_forgotten(new_center: NewCenter) -> None:
    center = new_center()
    center.token()

    center.sandbox.call("DELETE", f"centers/{center.center_id}")

    assert center.get().status_code == 401
    assert center.log_in().json()["error"] == "invalid_client"
    assert center.center_id not in center.sandbox.call("GET", "centers")


def test_requests_are_logged_with_what_was_asked_and_answered(new_center: NewCenter) -> None:
    center = new_center(paths={"cad_incidents": "/v2/calls"})
    center.get(page=2)
    center.fault("status", status=502)
    center.get("cad_incidents")
    center.log_in()
    center.get(updated_since="2024-03-01T00:00:00+00:00")

    seen = center.sandbox.requests(center.center_id)

    assert [(one["on"], one["status"], one["fault"], one["token_generation"]) for one in seen] == [
        ("token", 200, None, None),
        ("incident_events", 200, None, 1),
        ("token", 200, None, None),
        ("cad_incidents", 502, "status", 2),
        ("token", 200, None, None),
        ("incident_events", 200, None, 1),
    ]
    assert [one["path"] for one in seen[1:4]] == ["/v1/incident_events", "/oauth/token", "/v2/calls"]
    assert seen[1]["query"] == {"page": "2"}
    assert seen[-1]["query"] == {"updated_since": "2024-03-01T00:00:00+00:00"}
    assert seen == sorted(seen, key=lambda one: one["at_s"])


def test_counts_are_by_endpoint_and_by_status_and_can_begin_anew(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("status")
    center.get()
    center.get()

    counts = center.sandbox.counts(center.center_id)
    assert counts["requests"] == {"token": 1, "incident_events": 2}
    assert counts["statuses"] == {"200": 2, "503": 1}
    assert counts["max_concurrent"] == 1

    center.sandbox.call("POST", "stats/reset")
    assert center.sandbox.counts(center.center_id) == {
        "logins_ok": 0,
        "logins_refused": 0,
        "requests": {},
        "statuses": {},
        "max_concurrent": 0,
    }
    assert center.sandbox.requests(center.center_id) == []
    assert center.get().status_code == 200, "tokens stay"


def test_requests_at_once_are_counted(new_center: NewCenter) -> None:
    center = new_center(latency_ms=500)
    url, token = httpx.URL(center.sandbox.url), center.token()
    request = f"GET /v1/incident_events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    assert url.port is not None
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((url.host, url.port), timeout=10)) for _ in range(3)
        ]
        for connection in connections:
            connection.sendall(request.encode())
        assert [connection.recv(12) for connection in connections] == [b"HTTP/1.1 200"] * 3

    assert center.sandbox.counts(center.center_id)["max_concurrent"] == 3


def test_who_waits_is_answered_when_the_latency_is_taken_away(new_center: NewCenter) -> None:
    center = new_center(latency_ms=10 * 60 * 1000)
    with ThreadPoolExecutor(1) as thread:
        login = thread.submit(center.token)
        wait_until(lambda: center.sandbox.counts(center.center_id)["requests"].get("token") == 1, "it waits")
        center.patch(latency_ms=0)

        assert login.result(10)


def test_beginning_anew_does_not_lose_what_is_being_answered() -> None:
    counts = Counts(logins_ok=4, concurrent=2, max_concurrent=9)
    counts.begin_anew()
    assert (counts.logins_ok, counts.concurrent, counts.max_concurrent) == (0, 2, 2)


def test_more_requests_a_second_than_the_limit_are_refused_without_advice(new_center: NewCenter) -> None:
    center = new_center(max_requests_per_s=2)
    center.token()

    answers = [center.get() for _ in range(8)]

    assert answers[0].status_code == 200
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(answer.content == b"" and "retry-after" not in answer.headers for answer in refused)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("GET", "centers/nobody", 405),
        ("PATCH", "centers/nobody", 404),
        ("DELETE", "centers/nobody", 404),
        ("GET", "requests/nobody", 404),
        ("GET", "tokens/nobody", 404),
        ("GET", "faults/nobody", 404),
        ("POST", "faults/nobody", 404),
        ("GET", "stats/reset", 405),
    ],
)
def test_a_control_endpoint_that_is_not_there_is_no_listing(
    sandbox: SandboxProcess, method: str, path: str, status: int
) -> None:
    with pytest.raises(ValueError, match=f"{method} {path}: {status} "):
        sandbox.call(method, path, {} if method != "GET" else None)


@pytest.mark.parametrize("body", [[1], "text", None])
def test_a_center_must_be_a_json_object(sandbox: SandboxProcess, body: Any) -> None:
    with pytest.raises(ValueError, match=r"400 .*the body must be a JSON object"):
        sandbox.call("PUT", "centers/some-center", body)
