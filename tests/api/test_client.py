from __future__ import annotations

import gzip
import logging
import os
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatchlake.api import Patience
from dispatchlake.api import client as client_module
from dispatchlake.api.answers import refusal, transport_error
from dispatchlake.api.rate import RateBudget
from dispatchlake.errors import (
    AuthRejected,
    CenterError,
    CenterUnavailable,
    ConfigError,
    ContractBroken,
    RateLimited,
    RequestRejected,
    is_transient,
)
from dispatchlake.model import DispatchCenter, configure_center
from dispatchlake.windows import Window
from tests.api.reading import EVERYTHING, IMPATIENT, LISTING, asked, ids_of, logins, open_client, read, truth
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.tls_server import tls_server

THREE_PAGES: dict[str, Any] = {"page_size_cap": 100}

BRIEF = Patience(timeout_s=1, page_timeout_s=1, retry_budget_s=0.05)
"""One try: the first wait already outlasts the budget."""


def center_at(base_url: str, **fields: Any) -> DispatchCenter:
    """Return a center that is not the sandbox's."""
    return configure_center(
        center_id="center-a",
        name="A",
        base_url=base_url,
        credentials={"incident_events": {"client_id": "client", "client_secret": "synthetic-secret"}},
        **fields,
    )


# --- faults

PASSING: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429 with seconds": {"kind": "status", "status": 429, "retry_after_s": 1},
    "429 with a date": {"kind": "status", "status": 429, "retry_after_s": 1, "retry_after_form": "date"},
    "408": {"kind": "status", "status": 408},
    "500": {"kind": "status", "status": 500, "body": "<html>oops</html>"},
    "502": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "503 with seconds": {"kind": "status", "status": 503, "retry_after_s": 1},
    "504": {"kind": "status", "status": 504},
    "a web page": {"kind": "html_200"},
    "no JSON": {"kind": "not_json"},
    "nothing": {"kind": "empty_body"},
    "reset": {"kind": "reset"},
    "closed": {"kind": "close"},
    "truncated": {"kind": "truncated_body"},
    "a length too short": {"kind": "short_content_length"},
    "bad gzip": {"kind": "bad_gzip"},
    "slow": {"kind": "slow_bytes", "bytes_per_s": 100},
    "lapsed token": {"kind": "expire_token"},
    "revoked token": {"kind": "revoke_token"},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_one_more_request_and_no_record(
    sandbox: SandboxProcess, state_dir: Path, fault: dict[str, Any]
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, page=2, **fault)

    found = read(center, state_dir, replace(IMPATIENT, page_timeout_s=1))

    assert set(found) == truth(sandbox, center)
    assert len(found) == 300
    assert sandbox.faults_left(center.center_id) == []
    assert asked(sandbox, center) == 4


def test_every_passing_fault_one_after_the_other(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side={"page_size_cap": 30})
    kinds = ["reset", "html_200", "truncated_body", "not_json", "close", "bad_gzip", "empty_body"]
    for page, kind in enumerate(kinds, 2):
        sandbox.add_fault(center.center_id, kind, page=page)

    found = read(center, state_dir)

    assert (len(found), set(found)) == (300, truth(sandbox, center))
    assert asked(sandbox, center) == 10 + len(kinds)


@pytest.mark.parametrize(
    "drift", ["unknown_fields", "missing_optional", "wrong_types", "nan", "invalid_utf8"]
)
def test_records_that_stray_from_what_was_agreed_are_still_a_page(
    sandbox: SandboxProcess, state_dir: Path, drift: str
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES | {"drift": [drift]})

    with open_client(center, state_dir) as client:
        pages = list(client.iter_pages(center.resource("cad_incidents"), EVERYTHING))

    assert sum(len(page.records) for page in pages) == 300


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 422, 451])
def test_a_refused_request_is_not_sent_again(sandbox: SandboxProcess, state_dir: Path, status: int) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, "status", status=status, page=2, times=9)

    with pytest.raises(RequestRejected, match=f"answered {status} to {LISTING} ") as caught:
        read(center, state_dir)

    assert caught.value.status == status
    assert caught.value.center_id == center.center_id
    assert asked(sandbox, center) == 2


