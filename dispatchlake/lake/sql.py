"""What statements to DuckDB have in common: texts quoted, an aggregate's row, an error's first line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb


def quoted(value: str | Path) -> str:
    """Return the value as an SQL text."""
    return "'" + str(value).replace("'", "''") + "'"


def fetch_row(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """Return the one row that an aggregate always answers."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None  # noqa: S101 - see above
    return row


def first_line(error: BaseException) -> str:
    """Return what an error says first; DuckDB goes on with hints that are of no use here."""
    return str(error).partition("\n")[0]
