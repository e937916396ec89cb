"""The page server as a process of its own, and how fast it is for a client that throws everything away."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.listings import Listing, RenderedListing, rendered

_LENGTH = re.compile(rb"content-length: (\d+)")
_RECEIVE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one client got from the server that did nothing with it."""

    pages: int
    rows: int
    body_bytes: int
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """Return the rate that no runner can exceed."""
        return self.rows / self.seconds


@contextmanager
def serving(
    full: Sequence[Listing], changed: Sequence[Listing] = (), *, latency_s: float = 0.0
) -> Iterator[str]:
    """Serve listings on loopback and yield the base URL; the process ends with the context.

    Args:
        full: What is listed.
        changed: What is listed where a request filters by `updated_since`.
        latency_s: How long each answer waits.
    """
    plan = {
        "full": [_planned(rendered(one)) for one in full],
        "changed": [_planned(rendered(one)) for one in changed],
        "latency_s": latency_s,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-server-")))
        path = folder / "plan.json"
        path.write_text(json.dumps(plan))
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.server", str(path)], stdout=subprocess.PIPE, text=True
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        assert process.stdout is not None
        stack.enter_context(process.stdout)
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("The page server did not start; its error stands above.")
        yield f"http://127.0.0.1:{port}"


def _planned(listing: RenderedListing) -> dict[str, object]:
    return asdict(listing.listing) | {"bodies": str(listing.bodies), "offsets": listing.offsets}


def measure_ceiling(url: str, listings: Sequence[Listing]) -> Ceiling:
    """Read every listing once over a bare socket, one page after the other, as the runners do."""
    pages = rows = body_bytes = 0
    began_s = time.perf_counter()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        buffer = bytearray(_RECEIVE_BYTES)
        for listing in listings:
            for page in range(1, listing.pages + 1):
                body_bytes += _fetch(connection, buffer, listing, page)
                pages += 1
            rows += listing.count
    return Ceiling(pages, rows, body_bytes, time.perf_counter() - began_s)


def _fetch(connection: socket.socket, buffer: bytearray, listing: Listing, page: int) -> int:
    token = f"token-{listing.center_id}-{listing.resource}"
    connection.sendall(
        f"GET /v1/{listing.resource}?per_page={listing.page_size}&page={page} HTTP/1.1\r\n"
        f"host: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    )
    received = connection.recv_into(buffer)
    end = buffer.index(b"\r\n\r\n") + 4
    length = _LENGTH.search(buffer[:end])
    assert length is not None
    left = end + int(length[1]) - received
    while left > 0:
        left -= connection.recv_into(buffer)
    return int(length[1])
