"""What an attacker sends: none of it is taken for something else, and none of it is in the log."""

from __future__ import annotations

import json
import logging
import re

import pytest

from tests.waiting import wait_until
from tests.webhooks.receiving import CENTER, Receiving

LINE = re.compile(
    r"status=\d{3} kind=[a-z-]+ center=[a-z0-9-]+ credential=[a-z0-9-]+ bytes=[0-9-]+ ms=\d+ "
    r"source=[0-9a-f.:/-]+ raw_id=[0-9a-f-]+"
)

PHONE = "+13035550142"


def head(receiving: Receiving, *lines: str, path: str = f"/webhooks/{CENTER}/cad") -> bytes:
    all_lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {receiving.token}", *lines]
    return "\r\n".join([*all_lines, "", ""]).encode("latin-1")


def bodies(receiving: Receiving) -> list[bytes]:
    return [delivery.body for delivery in receiving.waiting()]


SMUGGLED = b"POST /webhooks/houston-tx/cad HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nsmuggled"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 200"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 6"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length: -1"],
        ["Content-Length: 5 5"],
        ["Content-Length: \xb2"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: \x0bchunked"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding:\r\n chunked", "Content-Length: 5"],
        ["Content-Length : 5"],
        ["X: y\nContent-Length: 5", "Content-Length: 6"],
        ["X: a\rb", "Content-Length: 5"],
        ["X\x00: y", "Content-Length: 5"],
        ["Host: y", "Content-Length: 5"],
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(
    receiving: Receiving, lines: list[str]
) -> None:
    came = receiving.raw(head(receiving, *lines) + b"0\r\n\r\n" + SMUGGLED)

    status = int(came.split(b" ")[1])
    assert status in (400, 501), came
    assert came.count(b"HTTP/1.1 ") == 1, "one answer, and the connection is over"
    assert bodies(receiving) == []


@pytest.mark.parametrize(
    ("lines", "body", "kept"),
    [
        (["X-Folded: one\r\n two", "Content-Length: 2"], b"{}", b"{}"),
        (["Transfer-Encoding:\r\n chunked"], b"2\r\n{}\r\n0\r\n\r\n", b"{}"),
        (["Content-Length: 2", "Content-Length: 2"], b"{}", b"{}"),
        (["X: y", " Transfer-Encoding: chunked", "Content-Length: 5"], b"0\r\n\r\n", b"0\r\n\r\n"),
    ],
)
def test_an_odd_but_clear_head_is_one_request(
    receiving: Receiving, lines: list[str], body: bytes, kept: bytes
) -> None:
    came = receiving.raw(head(receiving, *lines, "Connection: close") + body + SMUGGLED)

    assert came.count(b"HTTP/1.1 ") == 1
    assert bodies(receiving) in ([kept], []), "as it ends, or not at all"
    assert (b" 200 " in came) == (bodies(receiving) == [kept])


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Length: 100"], b"401"),
        (["Content-Length: 100000000"], b"413"),
        (["Content-Length: 100", "Content-Type: text/plain"], b"415"),
    ],
)
def test_a_body_that_was_not_wanted_ends_the_connection(
    receiving: Receiving, lines: list[str], status: bytes
) -> None:
    """Else what came next would be taken for the body that never came."""
    start = head(receiving, "Expect: 100-continue", *lines)
    if status == b"401":
        start = start.replace(b"Bearer dlw_", b"Bearer wrong_")

    came = receiving.raw(start)

    assert came.startswith(b"HTTP/1.1 " + status)
    assert came.count(b"HTTP/1.1 ") == 1
    assert bodies(receiving) == []


def test_a_chunk_that_is_none(receiving: Receiving) -> None:
    for chunk in (
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"ffffffffffffffffffffff\r\n",
    ):
        came = receiving.raw(head(receiving, "Transfer-Encoding: chunked") + chunk + SMUGGLED)
        assert came.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), came

    assert bodies(receiving) == []


@pytest.mark.parametrize(
    "center",
    [
        "..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "houston-tx%2f..%2fother", "houston-tx%00",
        "houston-tx%0a", "houston-tx/../houston-tx", "houston-tx;x", "houston-tx%20", "HOUSTON-TX",
        "houston%2Dtx%2F", "%68ouston-tx%FF", "' OR '1'='1", "%27%3B%20DROP%20TABLE%20deliveries%3B--",
        "%F0%9F%9A%92", "houston-tx" * 300,
    ],
)  # fmt: skip
def test_an_odd_name_of_a_center_reaches_no_other(receiving: Receiving, center: str) -> None:
    path = f"/webhooks/{center.replace(' ', '%20')}/cad"
    came = receiving.raw(head(receiving, "Content-Length: 2", "Connection: close", path=path) + b"{}")

    assert came.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 ")), came
    assert bodies(receiving) == []
    names = {path.name for path in receiving.settings.data_dir.rglob("*") if path.is_file()}
    assert names <= {
        "spool.sqlite", "spool.sqlite-wal", "spool.sqlite-shm", "spool.lock",
        "credentials.json", "credentials.lock",
    }  # fmt: skip


