"""Where the receiver may listen: in clear only where nobody else hears it."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings
from dispatchlake.webhooks.server import Listener
from tests.tls_server import self_signed
from tests.webhooks.receiving import Client, Receiving


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_in_clear_on_this_machine(host: str) -> None:
    Listener(host=host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7", "", "example.org"])
def test_in_clear_anywhere_else_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"in clear\. Give --certificate and --key; or, .* --behind-proxy"):
        Listener(host=host).check()


def test_elsewhere_with_a_certificate_or_behind_a_proxy(tmp_path: Path) -> None:
    pem = self_signed(tmp_path)

    Listener(host="0.0.0.0", certificate=pem, key=pem).check()
    Listener(host="0.0.0.0", proxies=["10.0.0.5", "10.1.0.0/24", "2001:db8::/64"]).check()


def test_what_is_no_proxy() -> None:
    with pytest.raises(ConfigError, match=r"--behind-proxy proxy.example.org is no address"):
        Listener(proxies=["proxy.example.org"]).check()


@pytest.mark.parametrize("given", ["certificate", "key"])
def test_a_certificate_and_its_key_belong_together(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigError, match="belong together"):
        Listener(**{given: tmp_path / "x.pem"}).check()  # type: ignore[arg-type]


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    pem, other = self_signed(tmp_path), self_signed(tmp_path / "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(pem.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a password"),
        )
    )

    for certificate, private in [
        (tmp_path / "absent.pem", pem),
        (pem, tmp_path / "absent.pem"),
        (nonsense, pem),
        (pem, nonsense),
        (pem, other),
        (pem, locked),
    ]:
        with pytest.raises(ConfigError, match=r"cannot be used: .* PEM files, the key without a password"):
            Listener(certificate=certificate, key=private).check()


def test_a_port_that_is_taken_and_an_address_that_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"cannot listen at 127.0.0.1, port {port}: Address already in use"
        ):
            Listener(port=port).bind()
    with pytest.raises(ConfigError, match=r"cannot listen at 203.0.113.7"):
        Listener(host="203.0.113.7", port=0).bind()
    with pytest.raises(ConfigError, match=r"cannot listen at no.such.host.invalid"):
        Listener(host="no.such.host.invalid", port=0).bind()


def test_answers_are_sent_at_once() -> None:
    """asyncio looks at the protocol's number; without it each answer would wait for an acknowledgement."""
    with Listener(port=0).bind() as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_over_ipv6(settings: Settings) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        receiving = Receiving(settings=settings, listener=Listener(host="::1", port=0))
    except ConfigError:
        pytest.skip("no IPv6 here")
    with receiving:
        receiving.host, receiving.own_address = "::1", "::1"
        assert receiving.deliver().status == 200


def served(receiving: Receiving) -> bytes:
    """Return the certificate that a handshake which begins now is made with."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((receiving.host, receiving.port)))


def test_a_renewed_certificate_is_used_from_the_next_handshake_on(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pem, other = self_signed(tmp_path), self_signed(subfolder(tmp_path, "other"))
    old, new = (ssl.create_default_context(cafile=path) for path in (pem, other))

    with Receiving(settings=settings, listener=Listener(port=0, certificate=pem, key=pem)) as receiving:
        receiving.tls = old
        lasting = http.client.HTTPSConnection("127.0.0.1", receiving.port, context=old)
        lasting.request("GET", "/health")
        lasting.getresponse().read()
        other.replace(pem)  # as those who renew certificates do

        receiving.tls = new
        assert receiving.deliver().status == 200
        receiving.tls = old
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            receiving.deliver()
        lasting.request("GET", "/health")
        assert lasting.getresponse().status == 200, "a connection keeps what it began with"
        lasting.close()

    assert caplog.text.count("is a new one, and is used from now on") == 1


def test_a_broken_certificate_keeps_the_one_before_and_is_told_once(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Renewed in two files, one after the other, the pair is wrong in between."""
    pem = self_signed(tmp_path)
    other = self_signed(subfolder(tmp_path, "other"))
    certificate, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    certificate.write_bytes(pem.read_bytes())
    key.write_bytes(pem.read_bytes())
    listener = Listener(port=0, certificate=certificate, key=key)

    with Receiving(settings=settings, listener=listener) as receiving:
        first = served(receiving)
        for broken in (other.read_bytes(), b"nonsense", None):
            certificate.unlink()
            if broken is not None:
                certificate.write_bytes(broken)
            assert served(receiving) == first
            assert served(receiving) == first
        certificate.write_bytes(other.read_bytes())
        assert served(receiving) == first
        key.write_bytes(other.read_bytes())
        assert served(receiving) != first

    told = [record for record in caplog.records if "Until then the one before goes on" in record.message]
    assert len(told) == 4
    assert "PRIVATE KEY" not in caplog.text


def subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_over_tls(settings: Settings, tmp_path: Path) -> None:
    pem = self_signed(tmp_path)
    listener = Listener(port=0, certificate=pem, key=pem)
    trusting = ssl.create_default_context(cafile=pem)
    old = ssl.create_default_context(cafile=pem)

    with Receiving(settings=settings, listener=listener) as receiving:
        receiving.tls = trusting
        assert receiving.deliver(b'{"over": "TLS"}').status == 200
        assert receiving.deliver(token="wrong").status == 401
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            Client(receiving.port, receiving.token, ssl.create_default_context()).deliver()
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert Client(receiving.port, receiving.token, old).deliver().status == 200
        assert not receiving.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/")

        assert [d.body for d in receiving.waiting()] == [b'{"over": "TLS"}', b"{}"]
