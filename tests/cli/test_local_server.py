"""The Prefect server that a command runs for itself: there while it is needed, gone with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dispatchlake.cli.prefect_api import is_answering

SCRIPT = """
import sys, time
from pathlib import Path
from dispatchlake.cli.prefect_api import local_server
with local_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_the_server_is_gone_with_the_command(tmp_path: Path, how: str) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "0" if how == "ended" else "300"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert command.stdout is not None
    url = command.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    if how == "killed":
        assert is_answering(url)
        os.kill(command.pid, signal.SIGKILL)
    command.wait(60)
    command.stdout.close()

    deadline_s = time.monotonic() + 60
    while is_answering(url):
        assert time.monotonic() < deadline_s, "the server outlived the command"
        time.sleep(0.1)
