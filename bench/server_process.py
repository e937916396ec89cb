"""The page server as a process of its own, and how fast it is when nothing is done with what it sends."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from collections.abc import Iterator

from bench.listings import Listing, RenderedListing, rendered


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one client that throws everything away gets from the server in a second."""

    pages_per_s: float
    bytes_per_s: float
    rows_per_s: float
    client_cpu_s: float
    seconds: float


@contextmanager
def serving(
    full: Sequence[Listing], changed: Sequence[Listing] = (), *, latency_s: float = 0.0
) -> Iterator[str]:
    """Serve listings on loopback and yield the base URL; the process ends with the context."""
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
            raise RuntimeError("the page server did not start; its error stands above")
        yield f"http://127.0.0.1:{port}"


def _planned(listing: RenderedListing) -> dict[str, object]:
    return asdict(listing.listing) | {"bodies": str(listing.bodies), "offsets": listing.offsets}
