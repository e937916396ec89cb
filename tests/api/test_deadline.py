"""A center that never comes to an end: each reading of it ends all the same."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpcore
import pytest
from httpcore._backends.sync import SyncStream

from dispatchlake.api import Patience
from dispatchlake.api import login as login_module
from dispatchlake.api.deadline import Deadline, EndingBackend
from dispatchlake.errors import AuthRejected, CenterUnavailable
from dispatchlake.model import DispatchCenter, configure_center
from tests.api.reading import read
from tests.tls_server import self_signed

DEADLINE_S = 1.0
MUCH_LATER_S = 10 * DEADLINE_S
DRIPS_S = 2 * MUCH_LATER_S
"""How long a server of ours goes on if nobody leaves it."""

HASTY = Patience(timeout_s=MUCH_LATER_S, page_timeout_s=DEADLINE_S, retry_budget_s=0.05)
"""One try, and no silence that would end it: the first wait already outlasts the budget."""

TOKEN = b'{"access_token":"synthetic","expires_in":7200}'
GRANTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(TOKEN), TOKEN)

Answer = Callable[[socket.socket], None]


def drip(begin: bytes, drop: bytes = b"x") -> Answer:
    """Return what sends a beginning, and then a little of the rest again and again."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(begin)
        ends_s = time.monotonic() + DRIPS_S
        while time.monotonic() < ends_s:
            time.sleep(0.1)
            connection.sendall(drop)

    return answer


HEADERS = drip(b"HTTP/1.1 200 OK\r\nX-Long: ")


class Center:
    """Answers every request for a token with one, and for a page with another answer; or both alike."""

    def __init__(self, page: Answer, token: Answer | None) -> None:
        self._page = page
        self._token = token or (lambda connection: connection.sendall(GRANTED))
        self.origin = ""
        self.asked: list[str] = []

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # it is left in the middle
            while request := _request(connection):
                method = request.split(b" ", 1)[0].decode()
                self.asked.append(method)
                (self._page if method == "GET" else self._token)(connection)


def _request(connection: socket.socket) -> bytes:
    head, body = b"", b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65_536)
    return head


@contextmanager
def listening(serve: Answer) -> Iterator[int]:
    """Serve each connection in a thread; yield the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextmanager
def center_that(page: Answer, *, token: Answer | None = None) -> Iterator[Center]:
    center = Center(page, token)
    with listening(center.serve) as port:
        center.origin = f"http://127.0.0.1:{port}"
        yield center


def center_at(origin: str) -> DispatchCenter:
    return configure_center(
        center_id="center-a",
        name="A",
        base_url=origin,
        credentials={"incident_events": {"client_id": "client", "client_secret": "synthetic-secret"}},
    )


@contextmanager
def soon() -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < MUCH_LATER_S


@pytest.fixture
def hasty_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "LONGEST_ANSWER_S", DEADLINE_S)


# --- pages

ENDLESS = {
    "headers": HEADERS,
    "100": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103": drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_a_page_ends_with_its_deadline_whatever_of_it_has_no_end(state_dir: Path, answer: Answer) -> None:
    with (
        center_that(answer) as center,
        soon(),
        pytest.raises(CenterUnavailable, match=r"did not answer in time \(/v1/incident_events\)"),
    ):
        read(center_at(center.origin), state_dir, HASTY)

    assert center.asked == ["POST", "GET"]


def test_nobody_waits_for_the_body_of_a_401(state_dir: Path) -> None:
    answer = drip(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000000\r\n\r\n")
    with (
        center_that(answer) as center,
        soon(),
        pytest.raises(AuthRejected, match=r"answered 401 .* even with a fresh token"),
    ):
        read(center_at(center.origin), state_dir, HASTY)

    assert center.asked == ["POST", "GET", "POST", "GET"]


def test_the_body_of_a_401_is_not_unpacked(state_dir: Path) -> None:
    packed = gzip.compress(bytes(200_000_000))
    head = f"HTTP/1.1 401 Unauthorized\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    bomb = head.encode() + packed
    with center_that(lambda connection: connection.sendall(bomb)) as center:
        tracemalloc.start()
        try:
            with pytest.raises(AuthRejected, match="even with a fresh token"):
                read(center_at(center.origin), state_dir)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 20_000_000


def test_a_slow_login_takes_nothing_from_the_time_of_its_page(state_dir: Path) -> None:
    def grant_late(connection: socket.socket) -> None:
        time.sleep(1.5 * DEADLINE_S)
        connection.sendall(GRANTED)

    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
    with center_that(lambda connection: connection.sendall(page), token=grant_late) as center:
        assert read(center_at(center.origin), state_dir, HASTY) == []


@pytest.fixture
def no_name_is_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's resolver answers nobody, as long as the test lasts."""
    is_over = threading.Event()

    def look_up(*_arguments: object, **_options: object) -> list[object]:
        is_over.wait(DRIPS_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    is_over.set()


def test_the_time_in_which_a_name_is_looked_up_is_counted_too(
    state_dir: Path, hasty_login: None, no_name_is_found: None
) -> None:
    with soon(), pytest.raises(CenterUnavailable, match=r"center\.example did not answer in time"):
        read(center_at("https://center.example"), state_dir, HASTY)


def test_a_connection_that_comes_after_all_is_closed() -> None:
    """Of one that nobody waits for any more, nothing stays open."""
    ours, theirs = socket.socketpair()
    may_connect = threading.Event()

    class Late(httpcore.SyncBackend):
        def connect_tcp(self, *_arguments: Any, **_options: Any) -> httpcore.NetworkStream:
            may_connect.wait(DRIPS_S)
            return SyncStream(ours)

    deadline = Deadline()
    with deadline.within(0.1), pytest.raises(httpcore.ConnectTimeout):
        EndingBackend(Late(), deadline).connect_tcp("center.example", 443)
    may_connect.set()

    with theirs:
        theirs.settimeout(MUCH_LATER_S)
        assert theirs.recv(1) == b""


# --- logins


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_a_login_ends_with_its_deadline_whatever_of_its_answer_has_no_end(
    state_dir: Path, answer: Answer, hasty_login: None
) -> None:
    with (
        center_that(HEADERS, token=answer) as center,
        soon(),
        pytest.raises(CenterUnavailable, match=r"did not answer in time"),
    ):
        read(center_at(center.origin), state_dir, HASTY)

    assert center.asked == ["POST"]


def test_the_time_of_a_proxy_is_counted_too(
    state_dir: Path, hasty_login: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with center_that(HEADERS, token=HEADERS) as proxy, soon():
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        with pytest.raises(CenterUnavailable, match=r"center\.example did not answer in time"):
            read(center_at("https://center.example"), state_dir, HASTY)

    assert proxy.asked == ["CONNECT"]


def test_http_2_has_the_same_deadline(
    state_dir: Path, hasty_login: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    spoken: list[str | None] = []
    settings, ping = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            spoken.append(secured.selected_alpn_protocol())
            drip(settings, ping)(secured)

    with (
        listening(serve) as port,
        soon(),
        pytest.raises(CenterUnavailable, match="did not answer in time"),
    ):
        read(center_at(f"https://127.0.0.1:{port}"), state_dir, HASTY)

    assert spoken == ["h2"]
