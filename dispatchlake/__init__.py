"""Emergency-dispatch records: from the Prepared partner API to Parquet and SQL, without loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import duckdb

__version__ = "0.1.0"


def connect(
    lake_dir: Path | None = None, *, zone: Literal["open", "restricted"] | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake attached read-only and in use, its session in UTC.

    Args:
        lake_dir: Folder of a lake; without it, that of a zone of this installation.
        zone: Which zone; without it the open one. Reading the restricted one is noted in the access log.

    Raises:
        ConfigError: There is no such lake yet.
    """
    from dispatchlake.lake.reading import connect as connect_to  # DuckDB takes a while to import

    return connect_to(lake_dir, zone=zone)
