"""What statements to DuckDB have in common: texts quoted, an aggregate's row, what an error means."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.errors import MemoryShort


def quoted(value: str | Path) -> str:
    """Return the value as an SQL text."""
    return "'" + str(value).replace("'", "''") + "'"


@contextlib.contextmanager
def transaction(
    connection: duckdb.DuckDBPyConnection,
    ending: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[None]:
    """Commit what is done within, or nothing of it; within `ending`, either way."""
    connection.execute("BEGIN")
    try:
        yield
        with ending():
            connection.execute("COMMIT")
    except BaseException:
        with ending(), contextlib.suppress(duckdb.Error):  # a failed COMMIT has already rolled back
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> Iterator[None]:
    """Let statements ask an Arrow table under a name."""
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def at_once(*columns: str) -> str:
    """Return a condition that columns have the values of as many parameters, in a form DuckLake takes whole.

    Of each column compared by itself it asks the catalog which files can be left out. A table of bookkeeping
    has none to leave out, and would take three times as long to read.
    """
    together = "concat_ws('|', {})".format
    return f"{together(', '.join(columns))} = {together(', '.join('?' * len(columns)))}"


def one_of(parameter: str, *columns: str) -> str:
    """Return a condition that columns, joined by `|`, are among the texts of a list, in the same form."""
    return f"list_contains({parameter}, concat_ws('|', {', '.join(columns)}))"


def first_row(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
) -> tuple[Any, ...] | None:
    """Return the first row of an answer, or None; for answers of a row or two.

    All of it is fetched: of an answer that is not, DuckDB keeps the transaction, and the catalog, open until
    it is next asked.
    """
    rows = connection.execute(query, parameters).fetchall()
    return rows[0] if rows else None


def fetch_row(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Return the one row that an aggregate always answers."""
    row = first_row(connection, query, parameters)
    assert row is not None  # noqa: S101 - see above
    return row


def fetch_count(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any] | None = None
) -> int:
    """Return the number that a query answers, or of the rows that a statement has written."""
    return int(fetch_row(connection, query, parameters)[0])


def first_line(error: BaseException) -> str:
    """Return what an error says first; DuckDB goes on with hints that are of no use here."""
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def memory_shortage_told() -> Iterator[None]:
    """Turn DuckDB's error for memory that does not suffice into ours."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryShort(
            "This needs more memory than DISPATCHLAKE_MEMORY_LIMIT_MB allows; the lake is as it was before. "
            "Raise the limit; if it is a load, smaller pages (paging.page_size) help too."
        ) from error


_DATA_FILE = re.compile(r"[\w.-]+/data/main/[\w=./%-]+\.(?:parquet|puffin)")


def named_data_file(error: BaseException) -> str:
    """Return the data file of a lake that an error of DuckDB names, from the zone's folder on; "" if none."""
    found = _DATA_FILE.search(str(error))
    return found[0] if found else ""
