"""`dispatchlake receive` as a process on one port, killed and started again; and what is sent to it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispatchlake.cli.prefect_api import free_port
from dispatchlake.settings import Settings
from dispatchlake.spool import DeliveryKind, Spool
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind
from tests.command_line import COMMAND
from tests.sandbox_process import SandboxProcess
from tests.waiting import wait_until

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Killable:
    """A process of a data folder: started, killed whatever it is doing, and started again."""

    def __init__(self, data_dir: Path, name: str, command: list[str]) -> None:
        self.data_dir = data_dir
        self.environment = os.environ | {"DISPATCHLAKE_DATA_DIR": str(data_dir)}
        self._name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process; it is at work soon."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )

    def assert_running(self) -> None:
        """Fail, with what it said, if it has ended by itself."""
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text()[-3000:]

    def kill(self) -> None:
        """SIGKILL the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def log_path(self) -> Path:
        """Where all that it prints is."""
        return self.data_dir / f"{self._name}.log"


class Landing(Killable):
    """What moves deliveries into the lake, again and again."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, "landing", [*COMMAND, "land", "--every", "1"])


class Receiving(Killable):
    """A receiver on a port of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.port = free_port()
        super().__init__(data_dir, "receiver", [*COMMAND, "receive", "--port", str(self.port)])

    def webhooks(self, *arguments: str) -> str:
        """Run `dispatchlake webhooks` and return what stands on stdout: a new secret."""
        done = subprocess.run(
            [*COMMAND, "webhooks", *arguments],
            env=self.environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def oauth_client(self, center_id: str) -> dict[str, str]:
        """Issue an OAuth client, and return what the vendor is told of it."""
        secret = self.webhooks("issue", center_id, "--oauth", "--new")
        (credential,) = (
            CredentialFile(Settings(data_dir=self.data_dir).webhooks_dir)
            .current()
            .of_center(center_id, CredentialKind.OAUTH)
        )
        token_url = f"http://127.0.0.1:{self.port}/oauth/token"
        return {"token_url": token_url, "client_id": credential.credential_id, "client_secret": secret}

    def wait_until_ready(self) -> None:
        """Wait until it takes deliveries."""
        wait_until(self._is_ready, self.log_path.read_text)

    def _is_ready(self) -> bool:
        self.assert_running()
        try:
            with _OPENER.open(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                return True
        except OSError:
            return False

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


def kill_again_and_again(victims: Sequence[Killable], *, seconds: float, every_s: float) -> int:
    """Kill each of the processes at any time of each span, and start it again; return how often in all."""
    chance = random.Random(911)
    kills = 0
    for _ in range(round(seconds / every_s)):
        began_s = time.monotonic()
        for at_s, victim in sorted(
            ((chance.uniform(0.3, 0.9) * every_s, one) for one in victims), key=lambda turn: turn[0]
        ):
            time.sleep(max(0, began_s + at_s - time.monotonic()))
            victim.assert_running()
            victim.kill()
            victim.start()
            kills += 1
        time.sleep(max(0, began_s + every_s - time.monotonic()))
    return kills
