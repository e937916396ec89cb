"""Fetching a media file: whole, from public addresses only, gone on from where it broke off."""

from __future__ import annotations

import hashlib
import logging
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore
import pytest

from dispatchlake.api.media import MediaClient, MediaLimits
from dispatchlake.api.public_network import MOST_TRIED, Network, is_public
from dispatchlake.errors import LinkExpired, LinkRefused, MediaError, MediaUnavailable
from tests.media import HOST, PUBLIC, LoopbackNetwork, MediaHost, media_host

LIMITS = MediaLimits(file_bytes=1_000_000, silence_s=5, retry_budget_s=5)
NO_RETRY = MediaLimits(file_bytes=1_000_000, silence_s=5, retry_budget_s=1e-9)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaHost]:
    with media_host(tmp_path_factory.mktemp("media")) as found:
        yield found


@pytest.fixture
def links(host: MediaHost) -> list[str]:
    return host.links()


@pytest.fixture
def link(links: list[str]) -> str:
    return links[0]


@pytest.fixture
def network(host: MediaHost) -> LoopbackNetwork:
    return host.network()


def fetch(
    host: MediaHost, network: Network, link: str, folder: Path, limits: MediaLimits = LIMITS
) -> dict[str, Any]:
    """Fetch, see that the file is whole, and return what it is."""
    found = MediaClient(limits, network=network, tls=host.tls).fetch(link, folder / "file")
    content = found.path.read_bytes()
    assert (found.size_bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert {path.name for path in folder.iterdir()} == {"file"}, "nothing else is left"
    return {"size_bytes": found.size_bytes, "sha256": found.sha256}


def test_a_file_is_fetched_whole_for_its_owner_alone_and_without_a_credential(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert network.reached == [PUBLIC]
    (*_, asked) = host.requests()
    assert (asked["host"], asked["has_authorization"]) == (HOST, False)


@pytest.mark.parametrize("kind", ["stops_half_way", "wrong_length"])
def test_what_broke_off_is_gone_on_from(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, kind: str
) -> None:
    host.fault(kind)
    assert fetch(host, network, link, tmp_path) == host.file(link)
    *_, _first, second = host.requests()
    if kind == "stops_half_way":
        assert second["range"] == f"bytes={host.file(link)['size_bytes'] // 2}-"
        assert second["status"] == 206


def test_another_process_goes_on_from_it_too(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    host.fault("stops_half_way")
    with pytest.raises(MediaUnavailable):
        fetch(host, network, link, tmp_path, NO_RETRY)
    assert not (tmp_path / "file").exists()
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert host.requests()[-1]["status"] == 206


@pytest.mark.parametrize("kind", ["range_ignored", "range_wrong", "changed"])
def test_what_cannot_be_gone_on_from_is_begun_anew(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, kind: str
) -> None:
    host.fault("stops_half_way")
    host.fault(kind)
    found = fetch(host, network, link, tmp_path)
    assert (found == host.file(link)) is (kind != "changed")


@pytest.mark.parametrize("status", [400, 405, 412, 416])
def test_where_the_host_refuses_to_go_on_it_is_begun_anew_at_once(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, status: int
) -> None:
    host.fault("stops_half_way")
    host.fault("status", status=status)
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert [one["status"] for one in host.requests()[-2:]] == [status, 200]


def test_what_is_refused_from_the_beginning_is_not_tried_again(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    host.fault("status", status=400)
    with pytest.raises(LinkRefused, match="HTTP 400"):
        fetch(host, network, link, tmp_path)
    assert host.requests()[-1]["status"] == 400


def test_a_rest_that_ends_early_is_not_taken_for_the_end(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    host.fault("stops_half_way")
    host.fault("rest_cut_short")
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert [one["status"] for one in host.requests()[-2:]] == [206, 206]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_link_that_opens_nothing_is_not_tried_again(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, status: int
) -> None:
    host.fault("status", status=status)
    with pytest.raises(LinkExpired):
        fetch(host, network, link, tmp_path)
    assert fetch(host, network, link, tmp_path) == host.file(link), "that was one request"


def test_expired_and_forged_links(host: MediaHost, network: LoopbackNetwork, tmp_path: Path) -> None:
    (link, *_) = host.links()
    with pytest.raises(LinkExpired):
        fetch(host, network, link[:-1] + ("0" if link[-1] != "0" else "1"), tmp_path)
    host.sandbox.call("POST", "expired_links")
    with pytest.raises(LinkExpired):
        fetch(host, network, link, tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_in_trouble_is_asked_again(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, status: int
) -> None:
    host.fault("status", status=status)
    assert fetch(host, network, link, tmp_path) == host.file(link)


def test_a_redirect_to_another_public_host_is_followed(
    host: MediaHost, network: LoopbackNetwork, links: list[str], tmp_path: Path
) -> None:
    host.fault("redirect", location=links[1].replace(HOST, "other.example.net"))
    assert fetch(host, network, links[0], tmp_path) == host.file(links[1])
    assert [one["host"] for one in host.requests()[-2:]] == [HOST, "other.example.net"]


@pytest.mark.parametrize(
    "location",
    [
        "https://internal.example.net/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        f"http://{HOST}/",
        f"https://user:secret@{HOST}/",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_to_where_we_do_not_go_is_refused(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, location: str
) -> None:
    network.names |= {
        "internal.example.net": [PUBLIC, "10.0.0.7"],
        "169.254.169.254": ["169.254.169.254"],
        "::1": ["::1"],
        "::ffff:127.0.0.1": ["::ffff:127.0.0.1"],
    }
    host.fault("redirect", location=location)
    with pytest.raises(LinkRefused):
        fetch(host, network, link, tmp_path)
    assert network.reached == [PUBLIC], "only the first was connected to"
    assert not list(tmp_path.iterdir())


def test_redirects_without_end_are_refused(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    host.fault("redirect_loop", times=6)
    with pytest.raises(LinkRefused, match="redirects"):
        fetch(host, network, link, tmp_path)


def test_a_name_that_leads_elsewhere_the_next_moment_changes_nothing(
    host: MediaHost, link: str, tmp_path: Path
) -> None:
    class Rebinding(LoopbackNetwork):
        def addresses(self, host: str, port: int) -> list[str]:
            found = super().addresses(host, port)
            self.names[host] = ["127.0.0.1"]
            return found

    network = Rebinding(host.port)
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert network.reached == [PUBLIC], "it was asked for once, and connected to as it was looked at"
    with pytest.raises(LinkRefused):
        fetch(host, network, link, tmp_path / "..", LIMITS)


def test_too_large_a_file_is_refused_before_and_while_it_comes(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    with pytest.raises(LinkRefused, match="larger"):
        fetch(host, network, link, tmp_path, MediaLimits(file_bytes=40_000))
    host.fault("oversize")
    with pytest.raises(LinkRefused, match="larger"):
        fetch(host, network, link, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_host_that_drips_is_left_and_gone_on_from(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    host.fault("slow")
    impatient = MediaLimits(file_bytes=1_000_000, file_s=0.3, retry_budget_s=1e-9)
    with pytest.raises(MediaUnavailable):
        fetch(host, network, link, tmp_path, impatient)
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert host.requests()[-1]["status"] == 206


def test_the_second_address_is_tried_where_the_first_does_not_answer(
    host: MediaHost, link: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]

    class OneIsDead(LoopbackNetwork):
        def connect(self, address: str, port: int, timeout_s: float | None) -> Any:
            self.port = dead if address == "9.9.9.9" else host.port
            return super().connect(address, port, timeout_s)

    network = OneIsDead(host.port)
    network.names[HOST] = ["9.9.9.9", PUBLIC]
    assert fetch(host, network, link, tmp_path) == host.file(link)
    assert network.reached == ["9.9.9.9", PUBLIC]


def test_a_name_of_many_addresses_of_which_none_answers_takes_no_longer_than_one(
    host: MediaHost, link: str, tmp_path: Path
) -> None:
    """Whoever chooses the link chooses how many."""

    class Silent(LoopbackNetwork):
        def connect(self, address: str, port: int, timeout_s: float | None) -> Any:
            self.reached.append(address)
            time.sleep(0.05)
            raise httpcore.ConnectTimeout

    network = Silent(host.port)
    network.names[HOST] = [f"9.9.{number // 256}.{number % 256}" for number in range(400)]
    began_s = time.monotonic()

    with pytest.raises(MediaUnavailable, match="ConnectTimeout"):
        fetch(host, network, link, tmp_path, replace(NO_RETRY, file_s=0.1))

    assert time.monotonic() - began_s < 10
    time.sleep(0.5)  # as many are tried in the meantime as ever will be
    assert len(network.reached) == MOST_TRIED


@pytest.mark.parametrize(
    "link",
    [
        "",
        "http://media.example.net/x",
        "ftp://media.example.net/",
        "https:///x",
        "a\nb",
        "https://xn--/x",
        "https://xn--a-ecp.ru/x",
        "https://media.example.net/\ud800",
        "https://media.example.net:443443443443443443443/x",
        "https://media.example.net:65536/x",
    ],
)
def test_what_is_no_https_link_is_refused(
    host: MediaHost, network: LoopbackNetwork, tmp_path: Path, link: str
) -> None:
    with pytest.raises(LinkRefused):
        fetch(host, network, link, tmp_path)
    assert not network.reached


def test_a_certificate_nobody_vouches_for_is_not_believed(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path
) -> None:
    with pytest.raises(MediaUnavailable, match="ConnectError"):
        MediaClient(NO_RETRY, network=network).fetch(link, tmp_path / "file")
    network.names["wrong.example.net"] = [PUBLIC]
    with pytest.raises(MediaUnavailable, match="ConnectError"):
        fetch(host, network, link.replace(HOST, "wrong.example.net"), tmp_path, NO_RETRY)


def test_this_machine_is_refused_by_the_real_network(link: str, tmp_path: Path) -> None:
    for name in ("localhost", "127.0.0.1", "0.0.0.0", "[::1]", "2130706433"):
        with pytest.raises(MediaError):
            MediaClient(NO_RETRY).fetch(link.replace(HOST, name), tmp_path / "file")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("ff02::1", False),
        ("64:ff9b:1::a00:1", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("5f00::1", False),
        ("2a00:1450:4001:82f::200e", True),
        ("no address", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_no_link_is_told_in_a_log_or_an_error(
    host: MediaHost, network: LoopbackNetwork, link: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in ("status", "stops_half_way", "oversize", "redirect_loop"):
        host.fault(kind, times=6)
        with pytest.raises(MediaError) as caught:
            fetch(host, network, link, tmp_path, NO_RETRY)
        host.sandbox.call("DELETE", "media")
        assert "Signature" not in str(caught.value)
        assert "example.net" not in str(caught.value)
    secret = link.rpartition("=")[2]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("dispatchlake")]
    assert secret not in "".join(ours)
