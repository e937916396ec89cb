"""Connections to the internet at large, and to no machine or network of ours.

A name is resolved by us, refused unless all its addresses are public, and connected to at an address that was
looked at: a name that leads elsewhere the next moment changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

import httpcore

from dispatchlake.errors import LinkRefused, MediaUnavailable

_INTERNET = ipaddress.ip_network("2000::/3")
"""IPv6 that is given out for the internet at large; what lies outside leads to it or elsewhere (RFC 4291)."""

_WITHIN_OTHERS = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32")))
"""IPv6 in it that stands for an IPv4 address, by 6to4 or Teredo: public by its looks, wherever it leads."""


MOST_TRIED = 4
"""Addresses of one name that are tried in turn; whoever chooses the link chooses how many there are."""


class Network:
    """How names become addresses, and addresses connections; a test has one of its own."""

    def addresses(self, host: str, port: int) -> list[str]:
        """Return what a name stands for; raises OSError where it stands for nothing."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def connect(self, address: str, port: int, timeout_s: float | None) -> httpcore.NetworkStream:
        """Connect to an address; raises an error of httpcore's."""
        return httpcore.SyncBackend().connect_tcp(address, port, timeout_s)


def is_public(address: str) -> bool:
    """Say whether an address is of the internet at large, and no machine or network of ours."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with a zone, such as fe80::1%eth0
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found not in _INTERNET or any(found in network for network in _WITHIN_OTHERS):
            return False
    return found.is_global and not found.is_multicast


class PublicOnly(httpcore.NetworkBackend):
    """Connects to public addresses only: those that were looked at are those that are connected to."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the interface's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - the interface's
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that answers.

        Raises:
            LinkRefused: One of them is not public.
            MediaUnavailable: It has none.
        """
        try:
            addresses = self._network.addresses(host, port)
        except (OSError, UnicodeError):
            raise MediaUnavailable("The host of the link is not known.") from None
        if not addresses or not all(map(is_public, addresses)):
            raise LinkRefused("The link leads to an address that is not public.")
        *others, last = addresses[:MOST_TRIED]
        for address in others:
            try:
                return self._network.connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._network.connect(last, port, timeout)
