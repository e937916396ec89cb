"""Behind a reverse proxy: nginx as our page says, and whose word about who asks is taken."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatchlake.settings import Settings
from dispatchlake.webhooks.server import Listener
from dispatchlake.webhooks.sources import BURST
from tests.tls_server import self_signed
from tests.waiting import wait_until
from tests.webhooks.receiving import CENTER, PATIENCE_S, Client, Receiving

CONFIGURATION = Path(__file__).parents[2] / "docs" / "nginx" / "dispatchlake-webhooks.conf"

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

AROUND = """
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/webhooks.conf;
}}
"""


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    """A receiver that is told of a proxy on this machine."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("behind"))
    with Receiving(settings=settings, listener=Listener(port=0, proxies=["127.0.0.1"])) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(behind: Receiving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """nginx in front of it, configured as our page says."""
    if NGINX is None:
        pytest.skip("nginx is not installed here")
    folder = tmp_path_factory.mktemp("nginx")
    pem = self_signed(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = CONFIGURATION.read_text()
    for documented, here in [
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/dispatchlake/tls/fullchain.pem", str(pem)),
        ("/etc/dispatchlake/tls/privkey.pem", str(pem)),
        ("http://127.0.0.1:4211", f"http://127.0.0.1:{behind.port}"),
    ]:
        assert documented in text
        text = text.replace(documented, here)
    (folder / "webhooks.conf").write_text(text)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        tls = ssl.create_default_context(cafile=pem)
        # Not the proxy's own address: what comes from there is the proxy's word.
        client = Client(port, behind.token, tls, own_address="127.0.0.2")
        try:
            wait_until(lambda: answers(port) or process.poll() is not None, "nginx is up")
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield client
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


def sources(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [r.getMessage() for r in caplog.records if r.name == "dispatchlake.receiver"]
    return [message.split("source=")[1].split(" ")[0] for message in messages]


def test_deliveries_through_nginx(behind: Receiving, nginx: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    large = bytes(5_000_000)

    assert nginx.deliver(b'{"through": "nginx"}').status == 200
    assert nginx.deliver(large).status == 200
    assert nginx.deliver(token="wrong").status == 401
    assert nginx.deliver(bytes((16 << 20) + 1)).status == 413
    assert nginx.send("GET", "/health").status == 404, "for this machine alone"

    assert [d.body for d in behind.waiting()][-2:] == [b'{"through": "nginx"}', large]
    assert sources(caplog)[:3] == ["127.0.0.2"] * 3


def test_a_client_cannot_claim_to_be_another(nginx: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    for claim in ("203.0.113.9", "127.0.0.1", "x\tstatus=200", "203.0.113.9, 127.0.0.1"):
        nginx.deliver(token="wrong", headers={"X-Forwarded-For": claim})

    assert sources(caplog) == ["127.0.0.2"] * 4


def test_whoever_is_slowed_down_is_the_source_and_not_the_proxy(nginx: Client) -> None:
    other = Client(nginx.port, nginx.token, nginx.tls, own_address="127.0.0.3")

    statuses = [other.deliver(token="wrong").status for _ in range(BURST + 5)]

    assert statuses[0] == 401
    assert statuses[-1] == 429
    third = Client(nginx.port, nginx.token, nginx.tls, own_address="127.0.0.4")
    assert third.deliver(token="wrong").status == 401, "another's failures are not its own"
    assert other.deliver().status == 200, "a valid token is let in from there too"


def test_an_ambiguous_request_does_not_come_through(behind: Receiving, nginx: Client) -> None:
    before = len(behind.waiting())
    request = (
        f"POST /webhooks/{CENTER}/cad HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {nginx.token}\r\n"
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        f"POST /webhooks/{CENTER}/cad HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    assert nginx.tls is not None
    with (
        socket.create_connection((nginx.host, nginx.port), PATIENCE_S) as connection,
        nginx.tls.wrap_socket(connection, server_hostname=nginx.host) as secure,
    ):
        secure.sendall(request.encode())
        came = b""
        while part := secure.recv(65536):
            came += part

    assert came.startswith(b"HTTP/1.1 400 ")
    assert came.count(b"HTTP/1.1 ") == 1
    assert len(behind.waiting()) == before


def test_what_a_client_says_of_itself_counts_only_where_a_proxy_is_named(
    receiving: Receiving, behind: Receiving, caplog: pytest.LogCaptureFixture
) -> None:
    claim = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}

    receiving.deliver(headers=claim)
    behind.deliver(headers=claim)
    behind.deliver()
    behind.deliver(headers={"X-Forwarded-For": "x\tstatus=200"})
    Client(behind.port, behind.token, own_address="127.0.0.2").deliver(headers=claim)

    assert sources(caplog) == ["127.0.0.1", "203.0.113.9", "127.0.0.1", "-", "127.0.0.2"]
