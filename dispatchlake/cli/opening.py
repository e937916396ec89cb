"""`dispatchlake opening-sql`: how any other program with DuckDB opens the lake."""

from __future__ import annotations

import sys


def opening_sql(*, restricted: bool = False) -> None:
    """Print the statements that open the lake, read-only, in any DuckDB of this version.

    For a DuckDB shell: duckdb -init FILE; for other programs, such as R or DBeaver: run them once connected.

    Args:
        restricted: Those for the restricted zone; that you asked is noted in the access log.
    """
    from dispatchlake.lake.reading import opening_sql as statements

    sys.stdout.write(statements(zone="restricted" if restricted else "open"))
