"""The real command, as a real process: what a person types and what comes back."""

from __future__ import annotations

import os
import subprocess
import sys


def run(
    *arguments: str, stdin: str = "", env: dict[str, str | None] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `dispatchlake` with the arguments; this process's environment plus `env` (None takes one away)."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})}
    return subprocess.run(
        [sys.executable, "-c", "from dispatchlake.cli.app import main; main()", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={name: value for name, value in environment.items() if value is not None},
    )
