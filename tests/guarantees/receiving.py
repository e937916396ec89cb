"""`dispatchlake receive` as a process on one port, killed and started again; and what is sent to it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispatchlake.cli.prefect_api import free_port
from dispatchlake.spool import DeliveryKind, Spool
from tests.command_line import COMMAND
from tests.sandbox_process import SandboxProcess
from tests.waiting import wait_until

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Receiving:
    """A receiver with a data folder of its own; all its processes are gone at the end."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment = os.environ | {"DISPATCHLAKE_DATA_DIR": str(data_dir)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def webhooks(self, *arguments: str) -> str:
        """Run `dispatchlake webhooks` and return what stands on stdout: a new secret."""
        done = subprocess.run(
            [*COMMAND, "webhooks", *arguments],
            env=self.environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def start(self) -> None:
        """Start the process; it answers soon."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "receive", "--port", str(self.port)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment,
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Wait until it takes deliveries."""
        wait_until(self._is_ready, self.log_path.read_text)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text()
        try:
            with _OPENER.open(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                return True
        except (OSError, urllib.error.HTTPError):
            return False

    def kill(self) -> None:
        """SIGKILL the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def log_path(self) -> Path:
        """Where all that it prints is."""
        return self.data_dir / "receiver.log"

    def url(self, center_id: str, kind: str) -> str:
        """Return where a center's deliveries of a kind go."""
        return f"http://127.0.0.1:{self.port}/webhooks/{center_id}/{kind}"

    def kept(self, center_id: str) -> Counter[str]:
        """Return how often each body lies in the spool, by its SHA-256."""
        with Spool.open(self.data_dir / "spool") as spool:
            found = spool.waiting(center_id, max_count=10**9, max_bytes=1 << 40)
        return Counter(hashlib.sha256(delivery.body).hexdigest() for delivery in found)


class Sender:
    """A center of the sandbox that sends to a receiver."""

    def __init__(self, sandbox: SandboxProcess, receiving: Receiving, center_id: str) -> None:
        self.center_id = center_id
        self._sandbox = sandbox
        self._receiving = receiving

    def aim(self, **login: Any) -> None:
        """Say where to and with which login; what fails is tried again within a second."""
        targets = {
            kind.value: {"url": self._receiving.url(self.center_id, kind), **login} for kind in DeliveryKind
        }
        retry = {"first_wait_s": 0.1, "longest_wait_s": 1.0, "timeout_s": 30}
        self._sandbox.call("PUT", f"webhooks/{self.center_id}", {"targets": targets, "retry": retry})

    def begin(self, **keys: Any) -> int:
        """Begin to send, and return how many deliveries it will be."""
        planned: int = self._sandbox.call("POST", f"sendings/{self.center_id}", keys)[-1]["planned"]
        return planned

    def standing(self) -> dict[str, Any]:
        """Return how the last sending stands."""
        found: dict[str, Any] = self._sandbox.call("GET", f"sendings/{self.center_id}")[-1]
        return found

    def wait(self, *, limit_s: float = 120) -> dict[str, Any]:
        """Wait until all is acknowledged, and return how it stands."""
        wait_until(lambda: self.standing()["is_done"], lambda: str(self.standing()), limit_s=limit_s)
        return self.standing()

    def bodies(self) -> dict[str, dict[str, Any]]:
        """Return how often each body was acknowledged, and how often it may be kept besides."""
        found: dict[str, dict[str, Any]] = self._sandbox.call("GET", f"bodies/{self.center_id}")
        return found

    def pushed(self) -> dict[str, Any]:
        """Return what the lake must hold."""
        found: dict[str, Any] = self._sandbox.call("GET", f"pushed/{self.center_id}")
        return found


def lost_and_doubled(kept: Counter[str], told: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """Return how many deliveries were acknowledged and are not there, and how many are there too often.

    Args:
        kept: How often each body is there.
        told: What the sender says of each: acknowledged so often, and so often without knowing.
    """
    lost = sum(max(0, one["acknowledged"] - kept[body]) for body, one in told.items())
    most = {body: one["acknowledged"] + one["unknown"] for body, one in told.items()}
    doubled = sum(max(0, copies - most.get(body, 0)) for body, copies in kept.items())
    return lost, doubled


def kill_again_and_again(receiving: Receiving, *, seconds: float, every_s: float) -> int:
    """Kill the receiver and start it again until the time is over; return how often."""
    kills = 0
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        time.sleep(min(every_s, left_s))
        receiving.kill()
        kills += 1
        receiving.start()
    return kills
