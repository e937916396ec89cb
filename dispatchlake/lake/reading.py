"""The analyst's side of the lake: read-only, also while a load runs, one line for each way to look.

`lake_dir` may be left out everywhere: then it is that of a zone of this installation, the open one unless
another is named. Whoever reads a restricted lake, however it is named, is noted in its access log first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import duckdb
import pandas as pd
import pyarrow as pa

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import migrations
from dispatchlake.lake.access_log import AccessLog
from dispatchlake.lake.connection import catalog_path, connect_reader, opening_statements
from dispatchlake.lake.questions import answer, answers, close_files, own_words
from dispatchlake.lake.sql import first_row
from dispatchlake.settings import Zone, load_settings


@dataclass(frozen=True, slots=True)
class Session:
    """A lake open for reading, and the log of what is asked of it if that must be noted."""

    lake_dir: Path
    connection: duckdb.DuckDBPyConnection
    log: AccessLog | None

    def note(self, sql: str) -> None:
        """Note a query that is about to be asked, if this lake's must be.

        Raises:
            ConfigError: It must be noted, and cannot be.
        """
        if self.log:
            self.log.note(sql)

    def ask(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Return the answer to a query.

        Raises:
            LakeError: It has none.
            ConfigError: It must be noted, and cannot be.
        """
        self.note(sql)
        return answer(self.connection, sql)

    def show(self, sql: str, *, max_rows: int, max_width: int) -> None:
        """Print the answer of each query, as the function of that name does."""
        self.note(sql)
        show(self.connection, sql, max_rows=max_rows, max_width=max_width)


def connect(
    lake_dir: Path | str | None = None, *, zone: Zone | None = None, tool: str = "Python"
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the lake attached read-only and in use, its session in UTC.

    Of a restricted lake one access is noted: what is asked over the connection is not seen.

    Args:
        lake_dir: Folder of a lake; None means that of a zone.
        zone: Which zone to read; None means the open one, or whichever lies in `lake_dir`.
        tool: What the access log is to say of who reads.

    Raises:
        ConfigError: There is no such lake yet, or zone, it is not of that one, or the access cannot be noted.
        LakeTooNew: Made by a newer version of this software.
    """
    session = _open_session(lake_dir, zone, tool)
    if session.log:
        try:
            session.log.note_session()
        except BaseException:
            session.connection.close()
            raise
    return session.connection


@contextlib.contextmanager
def reading_session(
    lake_dir: Path | str | None = None, *, zone: Zone | None = None, tool: str = "Python"
) -> Iterator[Session]:
    """Open a lake as `connect` does, for questions alone, and have each noted by itself."""
    session = _open_session(lake_dir, zone, tool)
    with session.connection:
        close_files(session.connection, session.lake_dir / "data")
        yield session


def connect_unnoted(
    lake_dir: Path | None = None, *, snapshot: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a connection for our own machinery, which shows nothing of a record: nothing is noted.

    Args:
        lake_dir: Folder of a lake; None means the restricted zone's.
        snapshot: Number of the only snapshot to be seen; without it, always the newest.
    """
    lake_dir = lake_dir or load_settings().lake_dir
    if not catalog_path(lake_dir).exists():
        raise no_lake(lake_dir)
    connection = connect_reader(lake_dir, snapshot=snapshot)
    try:
        _check_layout(connection, lake_dir)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_session(lake_dir: Path | str | None, zone: Zone | None, tool: str) -> Session:
    if zone is not None and zone not in get_args(Zone):
        raise ConfigError(f"There is no zone {zone!r}: it is one of {', '.join(get_args(Zone))}.")
    if lake_dir is None:
        settings = load_settings()
        zone = zone or "open"
        lake_dir = settings.zone_dir(zone)
        # The open one first: who may read that alone may not even look into the other's folder.
        if (
            zone == "open"
            and not catalog_path(lake_dir).exists()
            and catalog_path(settings.lake_dir).exists()
        ):
            raise _no_open_zone(lake_dir)
    lake_dir = Path(lake_dir)
    connection = connect_unnoted(lake_dir)
    try:
        is_open = _is_open_zone(connection)
        _refuse_other(lake_dir, zone, is_open=is_open)
        log = None if is_open else AccessLog(lake_dir.parent / "access", lake_dir, tool, _names(connection))
    except BaseException:
        connection.close()
        raise
    return Session(lake_dir, connection, log)


def _refuse_other(lake_dir: Path, zone: Zone | None, *, is_open: bool) -> None:
    """Raise ConfigError where a lake is not of the zone that was asked for."""
    if zone == "open" and not is_open:
        raise _no_open_zone(lake_dir)
    if zone == "restricted" and is_open:
        raise ConfigError(f"The lake in {lake_dir} is an open zone: nothing in it is restricted.")


def _is_open_zone(connection: duckdb.DuckDBPyConnection) -> bool:
    """Say whether a lake was published; a restricted one never was, and an older one knows no zones."""
    try:
        return first_row(connection, "SELECT 1 FROM publication") is not None
    except duckdb.CatalogException:
        return False


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake' ORDER BY 1"
    ).fetchall()
    return [row[0] for row in rows]


def _no_open_zone(folder: Path) -> ConfigError:
    return ConfigError(
        f"There is no open zone in {folder} yet. Have it published (dispatchlake publish; each ingest run "
        "does so too), or read the restricted zone: dispatchlake sql --restricted, or zone='restricted' here."
    )


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


def query_arrow(sql: str, *, lake_dir: Path | str | None = None, zone: Zone | None = None) -> pa.Table:
    """Return a query's answer as an Arrow table."""
    with reading_session(lake_dir, zone=zone) as session, own_words():
        return session.ask(sql).to_arrow_table()


def query_frame(sql: str, *, lake_dir: Path | str | None = None, zone: Zone | None = None) -> pd.DataFrame:
    """Return a query's answer as a pandas frame; times are aware, in UTC."""
    frame: pd.DataFrame = query_arrow(sql, lake_dir=lake_dir, zone=zone).to_pandas()
    return frame


def show(connection: duckdb.DuckDBPyConnection, sql: str, *, max_rows: int, max_width: int) -> None:
    """Print the answer of each query as DuckDB draws it, within so many rows and characters a line."""
    with own_words():
        for relation in answers(connection, sql):
            relation.show(max_rows=max_rows, max_width=max_width, null_value="·")


def opening_sql(lake_dir: Path | str | None = None, *, zone: Zone | None = None) -> str:
    """Return statements that open a lake in another program's DuckDB, of the version named in them.

    Of a restricted lake that is noted, as one access: what is asked by them, we do not see. Takes and raises
    what `connect` does.
    """
    with connect(lake_dir, zone=zone, tool="opening-sql"):
        folder = Path(lake_dir) if lake_dir else load_settings().zone_dir(zone or "open")
    return f"-- For DuckDB {duckdb.__version__} on this machine; read-only.\n{opening_statements(folder)}"
