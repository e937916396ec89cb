"""`python -m sandbox` as a person starts it: with options of its own, or with a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "sandbox"]


def refused(*arguments: str) -> tuple[int, str]:
    """Return the exit code and what stands on standard error of a start that fails."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stderr


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[str]:
    """Run a sandbox until the context ends, and give its URL; what it prints is in `folder / "printed"`."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    with (folder / "printed").open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "--exit-with-parent", "--ready-file", str(ready), *arguments],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        deadline_s = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, (folder / "printed").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield ready.read_text()
    finally:
        process.terminate()
        process.wait(10)


def control(url: str, path: str, body: Any = None) -> Any:
    """Return what a control endpoint answers to a GET, or to a POST of the body."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{url}/_sandbox/{path}", data, timeout=20) as answer:
        return json.load(answer)
