"""`dispatchlake sandbox`: the stand-in for the vendor, as a process of its own."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter


def sandbox(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
) -> None:
    """Serve real dispatch records the way the vendor's API would, on loopback; see `sandbox/README.md`."""
    # The sandbox shares no code with the client, so it is not imported: this process becomes it.
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", *arguments])  # noqa: S606 - our own interpreter
