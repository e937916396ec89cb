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
from tests.prefect_home import copy_home, environment_without_prefect

SCRIPT = """
import sys, time
from pathlib import Path
from dispatchlake.cli.prefect_api import local_server
with local_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_the_server_is_gone_with_the_command(tmp_path: Path, migrated_home: Path, how: str) -> None:
    home = tmp_path / "prefect"
    copy_home(migrated_home, home)
    command = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home), "0" if how == "ended" else "300"],
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


IMPORTED_BEFORE = """
import sys
from pathlib import Path
from prefect.client.orchestration import get_client
from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.settings import Settings
with prefect_api(Settings(data_dir=Path(sys.argv[1]))) as url, get_client(sync_client=True) as client:
    print(str(client.api_url).rstrip("/") == url, client.hello().json())
try:
    get_client(sync_client=True)
except ValueError as error:
    print(error)
"""


def test_prefect_uses_our_server_and_no_other_also_if_it_was_imported_before(
    tmp_path: Path, migrated_home: Path
) -> None:
    copy_home(migrated_home, tmp_path / "prefect")
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED_BEFORE, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
        env=environment_without_prefect() | {"HOME": str(tmp_path)},
    )  # fmt: skip

    used, afterwards = ended.stdout.splitlines()
    assert used.startswith("True "), ended.stderr
    assert "No Prefect API URL provided" in afterwards, (
        "a server of its own would be one that nobody looks at"
    )
