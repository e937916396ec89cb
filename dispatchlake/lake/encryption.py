"""Encryption at rest, by option: Parquet files that only the catalog's keys open (docs/zones.md).

DuckLake does it. DuckDB reads such files by itself, and writes them only with the OpenSSL of its extension
`httpfs`.
"""

from __future__ import annotations

import duckdb

from dispatchlake.lake import extensions
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.sql import first_row


def is_encrypted(connection: duckdb.DuckDBPyConnection) -> bool:
    """Say whether the files of the lake that is attached are encrypted: decided when it was made."""
    row = first_row(connection, f"SELECT value FROM {CATALOG}.ducklake_metadata WHERE key = 'encrypted'")
    return row is not None and row[0] == "true"


def prepare_to_write(connection: duckdb.DuckDBPyConnection) -> None:
    """Load what writing an encrypted lake needs; nothing for any other.

    Raises:
        ConfigError: The extension is missing for this platform.
    """
    if is_encrypted(connection):
        extensions.load_packaged(connection, "httpfs")
