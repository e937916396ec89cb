"""Run a program that ends with whoever started it: `python -m dispatchlake.cli.tether PROGRAM [ARGUMENT]`.

A command that is killed outright has no chance to stop the servers it runs; the kernel does it then. On
systems other than Linux the program just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies; kept when it becomes another program."""


def main() -> None:
    """Become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main()
