"""Who is let in: only by a credential of that center. No refusal tells which centers there are."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from dispatchlake.webhooks.access import Access
from dispatchlake.webhooks.credentials import Credential, CredentialFile, CredentialKind
from dispatchlake.webhooks.sources import BURST
from dispatchlake.webhooks.tokens import LIFE_S, AccessTokens
from tests.webhooks.receiving import CENTER, Answer, Receiving

UNKNOWN = "nowhere-tx"

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def client(_running: Receiving) -> tuple[Credential, str]:
    """An OAuth client of the center, and its secret."""
    return _running.file.issue(CENTER, CredentialKind.OAUTH)


def fetch(receiving: Receiving, client_id: str, secret: str, **more: str) -> Answer:
    fields = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}
    return receiving.send("POST", "/oauth/token", urlencode(fields).encode(), FORM)


def token_of(answer: Answer) -> str:
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["access_token"])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer dlw_wrong",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer eyJ.eyJ.eyJ",
        "Basic aG91c3Rvbi10eDp4",
        "Bearer ' OR 1=1 --",
        "Bearer \xff\xfe",
    ],
)
@pytest.mark.parametrize("kind", ["cad", "incident-events"])
def test_an_unknown_center_and_a_wrong_token_are_answered_alike(
    receiving: Receiving, authorization: str | None, kind: str
) -> None:
    headers = {"Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization

    known, unknown = (
        receiving.send("POST", f"/webhooks/{center}/{kind}", b"{}", headers) for center in (CENTER, UNKNOWN)
    )

    assert known.status == 401
    assert known == unknown, "status, headers and body"
    assert receiving.waiting() == receiving.waiting(UNKNOWN) == []


def test_as_much_is_done_for_an_unknown_center_as_for_a_wrong_token(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes time is counted, since a measured time is no proof: hashes, comparisons, tokens read."""
    done: list[str] = []

    def counted(name: str, call: Any) -> Any:
        def counting(*arguments: Any) -> Any:
            done.append(name)
            return call(*arguments)

        return counting

    from dispatchlake.webhooks import access as module

    monkeypatch.setattr(module, "hash_secret", counted("hash", module.hash_secret))
    monkeypatch.setattr(module.hmac, "compare_digest", counted("compare", module.hmac.compare_digest))
    monkeypatch.setattr(AccessTokens, "client_id_of", counted("read", AccessTokens.client_id_of))
    access = Access(receiving.file, AccessTokens(receiving.file))
    work = {}
    for center in (CENTER, UNKNOWN, "", "../../etc"):
        for token in ("dlw_wrong", ""):
            done.clear()
            assert access.find_credential(center, f"Bearer {token}") is None
            work[center, token] = list(done)

    assert len({tuple(steps) for steps in work.values()}) == 1, work
    assert work[CENTER, ""].count("compare") == 2


def test_a_token_is_good_for_its_own_center_only(receiving: Receiving) -> None:
    _, of_other = receiving.file.issue("other-tx", CredentialKind.BEARER)
    try:
        assert receiving.deliver(token=of_other).status == 401
        assert receiving.deliver(center="other-tx").status == 401
        assert receiving.deliver(center="other-tx", token=of_other).status == 200
    finally:
        receiving.file.revoke("other-tx")


def test_an_oauth_client_fetches_a_token_and_delivers(
    receiving: Receiving, client: tuple[Credential, str]
) -> None:
    answer = fetch(receiving, client[0].credential_id, client[1], scope="incident_events")

    content = json.loads(answer.body)
    assert content | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": LIFE_S,
    }
    assert answer.header("cache-control") == "no-store"
    assert receiving.deliver(token=content["access_token"]).status == 200
    assert receiving.deliver(token=content["access_token"]).status == 200, "cached, as the vendor may"
    assert len(receiving.waiting()) == 2


def test_the_forms_in_which_the_vendor_may_ask(receiving: Receiving, client: tuple[Credential, str]) -> None:
    name, secret = client[0].credential_id, client[1]
    basic = {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}
    as_json = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret, "scope": "x"}
    answers = [
        receiving.send("POST", "/oauth/token", b"grant_type=client_credentials", FORM | basic),
        receiving.send(
            "POST", "/oauth/token", json.dumps(as_json).encode(), {"Content-Type": "application/json"}
        ),
    ]

    for answer in answers:
        assert receiving.deliver(token=token_of(answer)).status == 200


