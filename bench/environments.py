"""The interpreters that runners need: our own, and one for the peers, made on demand from pinned versions."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Literal

Environment = Literal["own", "peers"]

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "peers.txt"
_PEERS = _HERE / ".env-peers"


def interpreter(environment: Environment) -> str:
    """Return the path of an environment's interpreter, installing what is missing (a minute, once)."""
    if environment == "own":
        return sys.executable
    python = _PEERS / "bin" / "python"
    stamp = _PEERS / ".installed"
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(_PEERS, with_pip=True, clear=True)
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
        subprocess.run([str(python), "-m", "pip", "install", *options, "-r", str(_REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return str(python)
