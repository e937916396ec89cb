"""A stand-in for the vendor's API that is as fast as one can be: bytes made beforehand, sent on request.

`python -m bench.server PLAN` serves the listings of a plan on loopback, prints its port, and ends with its
parent. It knows a token endpoint (client credentials, JSON or form), one listing for each token, Link
headers, and a filter: a request with `updated_since` gets the listing of what has changed. Nothing is
parsed or rendered that need not be.
"""

from __future__ import annotations

import asyncio
import functools
import json
import mmap
import os
import re
import socket
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PAGE = re.compile(rb"[?&]page=(\d+)")
_TOKEN = re.compile(rb"\r\nauthorization: bearer ([^\r]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_FIRST_WRITE_BYTES = 64 * 1024
_PARENT_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class _Pages:
    """One listing: the head of each answer and, in a file mapped into memory, the bodies."""

    heads: list[bytes] = field(repr=False)
    bodies: memoryview = field(repr=False)
    offsets: list[int] = field(repr=False)

    def body(self, index: int) -> memoryview:
        return self.bodies[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, slots=True)
class _Site:
    """All that is served: by client id, the whole listing and the one of what has changed."""

    full: dict[bytes, _Pages]
    changed: dict[bytes, _Pages]
    latency_s: float


class _Connection(asyncio.Protocol):
    """One connection: requests in, prepared bytes out, each as late as the latency says."""

    def __init__(self, site: _Site) -> None:
        self._site = site
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            write = functools.partial(self._answer, *request)
            if self._site.latency_s:
                asyncio.get_running_loop().call_later(self._site.latency_s, write)
            else:
                write()

    def _next_request(self) -> tuple[bytes, bytes] | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[: end + 2])
        length = _LENGTH.search(head)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < total:
            return None
        body = bytes(self._received[end + 4 : total])
        del self._received[:total]
        return head, body

    def _answer(self, head: bytes, body: bytes) -> None:
        target = head[: head.index(b"\r\n")].split(b" ")[1]
        if target == b"/oauth/token":
            self._transport.write(_token_answer(body))
            return
        token = _TOKEN.search(head)
        listings = self._site.changed if b"updated_since=" in target else self._site.full
        pages = listings.get(token[1].removeprefix(b"token-")) if token else None
        if pages is None:
            self._transport.write(_head(401, 0))
            return
        page = _PAGE.search(target)
        index = int(page[1]) - 1 if page else 0
        if index >= len(pages.heads):
            self._transport.write(_head(404, 0))
            return
        answer = pages.body(index)
        # The head goes with the first part of the body: one packet less, and one wake-up less of the client.
        self._transport.write(pages.heads[index] + answer[:_FIRST_WRITE_BYTES])
        if len(answer) > _FIRST_WRITE_BYTES:
            self._transport.write(answer[_FIRST_WRITE_BYTES:])


def _token_answer(body: bytes) -> bytes:
    try:
        client_id = json.loads(body)["client_id"]
    except ValueError:
        client_id = urllib.parse.parse_qs(body.decode())["client_id"][0]
    answer = json.dumps({"access_token": f"token-{client_id}", "token_type": "Bearer", "expires_in": 7200})
    return _head(200, len(answer)) + answer.encode()


def _head(status: int, length: int, extra: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n{extra}\r\n"
    ).encode()


def _load(listing: dict[str, Any], base_url: str) -> _Pages:
    offsets: list[int] = listing["offsets"]
    with Path(listing["bodies"]).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    encoding = "content-encoding: gzip\r\n" if listing["gzip"] else ""
    path = f"{base_url}/v1/{listing['resource']}?per_page={listing['page_size']}"
    heads = []
    for index in range(len(offsets) - 1):
        is_last = index == len(offsets) - 2
        following = "" if is_last else f', <{path}&page={index + 2}>; rel="next"'
        link = f'link: <{path}>; rel="first"{following}\r\n'
        heads.append(_head(200, offsets[index + 1] - offsets[index], encoding + link))
    return _Pages(heads, memoryview(mapped), offsets)


def _warm(pages: _Pages) -> None:
    """Read the bodies once, so that the first client does not wait for the disk."""
    for offset in range(0, len(pages.bodies), 4096):
        _ = pages.bodies[offset]


def _iter_listings(plan: list[dict[str, Any]], base_url: str) -> Iterator[tuple[bytes, _Pages]]:
    for listing in plan:
        pages = _load(listing, base_url)
        _warm(pages)
        yield f"{listing['center_id']}-{listing['resource']}".encode(), pages


async def _serve(plan: dict[str, Any]) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    site = _Site(
        dict(_iter_listings(plan["full"], base_url)),
        dict(_iter_listings(plan["changed"], base_url)),
        plan["latency_s"],
    )
    connect: Callable[[], _Connection] = functools.partial(_Connection, site)
    server = await asyncio.get_running_loop().create_server(connect, sock=listener)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(_PARENT_POLL_S)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text())))
