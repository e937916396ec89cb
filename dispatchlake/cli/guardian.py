"""Ends what an `up` has started, should that be killed: `python -m dispatchlake.cli.guardian MARK`.

The kernel tells each process that its parent is gone (see `tether`), but one that then waits for a server
which is gone too would stay for minutes. This one waits for the end of its standard input, which `up` holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from dispatchlake.cli.occupancy import MARK, end_marked


def start_guardian(mark: str) -> subprocess.Popen[bytes]:
    """Start the guardian of this process; it ends when this process has ended and nothing is left."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments
        [sys.executable, "-m", "dispatchlake.cli.guardian", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {MARK: ""},  # it is not one of those that it ends
        start_new_session=True,  # a terminal that closes does not end it
    )


def main() -> None:
    """Wait until nobody holds our standard input any more, then end what carries the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])


if __name__ == "__main__":
    main()