SENTENCES = {
    401: (
        AuthRejected,
        ", even with a fresh token. Ask the vendor whether these credentials are still good.",
    ),
    403: (
        AuthRejected,
        ": these credentials do not open it. Compare their scope with what the vendor issued.",
    ),
    404: (
        RequestRejected,
        ": there is no such listing. Set the resource's path in the center's configuration.",
    ),
    400: (
        RequestRejected,
        ": it does not take the request as we send it. `dispatchlake check center-a` says more.",
    ),
    422: (
        RequestRejected,
        ": it does not take the request as we send it. `dispatchlake check center-a` says more.",
    ),
    408: (CenterUnavailable, "."),
    425: (CenterUnavailable, "."),
    429: (RateLimited, ": too many requests."),
    500: (CenterUnavailable, "."),
    501: (RequestRejected, ": it does not know how."),
    503: (CenterUnavailable, "."),
    599: (CenterUnavailable, "."),
    204: (ContractBroken, ", which the contract does not allow."),
    206: (ContractBroken, ", which the contract does not allow."),
    304: (ContractBroken, ", which the contract does not allow."),
}


@pytest.mark.parametrize(("status", "expected"), SENTENCES.items(), ids=map(str, SENTENCES))
def test_each_status_has_its_kind_and_its_sentence(
    status: int, expected: tuple[type[CenterError], str]
) -> None:
    kind, rest = expected
    response = httpx.Response(status, headers={"Retry-After": "7"}, text="not to be quoted")

    error = refusal(response, center_id="center-a", what="incident_events (GET /v1/incident_events)")

    assert type(error) is kind
    assert str(error) == (
        f"center-a: the center answered {status} to incident_events (GET /v1/incident_events){rest}"
    )
    assert error is not None
    assert (error.center_id, error.status, error.retry_after_s) == ("center-a", status, 7)


def test_a_200_is_no_refusal() -> None:
    assert refusal(httpx.Response(200), center_id="center-a", what="it") is None


def test_a_fault_that_stays_is_transient_when_the_budget_is_spent(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, "status", status=503, page=2, times=1000)

    with pytest.raises(CenterUnavailable, match="answered 503") as caught:
        read(center, state_dir, replace(IMPATIENT, retry_budget_s=0.5))

    assert is_transient(caught.value)
    assert 3 <= asked(sandbox, center) < 30


def test_a_pause_beyond_the_budget_is_an_error_at_once_and_kept_by_other_clients(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, "status", status=429, page=2, retry_after_s=86_400)

    with pytest.raises(RateLimited, match="too many requests") as caught:
        read(center, state_dir)
    with pytest.raises(RateLimited, match="no request may be sent for 3600 s"):
        read(center, state_dir)

    assert caught.value.retry_after_s == 86_400
    assert asked(sandbox, center) == 2


def test_no_request_is_sent_while_a_pause_lasts(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)
    sandbox.add_fault(center.center_id, "status", status=429, page=1, retry_after_s=1)
    pauses: list[tuple[float, float]] = []

    def pause(rate: RateBudget, seconds: float, pause: Callable[..., None] = RateBudget.pause) -> None:
        began_s = time.monotonic()
        pause(rate, seconds)
        pauses.append((time.monotonic(), began_s + seconds))

    monkeypatch.setattr(RateBudget, "pause", pause)

    with open_client(center, state_dir) as client, ThreadPoolExecutor(4) as pool:
        found = [pool.submit(ids_of, client) for _ in range(4)]
        assert [len(one.result()) for one in found] == [300] * 4

    seen = [r for r in sandbox.requests(center.center_id) if r["on"] == LISTING]
    assert [r["status"] for r in seen].count(429) == len(pauses) == 1
    assert len(seen) == 13
    # Each of the other three may have one on its way when the pause is known to all; then nothing comes.
    (known_s, ends_s), *_ = pauses
    assert sum(1 for r in seen if known_s < r["at_s"] < ends_s - 0.001) <= 3


