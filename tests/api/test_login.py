from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api import login as login_module
from dispatchlake.api.deadline import Deadline
from dispatchlake.api.login import Login, parse_life_s
from dispatchlake.api.rate import RateBudget
from dispatchlake.api.retry import RetryPolicy
from dispatchlake.api.token_store import Token
from dispatchlake.errors import (
    AuthRejected,
    CenterError,
    CenterUnavailable,
    ContractBroken,
    RateLimited,
    is_transient,
)
from dispatchlake.model import Scope, configure_center
from tests.api.reading import IMPATIENT, asked, foreign_requests, logins, read, truth
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

SECRET = "synthetic & secret = 1"
BUDGET_S = 3.0


class TokenEndpoint:
    """A token endpoint behind no network: answers as told, and remembers what it was sent."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def login(endpoint: Callable[[httpx.Request], httpx.Response], state_dir: Path, **fields: Any) -> Token:
    center = configure_center(
        center_id="center-a",
        name="A",
        base_url="https://center.example",
        credentials={"incident_events": {"client_id": "client", "client_secret": SECRET}},
        **fields,
    )
    rate = RateBudget(state_dir, center.center_id, requests_per_s=1000, patience_s=BUDGET_S)
    with httpx.Client(transport=httpx.MockTransport(endpoint)) as http:
        one = Login(
            center,
            Scope.INCIDENT_EVENTS,
            http=http,
            retry=RetryPolicy(BUDGET_S, sleep=lambda _seconds: None),
            rate=rate,
            deadline=Deadline(),
        )
        return one.fetch_token()


def granted(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "abc", "token_type": "Bearer", **fields})


@pytest.mark.parametrize("body", ["json", "form"])
def test_the_body_is_written_as_configured(sandbox: SandboxProcess, state_dir: Path, body: str) -> None:
    center = put_center(sandbox, sandbox_side={"token": {"body": body}}, client_side={"token_body": body})

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert logins(sandbox, center) == (1, 0)


@pytest.mark.parametrize("body", ["json", "form"])
def test_a_request_holds_the_four_documented_fields_and_no_more(state_dir: Path, body: str) -> None:
    endpoint = TokenEndpoint(granted())

    login(endpoint, state_dir, token_body=body)

    (request,) = endpoint.requests
    content = request.content.decode()
    fields = json.loads(content) if body == "json" else dict(httpx.QueryParams(content))
    assert request.headers["content-type"] == (
        "application/json" if body == "json" else "application/x-www-form-urlencoded"
    )
    assert fields == {
        "client_id": "client",
        "client_secret": SECRET,
        "grant_type": "client_credentials",
        "scope": "incident_events",
    }
    assert request.url == "https://center.example/oauth/token"
    assert "authorization" not in request.headers


def test_a_server_that_wants_a_form_is_asked_once_and_the_advice_names_the_setting(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side={"token": {"body": "form"}})

    with pytest.raises(AuthRejected, match=r"400 .*\(invalid_request\).*token_body 'form'"):
        read(center, state_dir)

    assert asked(sandbox, center, "token") == 1


def test_a_wrong_secret_stops_after_one_request(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)
    wrong = {s: {"client_id": c.client_id, "client_secret": "wrong"} for s, c in center.credentials.items()}
    mistaken = type(center).model_validate(center.model_dump() | {"credentials": wrong})

    with pytest.raises(
        AuthRejected, match=r"answered 401 .*\(invalid_client\)\. The client id or secret is wrong"
    ):
        read(mistaken, state_dir)

    assert logins(sandbox, center) == (0, 1)
    assert asked(sandbox, center, "token") == 1


def test_credentials_of_another_scope_stop_after_one_request(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox)
    swapped = {
        Scope.INCIDENT_EVENTS: center.credentials[Scope.CAD_INCIDENTS],
        Scope.CAD_INCIDENTS: center.credentials[Scope.INCIDENT_EVENTS],
    }
    mistaken = center.model_copy(update={"credentials": swapped})

    with pytest.raises(AuthRejected, match=r"\(invalid_scope\)"):
        read(mistaken, state_dir)

    assert asked(sandbox, center, "token") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 415, 422])
def test_any_other_refusal_stops_after_one_request(
    sandbox: SandboxProcess, state_dir: Path, status: int
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "status", on="token", status=status, times=5)

    with pytest.raises(AuthRejected, match=f"answered {status} to the login for incident_events") as caught:
        read(center, state_dir)

    assert caught.value.status == status
    assert not is_transient(caught.value)
    assert asked(sandbox, center, "token") == 1


@pytest.mark.parametrize(
    "code",
    ["invalid_client", "invalid_scope", "unauthorized_client", "unsupported_grant_type", "invalid_request"],
)
def test_each_documented_reason_has_its_advice(state_dir: Path, code: str) -> None:
    endpoint = TokenEndpoint(httpx.Response(400, json={"error": code, "error_description": "from outside"}))

    with pytest.raises(AuthRejected, match=rf"\({code}\)\. [A-Z]") as caught:
        login(endpoint, state_dir)

    assert "from outside" not in str(caught.value)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":', b"[]", b'{"error": {"deep": 1}}', b'{"error": null}', b"\xff\xfe"]
)
def test_a_refusal_without_a_readable_reason_is_one_all_the_same(state_dir: Path, body: bytes) -> None:
    endpoint = TokenEndpoint(httpx.Response(401, content=body))

    with pytest.raises(AuthRejected, match="answered 401"):
        login(endpoint, state_dir)

    assert len(endpoint.requests) == 1


class _CutOff(httpx.SyncByteStream):
    def __iter__(self) -> Any:
        yield b'{"error": "inval'
        raise httpx.ReadError("cut off")


def test_a_refusal_whose_reason_is_cut_off_is_not_taken_for_a_passing_fault(state_dir: Path) -> None:
    endpoint = TokenEndpoint(httpx.Response(401, stream=_CutOff()))

    with pytest.raises(AuthRejected):
        login(endpoint, state_dir)

    assert len(endpoint.requests) == 1


PASSING: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429 with seconds": {"kind": "status", "status": 429, "retry_after_s": 1},
    "429 with a date": {
        "kind": "status",
        "status": 429,
        "retry_after_s": 1,
        "retry_after_form": "date",
    },
    "408": {"kind": "status", "status": 408},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "503": {"kind": "status", "status": 503},
    "504": {"kind": "status", "status": 504},
    "a web page": {"kind": "html_200"},
    "no JSON": {"kind": "not_json"},
    "nothing": {"kind": "empty_body"},
    "reset": {"kind": "reset"},
    "closed": {"kind": "close"},
    "truncated": {"kind": "truncated_body"},
    "a length too short": {"kind": "short_content_length"},
    "bad gzip": {"kind": "bad_gzip"},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_passing_fault_is_tried_again(
    sandbox: SandboxProcess, state_dir: Path, fault: dict[str, Any]
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, on="token", **fault)
    patient = replace(IMPATIENT, retry_budget_s=30)

    assert set(read(center, state_dir, patient)) == truth(sandbox, center)
    assert sandbox.faults_left(center.center_id) == []
    assert asked(sandbox, center, "token") == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(429), RateLimited),
        (httpx.Response(503), CenterUnavailable),
        (httpx.Response(200, html="<html>maintenance</html>"), CenterUnavailable),
        (httpx.ConnectTimeout("never"), CenterUnavailable),
        (httpx.RemoteProtocolError("broken"), CenterUnavailable),
    ],
)
def test_a_fault_that_does_not_pass_is_still_transient_when_the_budget_is_spent(
    state_dir: Path, answer: httpx.Response | Exception, kind: type[CenterError]
) -> None:
    endpoint = TokenEndpoint(answer)

    with pytest.raises(kind) as caught:
        login(endpoint, state_dir)

    assert is_transient(caught.value)
    assert caught.value.center_id == "center-a"
    assert 2 < len(endpoint.requests) < 30


@pytest.mark.parametrize("kind", ["redirect_foreign", "redirect_same"])
def test_a_redirect_is_not_followed_with_the_secret(
    sandbox: SandboxProcess, state_dir: Path, kind: str
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, kind, on="token")
    seen_before = len(foreign_requests(sandbox))

    with pytest.raises(ContractBroken, match="a redirect, which is not followed"):
        read(center, state_dir)

    assert len(foreign_requests(sandbox)) == seen_before
    assert asked(sandbox, center, "token") == 1


@pytest.mark.parametrize("form", ["number", "text", "missing", "zero"])
def test_each_way_to_state_a_life_gives_a_token_that_serves_the_whole_reading(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    center = put_center(sandbox, sandbox_side={"token": {"expires_in": form}, "page_size_cap": 100})

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert logins(sandbox, center) == (1, 0)


@pytest.mark.parametrize(
    ("expires_in", "life_s"),
    [
        (7200, 7200),
        (7200.5, 7200.5),
        ("7200", 7200),
        (" 7200 ", 7200),
        (1, 1),
        (0, math.inf),
        (-5, math.inf),
        ("-5", math.inf),
        ("", math.inf),
        ("soon", math.inf),
        ("nan", math.inf),
        ("inf", math.inf),
        ("1e999", math.inf),
        (10**400, math.inf),
        (None, math.inf),
        (True, math.inf),
        ([7200], math.inf),
        ({"s": 7200}, math.inf),
    ],
)
def test_a_life_that_cannot_be_planned_with_is_unlimited(expires_in: object, life_s: float) -> None:
    assert parse_life_s(expires_in) == life_s


@given(st.one_of(st.integers(), st.floats(), st.text(), st.none(), st.booleans(), st.lists(st.integers())))
def test_whatever_is_stated_a_life_is_above_zero(expires_in: object) -> None:
    assert parse_life_s(expires_in) > 0


def test_a_life_counts_from_before_the_request(state_dir: Path) -> None:
    before_s = login_module.monotonic_s()

    token = login(TokenEndpoint(granted(expires_in=7200)), state_dir)

    assert before_s + 7200 <= token.lapses_at_s <= login_module.monotonic_s() + 7200
    assert token.life_s == 7200


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "   "},
        {"access_token": "two words"},
        {"access_token": "abc\r\nX-Injected: 1"},
        {"access_token": "abc\n"},
        {"access_token": "caf\u00e9"},
        {"access_token": 12345},
        {"access_token": ["abc"]},
        {"access_token": {"token": "abc"}},
        {"access_token": True},
        {"token": "abc"},
        ["abc"],
        "abc",
        None,
    ],
)
def test_an_answer_without_a_usable_token_breaks_the_contract(state_dir: Path, content: Any) -> None:
    """And is never sent as the text "None"."""
    endpoint = TokenEndpoint(httpx.Response(200, content=json.dumps(content)))

    with pytest.raises(ContractBroken, match="without a usable access_token") as caught:
        login(endpoint, state_dir)

    assert "None" not in str(caught.value)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", "", None])
def test_a_bearer_token_is_known_by_its_type_or_by_none(state_dir: Path, token_type: str | None) -> None:
    assert login(TokenEndpoint(granted(token_type=token_type)), state_dir).value == "abc"


def test_a_token_of_another_type_breaks_the_contract(state_dir: Path) -> None:
    with pytest.raises(ContractBroken, match="not a bearer token"):
        login(TokenEndpoint(granted(token_type="mac")), state_dir)


def test_unknown_fields_beside_the_token_change_nothing(state_dir: Path) -> None:
    token = login(TokenEndpoint(granted(scope="incident_events", created_at=1, extra={"a": [1]})), state_dir)

    assert token.value == "abc"


class _Endless(httpx.SyncByteStream):
    def __iter__(self) -> Any:
        while True:
            yield b" " * 65_536


def test_an_answer_without_end_breaks_the_contract(state_dir: Path) -> None:
    endpoint = TokenEndpoint(httpx.Response(200, stream=_Endless()))

    with pytest.raises(ContractBroken, match="the answer of the token endpoint is longer than 1 MiB"):
        login(endpoint, state_dir)

    assert len(endpoint.requests) == 1


def test_a_pause_that_the_token_endpoint_asks_for_is_kept_by_every_request_to_the_center(
    state_dir: Path,
) -> None:
    endpoint = TokenEndpoint(httpx.Response(429, headers={"Retry-After": "600"}), granted())

    with pytest.raises(RateLimited, match="answered 429") as caught:
        login(endpoint, state_dir)
    with pytest.raises(RateLimited, match="no request may be sent for"):
        login(endpoint, state_dir)

    assert caught.value.retry_after_s == 600
    assert len(endpoint.requests) == 1


def test_a_configured_token_path_is_used(state_dir: Path) -> None:
    endpoint = TokenEndpoint(granted())

    login(endpoint, state_dir, token_path="/v2/token")

    assert endpoint.requests[0].url == "https://center.example/v2/token"
