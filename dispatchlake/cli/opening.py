"""`dispatchlake opening-sql`: how any other program with DuckDB opens the lake."""

from __future__ import annotations

import sys


def opening_sql() -> None:
    """Print the statements that open the lake, read-only, in any DuckDB of this version.

    For a DuckDB shell: duckdb -init FILE; for other programs, such as R or DBeaver: run them once connected.
    """
    from dispatchlake.lake.reading import opening_sql as statements

    sys.stdout.write(statements())
