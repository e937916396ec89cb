"""`python -m dispatchlake` is the `dispatchlake` command."""

from __future__ import annotations

from dispatchlake.cli.app import main

main()
