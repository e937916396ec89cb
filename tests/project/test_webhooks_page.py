"""What docs/webhooks.md says to type does what it shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from dispatchlake.settings import Settings
from dispatchlake.webhooks.credentials import CredentialKind
from dispatchlake.webhooks.sources import BURST
from dispatchlake.webhooks.tokens import LIFE_S
from tests.command_line import WIDTH
from tests.tls_server import self_signed
from tests.webhooks.receiving import CENTER, ReceiverProcess, Receiving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "webhooks.md").read_text()

SHOWN = "\n".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

STEPS = [
    (command, said.strip())
    for command, said in re.findall(r"^\$ (.*)\n((?:[^$\n].*\n)*)", SHOWN + "\n", re.MULTILINE)
]

RECEIVE = "dispatchlake receive"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_every_command_runs_and_says_what_is_shown(settings: Settings, tmp_path: Path) -> None:
    commands = [(command, said) for command, said in STEPS if not command.startswith(RECEIVE)]
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "dispatchlake"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {shlex.quote(sys.executable)} -m dispatchlake "$@"\n'
    )
    program.chmod(0o755)
    # Nobody is registered, whatever server another test has started.
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with Receiving(settings=settings) as receiving:
        receiving.file.revoke(CENTER)  # the page issues its own
        script = "set -eu -o pipefail\n" + "\n".join(f"echo @@@\n{command}" for command, _ in commands)
        ended = subprocess.run(
            ["bash"],
            input=script.replace("https://webhooks.example.org", f"http://127.0.0.1:{receiving.port}"),
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env=environment | {"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": str(WIDTH)},
        )  # fmt: skip
        kept = [delivery.body for delivery in receiving.waiting()]
        left = receiving.file.current().of_center(CENTER, CredentialKind.BEARER)

    assert ended.returncode == 0, ended.stderr
    said = [part.strip() for part in ended.stdout.split("@@@\n")[1:]]
    assert len(said) == len(commands)
    for (command, expected), came in zip(commands, said, strict=True):
        came_in_one = re.sub(r" *\n", "\n", re.sub(r" +", " ", came))
        pattern = re.sub(r" +", " ", expected).replace("[", "[[]").replace("...", "*")
        assert fnmatchcase(came_in_one, pattern), f"{command}\n{came}"
    assert kept == [b'{"type": "test"}', b'{"event_type": "test"}', b'{"event_type": "test"}']
    assert len(left) == 1, "rotated"
    assert "dlw_" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("command", [command for command, _ in STEPS if command.startswith(RECEIVE)])
def test_every_receiver_starts(settings: Settings, tmp_path: Path, command: str) -> None:
    settings.data_dir.mkdir()
    pem = self_signed(tmp_path)
    for documented, here in [
        ("/etc/dispatchlake/tls/fullchain.pem", str(pem)),
        ("/etc/dispatchlake/tls/privkey.pem", str(pem)),
        ("0.0.0.0", "127.0.0.1"),
        ("--port 443", ""),
    ]:
        command = command.replace(documented, here)

    with ReceiverProcess(settings, *shlex.split(command)[2:]) as receiver:
        assert ("https://" in receiver.log) == ("--certificate" in command)


def test_the_figures_on_the_page() -> None:
    from dispatchlake.webhooks.app import Limits
    from dispatchlake.webhooks.connections import HEAD_BYTES
    from dispatchlake.webhooks.server import PORT

    limits = Limits()
    for told in (
        f"good for {LIFE_S // 60} minutes",
        f"larger than {limits.body_bytes >> 20} MB",
        f"longer than {limits.request_s:g} s",
        f"less than {limits.free_bytes >> 20} MB",
        f"more than {BURST} times",
        f"more than {HEAD_BYTES >> 10} KB",
        f"127.0.0.1:{PORT}",
    ):
        assert told in " ".join(PAGE.split()), told


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)

    assert len(targets) >= 5
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target
