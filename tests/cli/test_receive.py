"""`dispatchlake receive`: what it refuses to do, and that its log holds nothing of what was sent."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from dispatchlake.settings import Settings
from tests.command_line import run
from tests.webhooks.receiving import PATIENCE_S, ReceiverProcess
from tests.webhooks.test_security import LINE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "in clear. Give --certificate and --key"),
        (["--host", "203.0.113.7", "--behind-proxy", "127.0.0.1"], "cannot listen at 203.0.113.7"),
        (["--behind-proxy", "proxy"], "--behind-proxy proxy is no address"),
        (["--certificate", "absent.pem"], "belong together"),
        (["--certificate", "absent.pem", "--key", "absent.pem"], "absent.pem cannot be used: No such file"),
    ],
)
def test_a_mistake_is_a_sentence(settings: Settings, options: list[str], said: str) -> None:
    result = run("receive", "--port", "0", *options)

    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("receive", "--port", str(taken.getsockname()[1]))

    assert result.returncode == 1
    assert "Address already in use. Give another --host or --port." in result.stderr


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run("receive", "--port", "0", env={"DISPATCHLAKE_DATA_DIR": str(tmp_path / "file")})

    assert result.returncode == 1
    assert "cannot be" in result.stderr


def test_the_whole_log_holds_nothing_of_what_was_sent(settings: Settings) -> None:
    phones = [f"+1303555{number:04d}" for number in range(100, 140)]
    with ReceiverProcess(settings, "--behind-proxy", "127.0.0.1", "--max-body-mb", "1") as receiver:
        for number, phone in enumerate(phones):
            body = json.dumps({"type": "incident_metadata", "caller_phone_number": phone}).encode()
            claim = {"X-Forwarded-For": f"198.51.100.{number}", "User-Agent": phone, "X-Request-Id": phone}
            receiver.deliver(body, kind="incident-events", headers=claim)
            receiver.deliver(body * 20_000, headers=claim)
            receiver.deliver(body, token=phone, headers=claim | {"X-Forwarded-For": phone})
            receiver.deliver(body, center=phone, kind=f"cad?phone={phone}", headers=claim)
            receiver.raw(f"POST /{phone} HTTP/1.1\r\n{phone}\r\n\r\n".encode())
            with socket.create_connection((receiver.host, receiver.port), PATIENCE_S) as broken_off:
                head = f"POST /webhooks/houston-tx/cad HTTP/1.1\r\nHost: {phone}\r\n"
                head += f"Authorization: Bearer {receiver.token}\r\nContent-Length: 1000\r\n\r\n"
                broken_off.sendall(head.encode() + body)
        receiver.end(signal.SIGTERM)
        log = receiver.log

    for phone in phones:
        assert phone not in log
        assert phone[-7:] not in log
    assert receiver.token not in log
    lines = log.splitlines()
    ours = [line for line in lines if "status=" in line]
    assert len(ours) == 6 * len(phones), "one for each request"
    for line in ours:
        when, level, text = line.split(" ", 2)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", when)
        assert level == "INFO"
        assert LINE.fullmatch(text), line
    others = {line.split(" ", 2)[2].split(" at ")[0] for line in lines if line not in ours}
    assert others == {"Receiving", "Invalid HTTP request received."}
