"""The sandbox as a real process, seen through its control endpoints; no code of it is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class SandboxProcess:
    """A sandbox on a free loopback port, ended with the context."""

    def __init__(self, config: dict[str, Any] | None = None, *arguments: str) -> None:
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-")
        self._config = config or {"centers": {}}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.foreign_url = ""

    def __enter__(self) -> Self:
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self._stop()
            raise
        self.foreign_url = self.call("GET", "health")["foreign_url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, folder: Path) -> None:
        config, ready, log = folder / "config.json", folder / "url", folder / "log"
        config.write_text(json.dumps(self._config))
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox", "--quiet", "--exit-with-parent",
                 "--config", str(config), "--ready-file", str(ready), *self._arguments],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline_s = time.monotonic() + 30
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the sandbox did not start: {log.read_text()}")
            time.sleep(0.02)
        self.url = ready.read_text()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._folder.cleanup()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control endpoint; the server's sentence is in the error."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise ValueError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(content) if content else None

    def put_center(self, center_id: str, config: dict[str, Any]) -> None:
        """Create a center, or replace it."""
        self.call("PUT", f"centers/{center_id}", config)

    def patch_center(self, center_id: str, config: dict[str, Any]) -> None:
        """Change some of a center's keys."""
        self.call("PATCH", f"centers/{center_id}", config)

    def truth(self, center_id: str, resource: str) -> dict[str, Any]:
        """Return what exists of a resource now: `current`, `versions`, and their counts."""
        answer: dict[str, Any] = self.call("GET", f"truth/{center_id}/{resource}")
        return answer

    def add_fault(self, center_id: str, kind: str, **fields: Any) -> None:
        """Let something go wrong for the next requests."""
        self.call("POST", f"faults/{center_id}", {"kind": kind, **fields})

    def faults_left(self, center_id: str) -> list[dict[str, Any]]:
        """Return the faults that have not happened yet."""
        left: list[dict[str, Any]] = self.call("GET", f"faults/{center_id}")
        return left

    def counts(self, center_id: str) -> dict[str, Any]:
        """Return what the center has counted."""
        counted: dict[str, Any] = self.call("GET", "stats")[center_id]
        return counted

    def requests(self, center_id: str) -> list[dict[str, Any]]:
        """Return the center's last requests, oldest first."""
        seen: list[dict[str, Any]] = self.call("GET", f"requests/{center_id}")
        return seen

    def tokens(self, center_id: str) -> list[str]:
        """Return every token the center has issued."""
        issued: list[str] = self.call("GET", f"tokens/{center_id}")
        return issued

    def advance_clock(self, seconds: float) -> None:
        """Move every center's clock on."""
        self.call("POST", "clock", {"advance_s": seconds})
