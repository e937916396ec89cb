"""What a person types and what comes back: in this process, or as a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from unittest import mock

from dispatchlake.cli import terminal
from dispatchlake.cli.app import main

COMMAND = [sys.executable, "-c", "from dispatchlake.cli.app import main; main()"]

WIDTH = 200
"""Characters a line: no sentence that a test looks for is broken."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None, width: int = WIDTH) -> Outcome:
    """Run `dispatchlake` with the arguments in this process, where Prefect is imported once for all."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        mock.patch.dict(os.environ, env or {}),
        mock.patch.object(terminal.console, "_width", width),
        mock.patch.object(terminal.errors, "_width", width),
    ):
        try:
            main(list(arguments))
        except SystemExit as error:
            code = error.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def run_process(*arguments: str, env: dict[str, str | None] | None = None, timeout_s: float = 120) -> Outcome:
    """Run the real command; this process's environment plus `env` (None takes one away)."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", **(env or {})}
    ended = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={name: value for name, value in environment.items() if value is not None},
    )
    return Outcome(ended.returncode, ended.stdout, ended.stderr)
