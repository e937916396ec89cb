"""Python in a process of its own, with the tests' builders at hand: for locks, kills and races."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]


class Script:
    """A script running in its own process; ended with the context."""

    def __init__(self, source: str, *arguments: object, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def line(self) -> str:
        """Wait for the next line the script prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().rstrip("\n")
        assert line, self.failure()
        return line

    def go_on(self) -> None:
        """Send a line to the script, which waits for one."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def is_running(self) -> bool:
        """Say whether the script has not ended."""
        return self._process.poll() is None

    def finish(self) -> str:
        """Wait for the end, which must be a good one; return what is left of the output."""
        output, errors = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, errors
        return output

    def ended(self) -> str:
        """Wait for the end, whatever it is; return what is left of the output."""
        return self._process.communicate(timeout=120)[0]

    def failure(self) -> str:
        """Return why the script ended; waits for that."""
        return self._process.communicate(timeout=120)[1]

    def kill(self) -> None:
        """End the script as `kill -9` does."""
        self._process.kill()
        self._process.communicate()
