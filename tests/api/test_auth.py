from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatchlake.api import CenterClient
from dispatchlake.api import auth as auth_module
from dispatchlake.api import login as login_module
from dispatchlake.api.auth import CenterAuth, is_same_origin
from dispatchlake.api.token_store import Token, TokenStore
from dispatchlake.clock import monotonic_s
from dispatchlake.errors import AuthRejected, Cancelled, CenterUnavailable, ContractBroken
from dispatchlake.model import DispatchCenter
from dispatchlake.stop import Stop
from tests.api.reader_process import Job, run_together, waiting_processes
from tests.api.reading import (
    EVERYTHING,
    IMPATIENT,
    INCIDENT_EVENTS,
    LISTING,
    asked,
    foreign_requests,
    ids_of,
    is_good,
    logins,
    open_client,
    read,
    truth,
)
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

PAGED: dict[str, Any] = {"page_size_cap": 100}
"""Three pages."""


def store_of(center: DispatchCenter, state_dir: Path) -> TokenStore:
    credentials = center.credentials[INCIDENT_EVENTS]
    return TokenStore(
        state_dir / "tokens",
        origin=center.base_url,
        client_id=credentials.client_id,
        scope=INCIDENT_EVENTS,
        client_secret=credentials.client_secret.get_secret_value(),
    )


def stored(center: DispatchCenter, state_dir: Path) -> Token:
    token = store_of(center, state_dir).read()
    assert token is not None
    return token


def generations(sandbox: SandboxProcess, center: DispatchCenter) -> list[int]:
    """Return which token each request for the listing carried, as the sandbox counts them."""
    return [r["token_generation"] for r in sandbox.requests(center.center_id) if r["on"] == LISTING]


# --- reuse


def test_one_login_serves_every_page_and_every_reading(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)

    with open_client(center, state_dir) as client:
        assert set(ids_of(client)) == set(ids_of(client)) == truth(sandbox, center)

    assert logins(sandbox, center) == (1, 0)
    assert set(generations(sandbox, center)) == {1}


def test_a_new_process_uses_the_token_of_the_one_before(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)
    read(center, state_dir)

    assert run_together(Job(center, state_dir), 1) == [300]
    assert logins(sandbox, center) == (1, 0)


def test_each_scope_has_a_token_of_its_own(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)

    with open_client(center, state_dir) as client:
        for name in ("incident_events", "cad_incidents", "incident_events"):
            resource = center.resource(name)
            client.fetch(resource, client.first_url(resource, EVERYTHING))

    assert logins(sandbox, center) == (2, 0)
    assert sandbox.counts(center.center_id)["statuses"] == {"200": 5}


def test_two_centers_never_share_a_token(sandbox: SandboxProcess, state_dir: Path) -> None:
    centers = [put_center(sandbox), put_center(sandbox)]

    for center in centers:
        assert set(read(center, state_dir)) == truth(sandbox, center)

    assert [logins(sandbox, center) for center in centers] == [(1, 0), (1, 0)]


def test_a_token_is_renewed_before_it_lapses(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        ids_of(client)
        real = auth_module.monotonic_s
        for later_s, expected in ((6000, 1), (6890, 1), (6901, 2)):
            monkeypatch.setattr(auth_module, "monotonic_s", lambda later_s=later_s: real() + later_s)
            ids_of(client)
            assert logins(sandbox, center) == (expected, 0)
    assert set(sandbox.counts(center.center_id)["statuses"]) == {"200"}


def move_clock(monkeypatch: pytest.MonkeyPatch, later_s: float) -> None:
    """Let a client's clock show the time that it will be in so many seconds."""
    for module in (auth_module, login_module):
        monkeypatch.setattr(module, "monotonic_s", lambda: monotonic_s() + later_s)


UNAVAILABLE: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429},
    {"kind": "reset"},
    {"kind": "slow_bytes", "bytes_per_s": 1},
]


