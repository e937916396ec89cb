"""The analyst's side of the lake: read-only, also while a load runs, one line for each way to look.

`lake_dir` may be left out everywhere: then it is the one of this installation's settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import duckdb
import pandas as pd
import pyarrow as pa

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import migrations
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.connection import connect as connect_lake
from dispatchlake.settings import load_settings


def connect(lake_dir: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake attached read-only and in use, its session in UTC.

    Raises:
        ConfigError: There is no lake yet.
        LakeTooNew: Made by a newer version of this software.
    """
    settings = load_settings()
    folder = lake_dir or settings.lake_dir
    if not catalog_path(folder).exists():
        raise ConfigError(
            f"There is no lake in {folder} yet. Land something first (dispatchlake ingest), or name its home "
            "in DISPATCHLAKE_DATA_DIR."
        )
    connection = connect_lake(folder, read_only=True, memory_limit_mb=settings.memory_limit_mb * 4)
    try:
        migrations.refuse_newer(migrations.applied(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def query_arrow(sql: str, *, lake_dir: Path | None = None) -> pa.Table:
    """Return a query's answer as an Arrow table."""
    with connect(lake_dir) as connection:
        return _answer(connection, sql).to_arrow_table()


def query_frame(sql: str, *, lake_dir: Path | None = None) -> pd.DataFrame:
    """Return a query's answer as a pandas frame."""
    with connect(lake_dir) as connection:
        return _answer(connection, sql).df()


def export(sql: str, target: Path, form: Literal["csv", "parquet"], *, lake_dir: Path | None = None) -> int:
    """Write a query's answer to a file, streaming; return its number of rows."""
    with connect(lake_dir) as connection:
        relation = _answer(connection, sql)
        try:
            if form == "csv":
                relation.write_csv(str(target))
            else:
                relation.write_parquet(str(target), compression="zstd")
            count = (
                connection.from_csv_auto(str(target))
                if form == "csv"
                else connection.from_parquet(str(target))
            )
            return int(count.count("*").fetchall()[0][0])
        except duckdb.Error as error:
            raise LakeError(f"{target} could not be written: {error}") from None


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    try:
        relation = connection.sql(sql)
    except duckdb.Error as error:
        # The person at the terminal wrote the query; DuckDB's own words point into it.
        raise LakeError(f"The query cannot be answered. {error}") from None
    if relation is None:
        raise LakeError("The query has no answer: it is not a SELECT, FROM, SHOW or DESCRIBE.")
    return relation
