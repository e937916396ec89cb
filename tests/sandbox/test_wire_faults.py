"""Answers that break on the wire, seen byte by byte."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable

import httpx
import pytest

from tests.sandbox.vendor import Vendor, inline, raw_request

NewCenter = Callable[..., Vendor]

ONE = inline(
    {"id": "a", "created_at": "2024-03-01T00:00:00Z", "updated_at": "2024-03-01T00:00:00Z", "note": "x" * 60}
)


def split(received: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the status line, the headers and the bytes of the body."""
    head, separator, body = received.partition(b"\r\n\r\n")
    assert separator
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def test_a_body_may_stop_half_way(new_center: NewCenter) -> None:
    center = new_center()
    whole = center.get().content
    center.fault("truncated_body")

    received, is_reset = center.raw()

    status, headers, body = split(received)
    assert status == "HTTP/1.1 200 OK"
    assert not is_reset
    assert int(headers["content-length"]) == len(whole)
    assert body == whole[: len(whole) // 2]


def test_a_length_may_be_shorter_than_the_body(new_center: NewCenter) -> None:
    center = new_center()
    whole = center.get().content
    center.fault("short_content_length")

    _status, headers, body = split(center.raw()[0])

    assert int(headers["content-length"]) == len(whole) // 2
    assert body == whole


def test_a_connection_may_be_reset(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("reset")
    assert center.raw() == (b"", True)


def test_a_connection_may_be_closed_without_a_byte(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("close")
    assert center.raw() == (b"", False)


def test_a_body_may_be_called_gzip_and_be_none(new_center: NewCenter) -> None:
    center = new_center()
    whole = center.get().content
    center.fault("bad_gzip")

    _status, headers, body = split(center.raw()[0])

    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(body)
    assert body == whole
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(body)


def test_a_body_may_come_slowly_and_whole(new_center: NewCenter) -> None:
    center = new_center(dataset=ONE)
    whole = center.get().content
    center.fault("slow_bytes", bytes_per_s=len(whole) * 3)
    began_s = time.monotonic()

    _status, headers, body = split(center.raw()[0])

    assert time.monotonic() - began_s > 0.3
    assert int(headers["content-length"]) == len(whole)
    assert body == whole


def test_a_slow_page_still_names_the_next(new_center: NewCenter) -> None:
    center = new_center()
    link = center.get().headers["link"]
    center.fault("slow_bytes", bytes_per_s=1_000_000)

    _status, headers, body = split(center.raw()[0])

    assert headers["link"].replace("//sandbox/", "//") == link.replace(center.url().netloc.decode() + "/", "")
    assert len(json.loads(body)) == 10


def test_a_large_slow_body_is_not_cut(new_center: NewCenter) -> None:
    records = [
        {"id": str(n), "created_at": "2024-03-01T00:00:00Z", "updated_at": "2024-03-01T00:00:00Z",
         "note": "x" * 100_000}
        for n in range(12)
    ]  # fmt: skip
    center = new_center(dataset=inline(*records), paging="array")
    center.fault("slow_bytes", bytes_per_s=50_000_000)

    _status, _headers, body = split(center.raw()[0])

    assert len(json.loads(body)) == 12


@pytest.mark.parametrize("kind", ["reset", "close", "truncated_body", "short_content_length", "bad_gzip"])
def test_the_next_request_is_answered_well(new_center: NewCenter, kind: str) -> None:
    center = new_center()
    center.fault(kind)
    with pytest.raises((httpx.TransportError, httpx.DecodingError, json.JSONDecodeError)):
        center.get().json()
    assert len(center.get().json()) == 10


def test_a_login_may_break_too(new_center: NewCenter) -> None:
    center = new_center()
    body = json.dumps({"grant_type": "client_credentials", **center.credentials["incident_events"]})
    center.fault("truncated_body", on="token")

    received, _is_reset = raw_request(
        center.sandbox.url,
        "POST /oauth/token HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}",
    )

    status, headers, cut = split(received)
    assert status == "HTTP/1.1 200 OK"
    assert cut.startswith(b'{"access_token":')
    assert len(cut) < int(headers["content-length"])


def test_a_refusal_that_breaks_keeps_its_status(new_center: NewCenter) -> None:
    center = new_center()
    center.fault("revoke_token")
    center.get()
    center.fault("slow_bytes")

    status, headers, body = split(center.raw()[0])

    assert status == "HTTP/1.1 401 Unauthorized"
    assert "The access token was revoked" in headers["www-authenticate"]
    assert body == b""