def test_the_same_name_written_otherwise_is_the_same_center(receiving: Receiving) -> None:
    came = receiving.raw(
        head(receiving, "Content-Length: 2", "Connection: close", path="/webhooks/houston%2Dtx/cad") + b"{}"
    )

    assert came.startswith(b"HTTP/1.1 200 ")
    assert bodies(receiving) == [b"{}"]


SQL = [
    "'; DROP TABLE deliveries; --",
    '" OR ""="',
    "1; UPDATE deliveries SET body = x'00'",
    "\\'; --",
    "?1 :a @b $c",
]


@pytest.mark.parametrize("sql", SQL)
def test_sql_in_every_field_is_text(receiving: Receiving, sql: str) -> None:
    receiving.deliver(b"first")
    body = json.dumps({"type": sql, "id": sql, sql: [sql]}).encode()
    headers = {"User-Agent": sql, "X-Request-Id": sql, "Idempotency-Key": sql, "Traceparent": sql}

    assert receiving.deliver(body, headers=headers).status == 200
    assert receiving.deliver(body, token=sql).status == 401

    first, second = receiving.waiting()
    assert (first.body, second.body) == (b"first", body)
    assert second.headers["user-agent"] == second.headers["idempotency-key"] == sql


def test_the_log_has_one_line_for_each_request_and_nothing_that_was_sent(
    receiving: Receiving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("dispatchlake").setLevel(logging.INFO)
    body = json.dumps({"caller_phone_number": PHONE, "note": "SMOKE FROM A WINDOW"}).encode()
    injected = "x\nstatus=200 center=houston-tx\x1b[31m"
    escaped = "x%0d%0astatus=200%20center=houston-tx%1b%5b31m"
    secret = "dlw_" + "s" * 43

    statuses = [
        receiving.deliver(body).status,
        receiving.deliver(body, headers={"Content-Type": f"text/{PHONE}"}).status,
        receiving.deliver(body, headers={"Content-Encoding": PHONE}).status,
        receiving.deliver(body, headers={"Content-Encoding": "gzip"}).status,
        receiving.deliver(body, token=secret, headers={"User-Agent": PHONE}).status,
        receiving.deliver(body, center=escaped, token=secret).status,
        receiving.deliver(body, center=PHONE).status,
        receiving.deliver(body, kind=escaped).status,
        receiving.deliver(body, kind=f"cad?token={secret}&phone={PHONE}").status,
        receiving.send("POST", "/oauth/token", f"client_secret={secret}&client_id={PHONE}".encode()).status,
        receiving.send("POST", f"/{secret}/{PHONE}", body).status,
        int(receiving.raw(f"POST /{PHONE} HTTP/1.1\r\nX {injected}\r\n\r\n".encode()).split()[1]),
        int(receiving.raw(f"{PHONE} / HTTP/9\r\n\r\n".encode()).split()[1]),
    ]
    ours = [record for record in caplog.records if record.name == "dispatchlake.receiver"]
    wait_until(lambda: len([r for r in caplog.records if r.name == "dispatchlake.receiver"]) >= len(statuses))

    assert [int(record.getMessage()[7:10]) for record in ours] == statuses
    assert statuses == [200, 415, 415, 200, 401, 401, 401, 404, 200, 400, 404, 400, 400]
    for record in ours:
        assert LINE.fullmatch(record.getMessage()), record.getMessage()
    everything = "\n".join(
        f"{record.getMessage()} {record.exc_text or ''} {record.args}" for record in caplog.records
    )
    for sent in (
        PHONE,
        PHONE[1:],
        "5550142",
        "SMOKE",
        secret,
        receiving.token,
        "\x1b",
        "status=200 center=houston-tx\x1b",
    ):
        assert sent not in everything


def test_an_error_of_ours_shows_nothing(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"within: {PHONE}")

    monkeypatch.setattr(receiving.receiver._access, "find_credential", fail)

    answer = receiving.deliver()

    assert answer.status == 500
    assert json.loads(answer.body) == {"error": "An error of ours; send it again."}
    assert "RuntimeError" in caplog.text
    assert PHONE not in caplog.text
    assert bodies(receiving) == []
