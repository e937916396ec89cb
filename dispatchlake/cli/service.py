"""One process that we run for a user: started, waited for, and ended with us, however we end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dispatchlake.errors import ConfigError

STOP_LIMIT_S = 10.0
"""How long a process may take to end when told to; then it is killed."""

_TETHER = (sys.executable, "-m", "dispatchlake.cli.tether")


class Service:
    """A process in a group of its own, so that Ctrl-C reaches us alone and we stop it when it is its turn.

    Args:
        name: What it is called in messages.
        arguments: What our own Python interpreter is given.
        log_path: Where its output goes; what the one before it wrote is kept beside it.
        environment: Variables that differ from ours.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = [*_TETHER, sys.executable, *arguments]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return its process id, or None if it was never started."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Say whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again."""
        if self._process is None and self.log_path.exists():
            self.log_path.replace(self.log_path.with_name(f"{self.log_path.name}.1"))
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, arguments of ours
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self._environment,
                process_group=0,
            )

    def wait_until(self, is_ready: Callable[[], bool], *, limit_s: float) -> None:
        """Wait until it is ready.

        Raises:
            ConfigError: It has ended, or is not ready within `limit_s` seconds; the text names its log.
        """
        deadline = time.monotonic() + limit_s
        while not is_ready():
            if not self.is_running or time.monotonic() > deadline:
                raise ConfigError(f"The {self.name} did not start. Its log says why: {self.log_path}")
            time.sleep(0.1)

    def wait(self) -> int:
        """Wait until it has ended and return its exit status."""
        assert self._process is not None  # noqa: S101 - a caller's mistake
        return self._process.wait()

    def stop(self) -> None:
        """End it: politely, then not."""
        if self._process is None or not self.is_running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
