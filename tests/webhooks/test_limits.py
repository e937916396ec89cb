"""What one sender, or all of them together, may take: size, time, memory, connections."""

from __future__ import annotations

import contextlib
import gzip
import random
import select
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatchlake.errors import DeliveryRefused
from dispatchlake.settings import Settings
from dispatchlake.unpacking import UnpacksToTooMuch, unpack
from dispatchlake.webhooks import app, connections
from dispatchlake.webhooks.app import Limits
from dispatchlake.webhooks.credentials import CredentialKind
from dispatchlake.webhooks.room import Room
from dispatchlake.webhooks.server import Listener
from dispatchlake.webhooks.sources import BURST, EVERY_S, Failures, source_of
from tests.tls_server import self_signed
from tests.waiting import wait_until
from tests.webhooks.conftest import begun_anew
from tests.webhooks.receiving import CENTER, PATIENCE_S, Receiving, read_to_end

SMALL = 100_000


LIMITS = Limits(body_bytes=SMALL, requests=3, bodies_bytes=3 * SMALL)
"""Two requests of one center: the third is for another."""


@pytest.fixture(scope="module")
def _tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with Receiving(settings=Settings(data_dir=tmp_path_factory.mktemp("tight")), limits=LIMITS) as running:
        yield running


@pytest.fixture
def tight(_tight: Receiving) -> Receiving:
    """A receiver that takes little."""
    wait_until(lambda: _tight.receiver._room.requests.left == LIMITS.requests, "the test before has gone")
    return begun_anew(_tight)


@pytest.fixture(scope="module")
def _hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    limits = replace(LIMITS, request_s=0.2)
    with Receiving(settings=Settings(data_dir=tmp_path_factory.mktemp("hasty")), limits=limits) as running:
        yield running


