"""The analyst's side of the lake: read-only, also while a load runs, one line for each way to look.

`lake_dir` may be left out everywhere: then it is the one of this installation's settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import migrations
from dispatchlake.lake.connection import catalog_path, connect_reader, opening_statements
from dispatchlake.settings import load_settings


def connect(lake_dir: Path | None = None, *, snapshot: int | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake attached read-only and in use, its session in UTC.

    Args:
        lake_dir: The lake.
        snapshot: Number of the only snapshot to be seen; without it, always the newest.

    Raises:
        ConfigError: There is no lake yet.
        LakeTooNew: Made by a newer version of this software.
    """
    folder = lake_dir or load_settings().lake_dir
    if not catalog_path(folder).exists():
        raise no_lake(folder)
    connection = connect_reader(folder, snapshot=snapshot)
    try:
        _check_layout(connection, folder)
    except BaseException:
        connection.close()
        raise
    return connection


def opening_sql(lake_dir: Path | None = None) -> str:
    """Return statements that open the lake in another program's DuckDB, of the version named in them.

    Raises:
        ConfigError: There is no lake yet.
    """
    folder = lake_dir or load_settings().lake_dir
    if not catalog_path(folder).exists():
        raise no_lake(folder)
    return f"-- For DuckDB {duckdb.__version__} on this machine; read-only.\n{opening_statements(folder)}"


def _check_layout(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    try:
        done = migrations.applied(connection)
    except duckdb.Error as error:
        raise LakeError(f"The lake cannot be read: {catalog_path(folder)} may be damaged. {error}") from error
    migrations.refuse_newer(done)
    if not done:  # a catalog without its first tables: being made, or never finished
        raise no_lake(folder)


def no_lake(folder: Path) -> ConfigError:
    """Return the error to raise where a lake is needed and there is none."""
    return ConfigError(
        f"There is no lake in {folder} yet. Land something first (dispatchlake ingest), or name its home "
        "in DISPATCHLAKE_DATA_DIR."
    )


def query_arrow(sql: str, *, lake_dir: Path | None = None) -> pa.Table:
    """Return a query's answer as an Arrow table."""
    with connect(lake_dir) as connection, own_words():
        return answer(connection, sql).to_arrow_table()


def query_frame(sql: str, *, lake_dir: Path | None = None) -> pd.DataFrame:
    """Return a query's answer as a pandas frame; times are aware, in UTC."""
    frame: pd.DataFrame = query_arrow(sql, lake_dir=lake_dir).to_pandas()
    return frame


def show(connection: duckdb.DuckDBPyConnection, sql: str, *, max_rows: int, max_width: int) -> None:
    """Print a query's answer as DuckDB draws it, within so many rows and characters a line."""
    with own_words():
        answer(connection, sql).show(max_rows=max_rows, max_width=max_width, null_value="·")


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """Return a query's answer, not yet computed.

    Raises:
        LakeError: It is a statement that has none.
    """
    relation = connection.sql(sql)
    if relation is None:
        raise LakeError("The query has no answer: it is not a SELECT, FROM, SHOW or DESCRIBE.")
    return relation


@contextlib.contextmanager
def own_words() -> Iterator[None]:
    """Pass DuckDB's own words on: they point into the query, which the person reading them wrote."""
    try:
        yield
    except duckdb.Error as error:
        raise LakeError(f"The query cannot be answered. {error}") from None
