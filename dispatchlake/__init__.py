"""Emergency-dispatch records: from the Prepared partner API to Parquet and SQL, without loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__version__ = "0.1.0"


def connect(lake_dir: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake attached read-only and in use, its session in UTC.

    Args:
        lake_dir: The lake; without it, the one of this installation's settings.

    Raises:
        ConfigError: There is no lake yet.
    """
    from dispatchlake.lake.reading import connect as connect_to  # DuckDB takes a while to import

    return connect_to(lake_dir)