@pytest.fixture
def hasty(_hasty: Receiving, monkeypatch: pytest.MonkeyPatch) -> Receiving:
    """A receiver that waits for nobody."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    return begun_anew(_hasty)


@contextlib.contextmanager
def begun(receiving: Receiving, *lines: str, token: str | None = None) -> Iterator[socket.socket]:
    """A connection on which a delivery has begun: its head is sent, and nothing of its body."""
    with socket.create_connection((receiving.host, receiving.port), PATIENCE_S) as connection:
        head = [
            f"POST /webhooks/{CENTER}/cad HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {receiving.token if token is None else token}",
            *lines,
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        yield connection


def test_the_largest_body_and_one_byte_more(tight: Receiving) -> None:
    assert tight.deliver(b"x" * SMALL).status == 200
    assert tight.deliver(b"x" * (SMALL + 1)).status == 413
    assert [len(d.body) for d in tight.waiting()] == [SMALL]


def test_a_body_that_does_not_say_how_long_it_is(tight: Receiving) -> None:
    with begun(tight, "Transfer-Encoding: chunked") as connection:
        chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        connection.sendall(chunk * 4)

        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")

    assert tight.waiting() == []


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_small_body_that_unpacks_to_a_large_one(tight: Receiving, coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    just, bomb = pack(bytes(SMALL)), pack(bytes(50_000_000))
    assert len(bomb) < SMALL

    assert tight.deliver(just, headers={"Content-Encoding": coding}).status == 200
    assert tight.deliver(bomb, headers={"Content-Encoding": coding}).status == 413
    assert [len(d.body) for d in tight.waiting()] == [SMALL]


@pytest.mark.parametrize("members", [1, 1000])
def test_a_bomb_is_not_unpacked_further_than_the_limit(members: int) -> None:
    bomb = gzip.compress(bytes(200_000_000 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(UnpacksToTooMuch):
            unpack(bomb, "gzip", most_bytes=1_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 10_000_000


def test_a_body_that_comes_too_slowly(hasty: Receiving) -> None:
    with begun(hasty, "Content-Length: 10") as connection:
        connection.sendall(b"{")

        came = read_to_end(connection)

    assert came.startswith(b"HTTP/1.1 408 ")
    assert hasty.waiting() == []


def test_a_body_that_is_broken_off(tight: Receiving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with begun(tight, "Content-Length: 10") as connection:
        connection.sendall(b"{")
    wait_until(lambda: "status=499" in caplog.text, "it has noticed")

    assert tight.waiting() == []
    assert tight.deliver().status == 200, "its place is free again"


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"POST ",
        b"POST /webhooks/houston-tx/cad HTTP/1.1\r\nHost: x\r\n",
        b"POST /webhooks/houston-tx/cad HTTP/1.1\r\nX: ",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
        b"PRI * HTTP/2.0\r\n",
    ],
)
def test_a_head_that_does_not_end(hasty: Receiving, begin: bytes) -> None:
    came = hasty.raw(begin)

    assert came == b"" or came.startswith(b"HTTP/1.1 400 ")


def test_a_head_that_drips(hasty: Receiving) -> None:
    """Each byte comes in time; all of them do not."""
    with socket.create_connection((hasty.host, hasty.port), 0.05) as connection:
        connection.sendall(b"POST /webhooks/houston-tx/cad HTTP/1.1\r\n")

        def drip() -> bool:
            try:
                connection.sendall(b"X: y\r\n")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except (ConnectionResetError, BrokenPipeError):
                return True

        wait_until(drip, "it is cut off")


def test_a_tls_handshake_that_does_not_go_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    pem = self_signed(tmp_path)
    with Receiving(settings=settings, listener=Listener(port=0, certificate=pem, key=pem)) as receiving:
        assert receiving.raw(b"") == b"", "it is cut off"
        assert receiving.raw(b"\x16\x03\x01\x02\x00\x01") == b""


def test_a_body_that_goes_on_after_the_refusal(hasty: Receiving) -> None:
    """It is neither kept in memory nor listened to for ever."""
    with begun(hasty, "Content-Length: 1000000000", token="wrong") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")

        def push() -> bool:
            try:
                connection.sendall(bytes(65536))
            except (ConnectionResetError, BrokenPipeError):
                return True
            return False

        wait_until(push, "it is cut off")


def test_one_connection_serves_many_requests(tight: Receiving) -> None:
    request = (
        f"POST /webhooks/{CENTER}/cad HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tight.token}\r\n"
        "Content-Length: 2\r\n\r\n{}"
    ).encode()
    came = b""
    with socket.create_connection((tight.host, tight.port), PATIENCE_S) as connection:
        for count, parts in [(1, [request]), (2, [request[:50], request[50:]]), (5, [request * 3])]:
            for part in parts:
                connection.sendall(part)
            while came.count(b'"}') < count:
                came += connection.recv(65536)

    assert came.count(b"HTTP/1.1 200 ") == 5
    assert len(tight.waiting()) == 5


def test_more_requests_at_once_than_there_is_room_for(tight: Receiving) -> None:
    with begun(tight, "Content-Length: 2") as one, begun(tight, "Content-Length: 2") as other:
        wait_until(lambda: tight.receiver._room.requests.left == 1, "both are under way")

        refused = tight.deliver(b"refused")

        one.sendall(b"{}")
        other.sendall(b"{}")
        assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert refused.status == 503
    assert refused.header("retry-after") == "1"
    assert tight.deliver().status == 200
    assert len(tight.waiting()) == 3


def test_slow_deliveries_of_one_center_keep_no_other_out(tight: Receiving) -> None:
    _, token = tight.file.issue("denver-co", CredentialKind.BEARER)
    room = tight.receiver._room
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(begun(tight, "Content-Length: 9")) for _ in range(LIMITS.requests)]
        for connection in slow:
            connection.sendall(b"{")
        wait_until(
            lambda: room.requests.left == 0 or select.select(slow, [], [], 0)[0],
            "all are under way, or one is refused",
        )

        assert tight.deliver(center="denver-co", token=token).status == 200
        assert tight.deliver().status == 503, "it is its own center that has to wait"

    assert len(tight.waiting("denver-co")) == 1


def test_slow_requests_for_tokens_keep_no_delivery_out(tight: Receiving) -> None:
    """Whoever makes one is not let in yet."""
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            connection = stack.enter_context(socket.create_connection((tight.host, tight.port), PATIENCE_S))
            connection.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            wait_until(lambda: len(tight.server.server_state.tasks) > 0, "it is under way")
        assert tight.deliver().status == 200

    assert len(tight.waiting()) == 1


def test_slow_requests_for_tokens_keep_no_other_source_from_one(tight: Receiving) -> None:
    form = b"grant_type=client_credentials"
    head = b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(form)
    room = tight.receiver._token_room
    before = room.requests.left
    with contextlib.ExitStack() as stack:
        for number in range(1, before // 2 + 1):
            connection = stack.enter_context(socket.create_connection((tight.host, tight.port), PATIENCE_S))
            connection.sendall(head)
            wait_until(lambda number=number: room.requests.left == before - number, "it is under way")
        assert tight.send("POST", "/oauth/token", form).status == 503, "one source has a part of the room"
        with socket.create_connection((tight.host, tight.port), PATIENCE_S, ("127.0.0.2", 0)) as other:
            other.sendall(head + form)
            assert other.recv(65536).startswith(b"HTTP/1.1 401 "), "it is looked at"

    wait_until(lambda: room.requests.left == before, "they have gone")


def test_a_request_for_a_token_that_drips_is_left(tight: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_TOKEN_BODY_S", 0.2)
    with socket.create_connection((tight.host, tight.port), PATIENCE_S) as connection:
        connection.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_many_small_packed_bodies_at_once(tight: Receiving) -> None:
    """What a body may unpack to is not held against it."""
    packed = gzip.compress(b'{"a": 1}')
    with begun(tight, "Content-Encoding: gzip", f"Content-Length: {len(packed)}") as waiting:
        waiting.sendall(packed[:5])
        assert tight.deliver(packed, headers={"Content-Encoding": "gzip"}).status == 200
        waiting.sendall(packed[5:])
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert [d.body for d in tight.waiting()] == [b'{"a": 1}'] * 2


def test_a_large_packed_body_is_unpacked_beside_the_others(receiving: Receiving) -> None:
    content = random.Random(0).randbytes(500_000) + bytes(5_000_000)

    assert receiving.deliver(gzip.compress(content), headers={"Content-Encoding": "gzip"}).status == 200

    assert [d.body for d in receiving.waiting()] == [content]


def test_memory_has_a_bound() -> None:
    room = Room(requests=10, body_bytes=100)
    with room.entered("a") as one:
        one.take(60)
        with pytest.raises(DeliveryRefused, match="Too much") as caught, room.entered("b") as other:
            other.take(41)
    with room.entered("b") as again:
        again.take(100)

    assert caught.value.status == 503
    assert (room.requests.left, room.body_bytes.left) == (10, 100)


def test_nobody_gets_more_of_the_memory_than_is_left_for_all_others() -> None:
    room = Room(requests=10, body_bytes=100)
    with room.entered("a") as one, room.entered("a") as another, room.entered("b") as other:
        one.take(30)
        another.take(20)
        with pytest.raises(DeliveryRefused, match="Too much"):
            one.take(1)
        other.take(50)

    assert room.body_bytes.left == 100


def test_a_head_that_is_too_long(receiving: Receiving) -> None:
    assert receiving.deliver(headers={"X-Filler": "x" * 8_000}).status == 200

    one_line = receiving.raw(b"POST /webhooks/" + b"a" * 100_000)
    one_header = receiving.raw(b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000)
    many = receiving.raw(b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000)

    for came in (one_line, one_header, many):
        assert came.startswith(b"HTTP/1.1 431 ") or came == b"", (
            "the rest of it may have reset the connection"
        )
    assert receiving.deliver().status == 200


def test_more_connections_than_there_is_room_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)
    with Receiving(settings=settings) as receiving, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connected(receiving, f"127.0.0.{number}")) for number in (1, 2, 3)]
        wait_until(lambda: len(receiving.server.server_state.connections) == 3, "all are there")

        assert receiving.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") == b""

        opened[0].close()
        wait_until(lambda: len(receiving.server.server_state.connections) < 3, "one is gone")
        assert receiving.deliver().status == 200


@pytest.mark.parametrize("has_certificate", [False, True], ids=["plain", "tls"])
def test_idle_connections_of_one_source_keep_no_other_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_certificate: bool
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    listener, trusting = Listener(port=0), None
    if has_certificate:
        pem = self_signed(tmp_path)
        listener = replace(listener, certificate=pem, key=pem)
        trusting = ssl.create_default_context(cafile=pem)
    with (
        Receiving(settings=settings, listener=listener, tls=trusting) as receiving,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(30):
            stack.enter_context(connected(receiving, "127.0.0.2"))

        assert receiving.deliver().status == 200


def test_a_proxy_has_all_the_connections(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind it everybody comes from its address."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    listener = Listener(port=0, proxies=("127.0.0.0/30",))
    with Receiving(settings=settings, listener=listener) as receiving, contextlib.ExitStack() as stack:
        for _ in range(19):
            stack.enter_context(connected(receiving, "127.0.0.2"))
        wait_until(lambda: len(receiving.server.server_state.connections) == 19, "all are there")

        assert receiving.deliver().status == 200


def connected(receiving: Receiving, own_address: str) -> socket.socket:
    """Return a connection from an address of this machine, on which nothing is sent."""
    return socket.create_connection((receiving.host, receiving.port), PATIENCE_S, (own_address, 0))


def test_handshakes_that_do_not_go_on_are_connections_too(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each costs a file; with none left, nobody could be answered. One source has half of them."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 80)
    pem = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=pem)
    listener = Listener(port=0, certificate=pem, key=pem)
    with (
        Receiving(settings=settings, listener=listener, tls=trusting) as receiving,
        contextlib.ExitStack() as all_,
    ):

        def half_open() -> socket.socket:
            opened = socket.create_connection((receiving.host, receiving.port), PATIENCE_S)
            all_.enter_context(opened).sendall(b"\x16\x03\x01\x02\x00\x01")
            return opened

        opened = [half_open() for _ in range(40)]
        refused = [read_to_end(half_open()) for _ in range(20)]

        assert refused == [b""] * 20, "they are ended at once, long before a handshake's time is over"
        with pytest.raises((OSError, ssl.SSLError)):
            receiving.deliver()
        for one in opened[:2]:
            one.close()
        wait_until(lambda: receives(receiving), "there is room again")
        assert receiving.deliver(b"kept").status == 200
    assert "There is no room for another connection of 127.0.0.1; it is refused." in caplog.text


def receives(receiving: Receiving) -> bool:
    try:
        return receiving.send("GET", "/health").status == 200
    except OSError:
        return False


class TestFailures:
    def test_a_burst_then_one_at_a_time(self) -> None:
        now_s = 0.0
        failures = Failures(clock=lambda: now_s)

        assert [failures.count("a") for _ in range(BURST)] == [None] * BURST
        assert failures.count("a") == EVERY_S
        now_s += EVERY_S - 1
        assert failures.count("a") == 1
        now_s += 1
        assert failures.count("a") is None
        assert failures.count("a") == EVERY_S
        assert failures.count("b") is None, "another's are its own"
        now_s += 1_000_000
        assert [failures.count("a") for _ in range(BURST + 1)][-1] == EVERY_S, (
            "no more than a burst is saved up"
        )

    def test_memory_has_a_bound(self) -> None:
        failures = Failures(clock=lambda: 0.0)

        for number in range(20_000):
            failures.count(f"10.0.{number // 256}.{number % 256}")

        assert len(failures._left) == 10_000

    @pytest.mark.parametrize(
        ("host", "source"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
            ("evil\r\nstatus=200", "-"),
            ("", "-"),
            (None, "-"),
        ],
    )
    def test_which_address_counts(self, host: str | None, source: str) -> None:
        assert source_of(host) == source