def test_a_centers_own_limit_is_kept_by_the_budget(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(
        sandbox,
        sandbox_side={"page_size_cap": 15, "max_requests_per_s": 30},
        client_side={"max_requests_per_s": 12},
    )

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert set(sandbox.counts(center.center_id)["statuses"]) == {"200"}


# --- time and size


def test_a_silent_server_is_left_after_the_timeout(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)
    read(center, state_dir)
    sandbox.patch_center(center.center_id, {"latency_ms": 3000})

    with pytest.raises(CenterUnavailable, match=r"did not answer in time \(/v1/incident_events\)"):
        read(center, state_dir, Patience(timeout_s=0.1, page_timeout_s=5, retry_budget_s=0.005))


def test_a_page_that_drips_is_left_although_it_is_never_silent(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "slow_bytes", bytes_per_s=200)

    with pytest.raises(CenterUnavailable, match=r"did not answer in time \(/v1/incident_events\)"):
        read(center, state_dir, Patience(timeout_s=5, page_timeout_s=0.3, retry_budget_s=0.005))


def test_a_page_without_end_does_not_fill_the_memory(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 10_000)
    center = put_center(sandbox)

    with pytest.raises(ContractBroken, match=r"a page of .* is longer than .* MiB\. .*paging\.page_size"):
        read(center, state_dir)

    assert asked(sandbox, center) == 1


def test_the_size_of_a_compressed_page_counts_unpacked(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        (page,) = client.iter_pages(center.resource(LISTING), EVERYTHING)
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", len(page.body) - 1)

    with pytest.raises(ContractBroken, match="is longer than"):
        read(center, state_dir)


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip, gzip, gzip", "br", "zstd", "x"])
def test_what_is_packed_as_it_was_not_asked_for_is_not_unpacked(state_dir: Path, coding: str) -> None:
    packed = gzip.compress(gzip.compress(bytes(10_000_000)))
    with (
        one_answer_server(answer_of(packed, f"Content-Encoding: {coding}")) as url,
        pytest.raises(
            ContractBroken, match="came packed in a way that was not asked for; `gzip, deflate` was"
        ),
    ):
        read(center_at(url), state_dir)


def test_a_page_is_unpacked_no_further_than_it_may_be_long(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1_000_000)
    packed = gzip.compress(bytes(200_000_000))
    with one_answer_server(answer_of(packed, "Content-Encoding: gzip")) as url:
        tracemalloc.start()
        try:
            with pytest.raises(ContractBroken, match="is longer than"):
                read(center_at(url), state_dir)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 20_000_000


# --- bodies


@contextmanager
def one_answer_server(answer: bytes) -> Iterator[str]:
    """Serve a token, then the same answer for ever, written to the socket as it is."""
    token = b'{"access_token":"synthetic","expires_in":7200}'
    granted = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(token), token)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65_536)
                connection.sendall(granted if request.startswith(b"POST") else answer)
                if request.startswith(b"POST") and b"\r\n\r\n{" not in request:
                    connection.recv(65_536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def answer_of(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": [], "b": []}', "an object with 2 arrays; set records_key"),
        (b'{"message": "hello"}', "an object with 0 arrays; set records_key"),
        (b'{"errors": ["not allowed"]}', "only array is named 'errors'"),
        (b'"text"', "a JSON string"),
        (b"null", "a JSON null"),
        (b"12", "a JSON number"),
    ],
)
def test_a_body_without_a_list_of_records_breaks_the_contract(state_dir: Path, body: bytes, why: str) -> None:
    with (
        one_answer_server(answer_of(body)) as url,
        pytest.raises(ContractBroken, match=rf"the answer to GET /v1/incident_events is no page .*{why}"),
    ):
        read(center_at(url), state_dir, BRIEF)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,2", b"\xff\xfe", b"<!doctype html><p>Sign in", b"  <html>", b"OK"]
)
def test_a_body_that_is_no_json_may_come_right_later(state_dir: Path, body: bytes) -> None:
    with one_answer_server(answer_of(body)) as url, pytest.raises(CenterUnavailable) as caught:
        read(center_at(url), state_dir, BRIEF)

    assert "Sign in" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "application/xhtml+xml; x=html"])
