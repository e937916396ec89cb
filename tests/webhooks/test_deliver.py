"""What is taken, and that it is kept as it came."""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from dispatchlake.spool import DeliveryKind
from tests.webhooks.receiving import CENTER, Receiving

NOTE = json.dumps({"event_type": "note_created", "id": "b4b7", "note": "caller +13035550142"}).encode()


@pytest.mark.parametrize("kind", list(DeliveryKind))
def test_a_delivery_waits_as_it_came(receiving: Receiving, kind: DeliveryKind) -> None:
    before = datetime.now(UTC)
    answer = receiving.deliver(NOTE, kind=kind, headers={"User-Agent": "Prepared/1", "X-Request-Id": "r-1"})
    after = datetime.now(UTC)

    assert answer.status == 200
    (kept,) = receiving.waiting()
    assert kept.body == NOTE
    assert (kept.center_id, kept.kind) == (CENTER, kind)
    assert json.loads(answer.body) == {"raw_id": kept.raw_id}
    assert uuid.UUID(kept.raw_id).version == 4
    assert before <= kept.received_at <= after
    assert kept.headers == {
        "content-type": "application/json",
        "user-agent": "Prepared/1",
        "x-request-id": "r-1",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"{\xff\xfe\x00",
        b'{"type": "of_tomorrow"}',
        b"[" * 10_000,
        b'{"a": 1',
        bytes(range(256)) * 40,
        b"\xef\xbb\xbf{}",
    ],
    ids=["empty", "text", "bytes", "unknown", "deep", "cut off", "all bytes", "byte order mark"],
)
def test_what_cannot_be_understood_is_kept_too(receiving: Receiving, body: bytes) -> None:
    answer = receiving.deliver(body)

    assert answer.status == 200
    assert [d.body for d in receiving.waiting()] == [body]


def test_no_secret_is_kept(receiving: Receiving) -> None:
    receiving.deliver(headers={"Cookie": "session=secret", "Proxy-Authorization": "Basic secret"})

    (kept,) = receiving.waiting()
    assert set(kept.headers) == {"content-type"}
    content = b"".join(path.read_bytes() for path in receiving.settings.spool_dir.iterdir())
    assert receiving.token.encode() not in content
    assert b"session=" not in content


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json-patch+json", 415),
        ("multipart/form-data; boundary=application/json", 415),
    ],
)
def test_the_content_type(receiving: Receiving, content_type: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {receiving.token}"}
    if content_type is not None:
        headers["Content-Type"] = content_type

    answer = receiving.send("POST", f"/webhooks/{CENTER}/cad", b"{}", headers)

    assert answer.status == status
    assert len(receiving.waiting()) == (status == 200)


def raw_deflate(content: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(content) + coder.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(NOTE)),
        ("GZip", gzip.compress(NOTE[:9]) + gzip.compress(NOTE[9:])),
        ("x-gzip", gzip.compress(NOTE)),
        ("deflate", zlib.compress(NOTE)),
        ("deflate", raw_deflate(NOTE)),
        ("identity", NOTE),
    ],
    ids=["gzip", "two members", "x-gzip", "deflate", "raw deflate", "identity"],
)
def test_what_comes_packed_is_kept_unpacked(receiving: Receiving, coding: str, packed: bytes) -> None:
    answer = receiving.deliver(packed, headers={"Content-Encoding": coding})

    assert answer.status == 200
    (kept,) = receiving.waiting()
    assert kept.body == NOTE
    assert "content-encoding" not in kept.headers


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", b"not packed at all"),
        ("gzip", gzip.compress(NOTE)[:-9]),
        ("gzip", gzip.compress(NOTE) + b"trailing"),
        ("gzip", b""),
        ("gzip", gzip.compress(b"") * 101),
        ("deflate", b"\x00\x01\x02"),
    ],
    ids=["no gzip", "cut off", "more behind it", "nothing", "too many members", "no deflate"],
)
def test_what_cannot_be_unpacked_is_kept_as_it_came(receiving: Receiving, coding: str, packed: bytes) -> None:
    """Refused, it would be sent again and again."""
    answer = receiving.deliver(packed, headers={"Content-Encoding": coding})

    assert answer.status == 200
    (kept,) = receiving.waiting()
    assert kept.body == packed
    assert kept.headers["content-encoding"] == coding


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_a_coding_that_we_do_not_know(receiving: Receiving, coding: str) -> None:
    assert receiving.deliver(headers={"Content-Encoding": coding}).status == 415
    assert receiving.waiting() == []


def test_many_at_once_are_each_kept_once(receiving: Receiving) -> None:
    bodies = [str(number).encode() for number in range(200)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(receiving.deliver, bodies))

    assert {answer.status for answer in answers} == {200}
    kept = receiving.waiting()
    assert sorted(d.body for d in kept) == sorted(bodies)
    assert {json.loads(answer.body)["raw_id"] for answer in answers} == {d.raw_id for d in kept}


def test_a_chunked_body_is_kept_whole(receiving: Receiving) -> None:
    head = (
        f"POST /webhooks/{CENTER}/cad HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {receiving.token}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )

    came = receiving.raw(head.encode(), b'5\r\n{"a":\r\n', b"3;x=y\r\n 1}\r\n", b"0\r\nTrailer: t\r\n\r\n")

    assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [d.body for d in receiving.waiting()] == [b'{"a": 1}']


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/webhooks/{CENTER}/cad", 405),
        ("PUT", f"/webhooks/{CENTER}/cad", 405),
        ("GET", "/oauth/token", 405),
        ("POST", f"/webhooks/{CENTER}/unknown", 404),
        ("POST", f"/webhooks/{CENTER}/cad/", 404),
        ("POST", f"/webhooks/{CENTER}", 404),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/health", 405),
    ],
)
def test_nothing_else_is_there(receiving: Receiving, method: str, path: str, status: int) -> None:
    answer = receiving.send(method, path, b"", {"Authorization": f"Bearer {receiving.token}"})

    assert answer.status == status
    assert receiving.waiting() == []


def test_health_and_readiness(receiving: Receiving) -> None:
    assert receiving.send("GET", "/health").status == 200
    assert receiving.send("GET", "/ready").status == 200
    assert receiving.waiting() == [], "to look keeps nothing"