@pytest.mark.parametrize("fault", UNAVAILABLE, ids=["503", "429", "reset", "too slow"])
def test_a_token_that_cannot_be_renewed_for_now_is_used_and_its_renewal_tried_again_after_a_pause(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    with open_client(center, state_dir) as one, open_client(center, state_dir) as other:
        ids_of(one)
        monkeypatch.setattr(login_module, "LONGEST_ANSWER_S", 1.0)
        sandbox.add_fault(center.center_id, on="token", **fault)

        tries = []
        for later_s in (6901, 6910, 6940):
            move_clock(monkeypatch, later_s)
            for client in (one, other):
                assert set(ids_of(client)) == truth(sandbox, center)
            tries.append(asked(sandbox, center, "token"))

    assert tries == [2, 2, 3], "whoever else has the token does not try again within the pause"
    assert sandbox.faults_left(center.center_id) == []
    assert len(set(generations(sandbox, center))) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_token_endpoint_asks_for_is_one_of_logins_while_a_token_is_good(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    with open_client(center, state_dir) as client:
        ids_of(client)
        sandbox.add_fault(center.center_id, "status", on="token", status=status, retry_after_s=120)

        tries = []
        for later_s in (6901, 6940, 7010, 7030):
            move_clock(monkeypatch, later_s)
            assert set(ids_of(client)) == truth(sandbox, center)
            tries.append(asked(sandbox, center, "token"))

    assert tries == [2, 2, 2, 3], "not before it asked to be asked again"


def test_a_token_that_could_not_be_renewed_is_not_used_past_its_end(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        ids_of(client)
        sandbox.add_fault(center.center_id, "status", on="token", status=503, times=99)
        move_clock(monkeypatch, 7190)
        ids_of(client)
        read_before = asked(sandbox, center)

        move_clock(monkeypatch, 7201)
        with pytest.raises(CenterUnavailable, match="the token endpoint answered 503"):
            ids_of(client)

    assert asked(sandbox, center) == read_before


def test_a_refused_renewal_ends_the_reading_though_the_token_is_good(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is refused is told of at once, and not asked for again: it may lock the account."""
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        ids_of(client)
        sandbox.add_fault(center.center_id, "status", on="token", status=401, times=99)
        move_clock(monkeypatch, 6901)

        with pytest.raises(AuthRejected):
            ids_of(client)

    assert asked(sandbox, center, "token") == 2


# --- 401


@pytest.mark.parametrize("kind", ["expire_token", "revoke_token"])
def test_a_token_refused_in_the_middle_costs_one_login_and_one_replay(
    sandbox: SandboxProcess, state_dir: Path, kind: str
) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    sandbox.add_fault(center.center_id, kind, page=2)

    found = read(center, state_dir)

    assert (len(found), set(found)) == (300, truth(sandbox, center))
    assert logins(sandbox, center) == (2, 0)
    assert asked(sandbox, center) == 4
    assert generations(sandbox, center) == [1, 1, 2, 2]


def test_a_401_without_a_reason_costs_one_login_and_one_replay(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    sandbox.add_fault(center.center_id, "status", status=401, page=2)

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert logins(sandbox, center) == (2, 0)
    assert asked(sandbox, center) == 4


def test_a_token_the_server_never_issued_is_replaced(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)
    store_of(center, state_dir).write(Token("made-up", lapses_at_s=1e12, life_s=7200))

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert logins(sandbox, center) == (1, 0)
    assert is_good(center, stored(center, state_dir).value)


def test_a_newer_token_of_another_process_is_used_instead_of_a_login(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        ids_of(client)
        sandbox.add_fault(center.center_id, "revoke_token")
        assert run_together(Job(center, state_dir), 1) == [300]
        assert logins(sandbox, center) == (2, 0)

        ids_of(client)

    assert logins(sandbox, center) == (2, 0)
    assert generations(sandbox, center)[-2:] == [1, 2]


def test_a_newer_token_that_is_refused_too_still_leaves_one_login(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        ids_of(client)
        store_of(center, state_dir).write(Token("made-up", lapses_at_s=1e12, life_s=7200))
        sandbox.add_fault(center.center_id, "revoke_token")

        assert set(ids_of(client)) == truth(sandbox, center)

    assert logins(sandbox, center) == (2, 0)


def test_a_second_401_ends_the_reading_after_one_login(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    sandbox.add_fault(center.center_id, "status", status=401, page=2, times=99)

    with pytest.raises(AuthRejected, match=r"answered 401 .* even with a fresh token") as caught:
        read(center, state_dir)

    assert caught.value.status == 401
    assert logins(sandbox, center) == (2, 0)
    assert asked(sandbox, center) == 3


def test_a_403_ends_the_reading_without_a_login(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=PAGED)
    sandbox.add_fault(center.center_id, "status", status=403, page=2, times=99)

    with pytest.raises(AuthRejected, match="these credentials do not open it") as caught:
        read(center, state_dir)

    assert caught.value.status == 403
    assert logins(sandbox, center) == (1, 0)
    assert asked(sandbox, center) == 2


def test_a_refused_login_is_not_repeated_by_the_threads_that_waited_for_it(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    """Sixteen refused logins in a row may lock the account."""
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "status", on="token", status=401, times=99)

    with open_client(center, state_dir) as client, ThreadPoolExecutor(16) as pool:
        errors = [pool.submit(ids_of, client).exception() for _ in range(16)]

    assert {type(error) for error in errors} == {AuthRejected}
    assert len({str(error) for error in errors}) == 1
    assert asked(sandbox, center, "token") == 1


# --- many at once


def test_forty_eight_threads_in_three_processes_log_in_once(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side={"latency_ms": 50})

    found = run_together(Job(center, state_dir, threads=16), 3)

    assert found == [300] * 48
    assert logins(sandbox, center) == (1, 0)
    assert sandbox.counts(center.center_id)["max_concurrent"] > 1


def test_a_token_revoked_under_three_processes_is_replaced_once(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    """Twelve readers are refused at about the same time, twice; one of them logs in for all."""
    center = put_center(sandbox, sandbox_side=PAGED | {"latency_ms": 150})
    for page in (2, 3):
        sandbox.add_fault(center.center_id, "revoke_token", page=page)

    found = run_together(Job(center, state_dir, threads=4), 3)

    assert found == [300] * 12
    assert sandbox.faults_left(center.center_id) == []
    assert logins(sandbox, center) == (3, 0)


def test_a_new_token_that_revokes_the_one_before_does_not_make_processes_fight(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side=PAGED | {"token": {"mode": "revoke_previous"}})

    found = run_together(Job(center, state_dir, threads=4), 3)

    assert found == [300] * 12
    assert logins(sandbox, center) == (1, 0)


def test_tokens_of_three_seconds_serve_a_reading_that_takes_longer(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(
        sandbox, sandbox_side={"token": {"life_s": 3}, "latency_ms": 400, "page_size_cap": 40}
    )

    found = read(center, state_dir)

    assert (len(found), set(found)) == (300, truth(sandbox, center))
    assert 2 <= logins(sandbox, center)[0] <= 3
    assert set(sandbox.counts(center.center_id)["statuses"]) == {"200"}


def test_a_live_token_given_again_in_its_last_seconds_is_used_without_a_loop(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    """Each login gives the same token with its remaining life, until a new one takes its place."""
    center = put_center(
        sandbox,
        sandbox_side={"token": {"life_s": 1, "mode": "reuse"}, "latency_ms": 100, "page_size_cap": 20},
    )

    found = read(center, state_dir)

    assert (len(found), set(found)) == (300, truth(sandbox, center))
    # Some tokens, and for each a few logins at most in the last tenth of its life.
    assert logins(sandbox, center)[0] <= 3 * len(sandbox.tokens(center.center_id))


def test_a_process_killed_while_it_logs_in_does_not_block_the_next(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side={"latency_ms": 2000})
    with waiting_processes(Job(center, state_dir), 1) as (process,):
        assert process.stdin is not None
        process.stdin.write(b"begin\n")
        process.stdin.flush()
        deadline_s = time.monotonic() + 20
        while not asked(sandbox, center, "token"):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    sandbox.patch_center(center.center_id, {"latency_ms": 0})

    assert set(read(center, state_dir)) == truth(sandbox, center)


def test_whoever_waits_too_long_for_another_login_is_told_so(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchlake.api.token_store.LOCK_WAIT_S", 0.05)
    center = put_center(sandbox)
    with (
        store_of(center, state_dir).locked(),
        ThreadPoolExecutor(1) as pool,  # a lock that this thread holds would not keep it out
        pytest.raises(CenterUnavailable, match="Another process of this machine has been logging in"),
    ):
        pool.submit(read, center, state_dir).result()

    assert asked(sandbox, center, "token") == 0


@pytest.mark.parametrize("is_held", [True, False], ids=["while another logs in", "before a login"])
def test_whoever_is_asked_to_stop_waits_for_no_token_and_logs_in_for_none(
    sandbox: SandboxProcess, state_dir: Path, is_held: bool
) -> None:
    center, stop = put_center(sandbox), Stop()
    another = store_of(center, state_dir).locked() if is_held else nullcontext()
    with (
        ThreadPoolExecutor(1) as pool,
        another,
        CenterClient(center, state_dir=state_dir, patience=IMPATIENT, sleep=stop.sleep) as client,
    ):
        if is_held:
            reading = pool.submit(ids_of, client)
            stop.ask()
        else:
            stop.ask()
            reading = pool.submit(ids_of, client)
        with pytest.raises(Cancelled):
            reading.result(timeout=10)

    assert asked(sandbox, center, "token") == 0


# --- where tokens go


class _NoLogin:
    def fetch_token(self) -> Token:
        raise AssertionError("a login for a request that may not be sent")


def guarded(origin: str, tmp_path: Path) -> CenterAuth:
    store = TokenStore(tmp_path, origin=origin, client_id="c", scope="s", client_secret="synthetic")
    store.write(Token("the-token", lapses_at_s=1e12, life_s=7200))
    login: Any = _NoLogin()
    return CenterAuth(httpx.URL(origin), center_id="center-a", store=store, login=login)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1",
        "https://center.example.evil.example/",
        "https://center.example:8443/v1",
        "http://center.example/v1",
        "https://center.example./v1",
        "https://center.example@evil.example/",
        "https://evil.example:443/",
    ],
)
def test_no_token_leaves_for_another_origin(tmp_path: Path, url: str) -> None:
    auth = guarded("https://center.example", tmp_path)

    with pytest.raises(ContractBroken, match="a token is only ever sent to the center's own origin"):
        next(auth.tokens(httpx.URL(url)))

    token, _ = next(auth.tokens(httpx.URL("https://center.example/v1")))
    assert token.value == "the-token"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://center.example", "https://center.example/v1?x=1#y"),
        ("https://center.example:443", "https://center.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://CENTER.example", "HTTPS://center.EXAMPLE/"),
        ("https://[::1]:8000", "https://[::1]:8000/v1"),
    ],
)
def test_the_same_origin_may_be_written_in_several_ways(one: str, other: str) -> None:
    assert is_same_origin(httpx.URL(one), httpx.URL(other))


def test_the_token_of_a_request_that_httpx_would_redirect_elsewhere_stays_here(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "redirect_foreign")
    seen_before = len(foreign_requests(sandbox))

    with pytest.raises(ContractBroken, match="another origin"):
        read(center, state_dir)

    assert len(foreign_requests(sandbox)) == seen_before