def test_a_web_page_is_known_by_its_content_type(state_dir: Path, kind: str) -> None:
    with (
        one_answer_server(answer_of(b"[]", f"Content-Type: {kind}")) as url,
        pytest.raises(CenterUnavailable, match="is a web page; the center may be under maintenance"),
    ):
        read(center_at(url), state_dir, BRIEF)


@pytest.mark.parametrize(
    "location", ["http://[::1/x", "http://127.0.0.1:99999999/", "/x\\y", "http://a..b/" + "x" * 70_000]
)
def test_a_redirect_to_no_url_breaks_the_contract(state_dir: Path, location: str) -> None:
    answer = answer_of(b"", f"Location: {location}", status="302 Found")

    with one_answer_server(answer) as url, pytest.raises(CenterError) as caught:
        read(center_at(url), state_dir, BRIEF)

    assert type(caught.value) in {ContractBroken, CenterUnavailable}
    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_whatever_is_sent_instead_of_http_is_one_of_our_errors(state_dir: Path, answer: bytes) -> None:
    with one_answer_server(answer) as url, pytest.raises(CenterError):
        read(center_at(url), state_dir, BRIEF)


# --- networks


def test_a_certificate_nobody_vouches_for_is_a_matter_for_a_person(
    tmp_path: Path, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dispatchlake")
    with tls_server(tmp_path) as url, pytest.raises(ConfigError) as caught:
        read(center_at(url), state_dir)

    host = url.removeprefix("https://")
    assert f"center-a: no secure connection to {host}: self-signed certificate" in str(caught.value)
    assert "SSL_CERT_FILE" in str(caught.value)
    assert "Trying again" not in caplog.text


def test_a_certificate_named_in_the_environment_is_trusted(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This server knows no POST, which only shows once the connection stands."""
    with tls_server(tmp_path) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "self-signed.pem"))
        with pytest.raises(CenterUnavailable, match="the token endpoint answered 501"):
            read(center_at(url), state_dir, BRIEF)


def test_clients_made_at_once_read_the_certificates_once(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "named by no other test.pem")
    readings = []

    def slowly() -> ssl.SSLContext:
        readings.append(1)
        time.sleep(0.05)  # long enough for all the others to come by
        return ssl.create_default_context()

    monkeypatch.setattr(client_module.httpx, "create_ssl_context", slowly)
    center = center_at("https://center.example")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: open_client(center, state_dir).close(), range(8)))

    assert len(readings) == 1


def test_certificates_that_cannot_be_read_are_named_by_their_variable(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE .* cannot be read: No such file"):
        open_client(center_at("https://center.example"), state_dir)

    (tmp_path / "none.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE .* cannot be read"):
        open_client(center_at("https://center.example"), state_dir)


def test_a_plain_server_behind_a_secure_url_is_a_matter_for_a_person(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    url = sandbox.url.replace("http://", "https://")

    with pytest.raises(ConfigError, match=r"no secure connection to 127\.0\.0\.1"):
        read(center_at(url), state_dir)


@pytest.mark.parametrize(
    ("wrapped", "kind"),
    [
        (httpx.ConnectError("x"), CenterUnavailable),
        (httpx.ConnectTimeout("x"), CenterUnavailable),
        (httpx.ReadTimeout("x"), CenterUnavailable),
        (httpx.PoolTimeout("x"), CenterUnavailable),
        (httpx.ReadError("x"), CenterUnavailable),
        (httpx.ProxyError("x"), CenterUnavailable),
        (httpx.DecodingError("x"), CenterUnavailable),
        (httpx.RemoteProtocolError("x"), CenterUnavailable),
        (httpx.UnsupportedProtocol("x"), CenterUnavailable),
    ],
)
def test_a_failure_below_http_names_the_host(wrapped: httpx.HTTPError, kind: type[CenterError]) -> None:
    error = transport_error(wrapped, center_id="center-a", host="center.example:8443", path="/v1/x")

    assert type(error) is kind
    assert "center.example:8443" in str(error)


def caused(error: httpx.HTTPError, cause: Exception) -> httpx.HTTPError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (caused(httpx.ConnectError("x"), ssl.SSLCertVerificationError("bad")), ConfigError),
        (caused(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x")), ConfigError),
        (caused(httpx.ConnectError("x"), ssl.SSLEOFError(8, "EOF occurred")), CenterUnavailable),
        (caused(httpx.ReadError("x"), ssl.SSLEOFError(8, "EOF occurred")), CenterUnavailable),
        (caused(httpx.ReadError("x"), ssl.SSLError(1, "bad record mac")), CenterUnavailable),
    ],
)
def test_only_a_secure_connection_that_cannot_be_made_is_a_matter_for_a_person(
    error: httpx.HTTPError, kind: type[Exception]
) -> None:
    """One that is cut off on the way is a passing fault like any other."""
    assert type(transport_error(error, center_id="center-a", host="center.example", path="/")) is kind


def test_a_server_that_is_down_is_unavailable(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(CenterUnavailable, match=f"center-a: 127.0.0.1:{port} cannot be reached"):
        read(center_at(f"http://127.0.0.1:{port}"), state_dir, BRIEF)


def test_a_host_that_does_not_exist_is_unavailable_and_its_query_is_not_shown(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(CenterUnavailable, match=r"center\.invalid cannot be reached") as caught:
        read(center_at("https://center.invalid"), state_dir, BRIEF)

    assert "per_page" not in str(caught.value)
    assert "synthetic-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["https://a..b.example", f"https://{'a' * 64}.example", "https://host:99999", "https://a b.c"]
)
def test_a_host_that_cannot_exist_is_a_matter_for_a_person(state_dir: Path, base_url: str) -> None:
    with pytest.raises(ConfigError, match="center-a"):
        read(center_at(base_url), state_dir, BRIEF)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, sandbox.foreign_url)
    center = put_center(sandbox)

    assert set(read(center, state_dir)) == truth(sandbox, center)


@pytest.mark.parametrize(
    "proxy", ["nonsense://user:hidden@proxy.example", "socks5://user:hidden@proxy.example"]
)
def test_a_proxy_that_cannot_be_used_is_a_matter_for_a_person(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        open_client(center_at("https://center.example"), state_dir)

    assert "hidden" not in str(caught.value)


# --- use


def test_a_scope_without_credentials_is_a_matter_for_a_person(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, client_side={"credentials": {}})

    with pytest.raises(ConfigError, match="has no credentials for the scope incident_events"):
        read(center, state_dir)

    assert logins(sandbox, center) == (0, 0)


def test_bounds_are_sent_only_where_a_filter_is_configured(sandbox: SandboxProcess, state_dir: Path) -> None:
    window = Window(
        datetime(2024, 3, 1, 12, tzinfo=timezone(timedelta(hours=-6))), datetime(2024, 3, 2, tzinfo=UTC)
    )
    plain = put_center(sandbox)
    filtering = put_center(
        sandbox, override={"since_param": "updated_since", "until_param": "updated_before"}
    )

    queries = []
    for center in (plain, filtering):
        with open_client(center, state_dir) as client:
            list(client.iter_pages(center.resource(LISTING), window))
        queries.append(sandbox.requests(center.center_id)[-1]["query"])

    assert queries == [
        {"per_page": "500"},
        {
            "per_page": "500",
            "updated_since": "2024-03-01T18:00:00Z",
            "updated_before": "2024-03-02T00:00:00Z",
        },
    ]


def test_a_filter_stays_on_every_page(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(
        sandbox,
        sandbox_side={"page_size_cap": 30, "paging": "pagy"},
        override={"since_param": "updated_since"},
    )
    since = datetime(2024, 3, 1, 18, tzinfo=UTC)

    with open_client(center, state_dir) as client:
        pages = list(client.iter_pages(center.resource(LISTING), Window(since, EVERYTHING.end)))

    changed = {
        record["id"]
        for record in sandbox.truth(center.center_id, LISTING)["current"]
        if datetime.fromisoformat(record["updated_at"]) >= since
    }
    assert {record["id"] for page in pages for record in page.records} == changed
    assert {page.query["updated_since"] for page in pages} == {"2024-03-01T18:00:00Z"}
    assert len(pages) > 1


def test_parameters_named_like_a_secret_are_not_kept_with_a_page(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put_center(sandbox, override={"since_param": "token"})

    with open_client(center, state_dir) as client:
        window = Window(datetime(2024, 1, 1, tzinfo=UTC), EVERYTHING.end)
        (page,) = client.iter_pages(center.resource(LISTING), window)

    assert page.query == {"per_page": "500"}


def test_threads_may_share_a_client(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox, sandbox_side=THREE_PAGES)

    with open_client(center, state_dir) as client, ThreadPoolExecutor(8) as pool:
        found = [one.result() for one in [pool.submit(ids_of, client) for _ in range(16)]]

    assert {len(ids) for ids in found} == {300}
    assert logins(sandbox, center) == (1, 0)
    assert asked(sandbox, center) == 48


def test_a_client_names_itself_and_asks_for_json(state_dir: Path) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"access_token": "x"} if request.method == "POST" else [])

    with open_client(center_at("https://center.example"), state_dir) as client:
        client._http.close()
        client._http = httpx.Client(transport=httpx.MockTransport(answer), headers=dict(client._http.headers))
        assert ids_of(client) == []

    for request in requests:
        assert request.headers["user-agent"].startswith("dispatchlake/")
        assert request.headers["accept"] == "application/json"
    assert "cookie" not in requests[-1].headers


def test_nothing_but_tokens_and_rates_is_left_on_the_disk(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put_center(sandbox)

    read(center, state_dir)

    left = sorted(path.relative_to(state_dir).parts[0] + path.suffix for path in state_dir.rglob("*.*"))
    assert left == ["rates.rate", "tokens.lock", "tokens.token"]
    assert os.access(state_dir, os.W_OK)


@pytest.mark.parametrize(
    ("date", "is_told"),
    [
        ("Fri, 01 Mar 2024 00:00:00 GMT", True),
        ("Sun, 31 Dec 2023 23:59:59 GMT", False),
        ("Thu, 01 Jan 1970 00:00:05 GMT", False),
        ("soon", False),
    ],
)
def test_a_center_whose_clock_was_never_set_does_not_say_when_it_answered(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch, date: str, is_told: bool
) -> None:
    """By such a clock all is of the future, and each run would read everything."""
    center = put_center(sandbox)
    with open_client(center, state_dir) as client:
        received = client_module.read_body

        def read_and_date(response: httpx.Response, *arguments: Any, **options: Any) -> bytes:
            response.headers["date"] = date
            return received(response, *arguments, **options)

        monkeypatch.setattr(client_module, "read_body", read_and_date)
        (page, *_) = client.iter_pages(center.resource(LISTING), EVERYTHING)

    assert page.answered_at == (datetime(2024, 3, 1, tzinfo=UTC) if is_told else None)