def test_a_client_secret_is_no_bearer_token_and_a_bearer_token_no_client_secret(
    receiving: Receiving, client: tuple[Credential, str]
) -> None:
    assert receiving.deliver(token=client[1]).status == 401
    (bearer,) = receiving.file.current().of_center(CENTER, CredentialKind.BEARER)
    assert fetch(receiving, bearer.credential_id, receiving.token).status == 401


def test_an_unknown_client_and_a_wrong_secret_are_answered_alike(
    receiving: Receiving, client: tuple[Credential, str]
) -> None:
    form, json_type = dict(FORM), {"Content-Type": "application/json"}

    def basic(text: str) -> dict[str, str]:
        return FORM | {"Authorization": "Basic " + base64.b64encode(text.encode("latin-1")).decode()}

    grant = "grant_type=client_credentials"
    answers = [
        fetch(receiving, client[0].credential_id, "wrong"),
        fetch(receiving, "nobody", "wrong"),
        fetch(receiving, "nobody", client[1]),
        fetch(receiving, "' OR 1=1 --", "' OR 1=1 --"),
        fetch(receiving, "", ""),
        receiving.send("POST", "/oauth/token", grant.encode(), form),
        receiving.send("POST", "/oauth/token", grant.encode(), basic(f"{client[0].credential_id}:wrong")),
        receiving.send("POST", "/oauth/token", grant.encode(), basic("nobody:wrong")),
        receiving.send("POST", "/oauth/token", grant.encode(), basic("nobody")),
        receiving.send("POST", "/oauth/token", grant.encode(), basic("\xff\xfe:\xff")),
        receiving.send("POST", "/oauth/token", grant.encode(), FORM | {"Authorization": "Basic ==="}),
        receiving.send(
            "POST",
            "/oauth/token",
            json.dumps(
                {"grant_type": "client_credentials", "client_id": "\ud800", "client_secret": "\ud800"}
            ).encode(),
            json_type,
        ),
    ]

    assert answers[0].status == 401
    assert [answer for answer in answers if answer != answers[0]] == []


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b"", "application/x-www-form-urlencoded", "unsupported_grant_type"),
        (
            b"grant_type=password&username=a&password=b",
            "application/x-www-form-urlencoded",
            "unsupported_grant_type",
        ),
        (b'grant_type="\r\n<b>', "application/x-www-form-urlencoded", "unsupported_grant_type"),
        (b"\xff\xfe", "application/x-www-form-urlencoded", "unsupported_grant_type"),
        (
            b"&".join(b"a=b" for _ in range(1000)),
            "application/x-www-form-urlencoded",
            "unsupported_grant_type",
        ),
        (b"{", "application/json", "unsupported_grant_type"),
        (b"[]", "application/json", "unsupported_grant_type"),
        (b"[" * 50_000, "application/json", "unsupported_grant_type"),
        (b'{"grant_type": ["client_credentials"]}', "application/json", "unsupported_grant_type"),
        (b"grant_type=client_credentials", "", "invalid_client"),
    ],
)
def test_a_request_for_a_token_that_is_none(
    receiving: Receiving, body: bytes, content_type: str, error: str
) -> None:
    answer = receiving.send("POST", "/oauth/token", body, {"Content-Type": content_type})

    assert answer.status in (400, 401)
    assert json.loads(answer.body) == {"error": error}, "and nothing of what was sent"


@pytest.fixture
def key(receiving: Receiving) -> OctKey:
    return OctKey.import_key(receiving.file.current().signing_key.get_secret_value())


