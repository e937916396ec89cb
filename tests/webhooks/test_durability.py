"""What was answered with 200 is on the disk: through SIGKILL, SIGTERM, and a disk that is full."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from dispatchlake import spool as spool_module
from dispatchlake.settings import Settings
from dispatchlake.spool import Spool
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind
from tests.command_line import run_process
from tests.guarantees.disks import small_disk
from tests.waiting import wait_until
from tests.webhooks.receiving import (
    CENTER,
    PATIENCE_S,
    Client,
    ReceiverProcess,
    Receiving,
    read_to_end,
    waiting,
)


class Sender(threading.Thread):
    """Delivers one after the other until it gets no answer; remembers what it was promised."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(name=name)
        self._client = client
        self.sent: list[bytes] = []
        self.promised: dict[str, bytes] = {}

    def run(self) -> None:
        for number in range(1_000_000):
            body = json.dumps({"sender": self.name, "number": number}).encode()
            self.sent.append(body)
            try:
                answer = self._client.deliver(body)
            except (OSError, http.client.HTTPException):  # it has ended
                return
            if answer.status == 200:
                self.promised[json.loads(answer.body)["raw_id"]] = body


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_answered_with_200_is_kept_however_the_receiver_ends(
    settings: Settings, number: signal.Signals
) -> None:
    with ReceiverProcess(settings) as receiver:
        senders = [Sender(receiver, f"sender-{n}") for n in range(6)]
        for sender in senders:
            sender.start()
        wait_until(lambda: all(len(sender.promised) >= 5 for sender in senders), "they are under way")
        code = receiver.end(number)
        for sender in senders:
            sender.join(PATIENCE_S)

    kept = {d.raw_id: d.body for d in waiting(settings.spool_dir)}
    promised = {raw_id: body for sender in senders for raw_id, body in sender.promised.items()}
    assert code == -number
    assert promised.items() <= kept.items(), "nothing that was promised is lost"
    assert set(kept.values()) <= {body for sender in senders for body in sender.sent}
    if number == signal.SIGTERM:
        assert kept == promised, "and whatever was kept was answered"
        assert "Traceback" not in receiver.log


def test_a_request_under_way_is_finished_when_the_receiver_is_told_to_stop(settings: Settings) -> None:
    with ReceiverProcess(settings) as receiver:
        address = (receiver.host, receiver.port)
        with (
            socket.create_connection(address, PATIENCE_S) as busy,
            socket.create_connection(address, PATIENCE_S) as idle,
        ):
            head = (
                f"POST /webhooks/{CENTER}/cad HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {receiver.token}\r\n"
                "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            busy.sendall(head.encode())
            assert busy.recv(100).startswith(b"HTTP/1.1 100 "), "it is under way"
            receiver.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b"", "one that does nothing is ended"

            busy.sendall(b"{}")
            came = read_to_end(busy)

        code = receiver.process.wait(PATIENCE_S)

    assert came.startswith(b"HTTP/1.1 200 ")
    assert b"raw_id" in came
    assert [d.body for d in waiting(settings.spool_dir)] == [b"{}"]
    assert code == -signal.SIGTERM


def test_the_next_one_goes_on_with_the_same_spool_and_the_same_tokens(settings: Settings) -> None:
    with ReceiverProcess(settings) as first:
        assert first.deliver(b"1").status == 200
        first.end(signal.SIGKILL)
    with ReceiverProcess(settings) as second:
        second.token = first.token
        assert second.deliver(b"2").status == 200
        log = second.log

    assert [d.body for d in waiting(settings.spool_dir)] == [b"1", b"2"]
    assert "for 1 centers" in log
    assert first.token not in first.log + log


def test_a_full_disk_is_told_so_that_the_vendor_tries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        small_disk(tmp_path / "disk", 4 << 20) as disk,
        Receiving(settings=Settings(data_dir=disk.folder)) as receiving,
    ):
        assert receiving.deliver(b"before").status == 200
        ready = receiving.send("GET", "/ready")
        disk.fill(leave_bytes=64 << 10)

        answer = receiving.deliver(b"x" * (1 << 20))

        assert answer.status == 503
        assert int(answer.header("retry-after") or 0) > 0
        assert "the disk is full" in caplog.text
        disk.free()
        assert receiving.deliver(b"after").status == 200
        assert [d.body for d in receiving.waiting()] == [b"before", b"after"]

    assert ready.status == 503, "4 MB are not enough to be at ease"
    assert json.loads(ready.body) == {"status": "the disk is nearly full"}


def test_a_disk_that_nobody_may_write_is_told(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 4 << 20) as disk,
        Receiving(settings=Settings(data_dir=disk.folder)) as receiving,
    ):
        assert receiving.deliver(b"before").status == 200
        disk.fill(leave_bytes=0)

        assert receiving.deliver(b"x" * 100_000).status == 503
        ready = receiving.send("GET", "/ready")
        health = receiving.send("GET", "/health")
        disk.free()

    assert ready.status == 503
    assert health.status == 200, "to start it again would change nothing"


def test_a_spool_that_another_holds_too_long_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "BUSY_TIMEOUT_S", 0.1)
    with Receiving(settings=settings) as receiving, Spool.open(settings.spool_dir) as other:
        other._connection.execute("BEGIN IMMEDIATE")

        refused = receiving.deliver(b"refused")
        unready = receiving.send("GET", "/ready")

        other._connection.execute("ROLLBACK")
        assert receiving.deliver(b"kept").status == 200
        assert [d.body for d in receiving.waiting()] == [b"kept"]

    assert (refused.status, unready.status) == (503, 503)
    assert "another process held it for too long" in caplog.text


def test_a_spool_that_gets_damaged_is_told_without_what_is_in_it(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiving(settings=settings) as receiving:
        assert receiving.deliver(b'{"caller_phone_number": "+13035550142"}').status == 200
        with closing(sqlite3.connect(settings.spool_dir / "spool.sqlite")) as connection:
            connection.execute("ALTER TABLE deliveries RENAME TO others")

        answer = receiving.deliver(b'{"caller_phone_number": "+13035550143"}')

    assert answer.status == 503
    assert "cannot be read or written" in caplog.text
    assert "5550142" not in caplog.text + answer.body.decode()
    assert "5550143" not in caplog.text + answer.body.decode()


def test_a_damaged_spool_is_told_at_the_start(settings: Settings) -> None:
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / "spool.sqlite").write_bytes(b"damaged" * 1000)
    CredentialFile(settings.webhooks_dir).issue("a-tx", CredentialKind.BEARER)

    ended = run_process("receive", "--port", "0")

    assert ended.returncode == 1
    assert "The spool of deliveries cannot be read or written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_lake_takes_while_deliveries_come(settings: Settings) -> None:
    with ReceiverProcess(settings) as receiver, Spool.open(settings.spool_dir) as spool:
        senders = [Sender(receiver, f"sender-{n}") for n in range(3)]
        for sender in senders:
            sender.start()
        taken: dict[str, bytes] = {}
        while len(taken) < 60:
            batch = {d.raw_id: d.body for d in spool.waiting(CENTER, max_count=7, max_bytes=1 << 20)}
            spool.forget(list(batch))
            assert not batch.keys() & taken.keys()
            taken |= batch
        receiver.end(signal.SIGTERM)
        for sender in senders:
            sender.join(PATIENCE_S)
        taken |= {d.raw_id: d.body for d in waiting(settings.spool_dir)}

    assert taken == {raw_id: body for sender in senders for raw_id, body in sender.promised.items()}