def forged(key: OctKey, client_id: str, *, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    content = {"iss": "dispatchlake", "sub": client_id, "iat": now, "exp": now + 60, **claims}
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode({"alg": algorithm}, content, key, algorithms=[algorithm])


def test_tokens_that_are_not_good(receiving: Receiving, client: tuple[Credential, str], key: OctKey) -> None:
    name = client[0].credential_id
    now = int(time.time())
    assert receiving.deliver(token=forged(key, name)).status == 200, "else the following proves nothing"
    whole = forged(key, name)
    head, claims, signature = whole.split(".")
    other_claims = (
        base64.urlsafe_b64encode(json.dumps({"iss": "dispatchlake", "sub": name, "exp": now + 9999}).encode())
        .decode()
        .rstrip("=")
    )
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    bad = {
        "lapsed": forged(key, name, exp=now - 1),
        "for ever": forged(key, name, exp=None),
        "odd end": forged(key, name, exp="soon"),
        "of another issuer": forged(key, name, iss="somebody"),
        "of nobody": forged(key, "nobody"),
        "without a client": forged(key, name, sub=None),
        "of another key": forged(OctKey.import_key("k" * 43), name),
        "by another algorithm": forged(key, name, algorithm="HS512"),
        "changed": f"{head}.{other_claims}.{signature}",
        "cut": f"{head}.{claims}.{signature[:-2]}",
        "unsigned": f"{unsigned}.{claims}.",
    }

    answers = {what: receiving.deliver(token=token) for what, token in bad.items()}

    assert {what: answer.status for what, answer in answers.items()} == dict.fromkeys(bad, 401)
    assert len({answer.body for answer in answers.values()}) == 1


def test_a_token_lapses(receiving: Receiving, client: tuple[Credential, str]) -> None:
    now_s = 1_700_000_000.0
    tokens = AccessTokens(receiving.file, clock=lambda: now_s)
    token = tokens.make(client[0].credential_id)

    now_s += LIFE_S - 1
    assert tokens.client_id_of(token) == client[0].credential_id
    now_s += 1
    assert tokens.client_id_of(token) is None


def test_a_token_of_a_revoked_client_is_worth_nothing(receiving: Receiving) -> None:
    client, secret = receiving.file.issue("passing-tx", CredentialKind.OAUTH)
    token = token_of(fetch(receiving, client.credential_id, secret))
    assert receiving.deliver(center="passing-tx", token=token).status == 200

    receiving.file.revoke("passing-tx")
    again, _ = receiving.file.issue("passing-tx", CredentialKind.OAUTH)

    assert receiving.deliver(center="passing-tx", token=token).status == 401
    assert again.credential_id != client.credential_id
    receiving.file.revoke("passing-tx")


def test_a_token_of_another_center_is_refused(receiving: Receiving, client: tuple[Credential, str]) -> None:
    other, secret = receiving.file.issue("foreign-tx", CredentialKind.OAUTH)
    foreign = token_of(fetch(receiving, other.credential_id, secret))
    own = token_of(fetch(receiving, client[0].credential_id, client[1]))

    assert receiving.deliver(token=foreign).status == 401
    assert receiving.deliver(center="foreign-tx", token=own).status == 401
    assert receiving.deliver(center="foreign-tx", token=foreign).status == 200
    receiving.file.revoke("foreign-tx")


def test_a_token_outlives_the_receiver(receiving: Receiving, client: tuple[Credential, str]) -> None:
    token = token_of(fetch(receiving, client[0].credential_id, client[1]))
    begun_anew = CredentialFile(receiving.settings.webhooks_dir)

    access = Access(begun_anew, AccessTokens(begun_anew))

    assert access.find_credential(CENTER, f"Bearer {token}") == client[0].credential_id


def test_whoever_fails_too_often_is_told_to_slow_down_but_a_valid_token_is_let_in(
    receiving: Receiving,
) -> None:
    answers = [
        receiving.deliver(token="wrong", center=center) for center in (CENTER, UNKNOWN) for _ in range(BURST)
    ]

    assert {answer.status for answer in answers[:BURST]} == {401}
    assert {answer.status for answer in answers[BURST + 5 :]} == {429}, "an unknown center is no different"
    assert int(answers[-1].header("retry-after") or 0) >= 1
    assert fetch(receiving, "nobody", "wrong").status == 429
    assert receiving.deliver().status == 200
    assert [d.body for d in receiving.waiting()] == [b"{}"]
