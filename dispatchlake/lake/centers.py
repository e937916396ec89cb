"""What the lake knows of dispatch centers: of which it has pages; names and time zones, for local time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import reading
from dispatchlake.lake.connection import Session, catalog_path

logger = logging.getLogger(__name__)

_REMEMBERING = threading.Lock()
"""Two threads that write of one center at once would refuse each other."""


@dataclass(frozen=True, slots=True)
class CenterFacts:
    """What is said of a dispatch center: its id, its name for people, the IANA name of its time zone."""

    center_id: str
    name: str
    time_zone: str


def read_archived(lake_dir: Path) -> list[str]:
    """Return the centers that a lake has archived pages of; none where there is no lake.

    Raises:
        LakeError: The lake cannot be read.
    """
    if not catalog_path(lake_dir).exists():
        return []
    with reading.connect_unnoted(lake_dir) as connection:
        try:
            return archived_centers(connection)
        except duckdb.Error as error:
            raise LakeError(f"The archive cannot be read ({type(error).__name__}).") from error


def archived_centers(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the centers that have archived pages, in order of their ids."""
    rows = connection.execute("SELECT center_id FROM chain_heads ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def refuse_unarchived(named: Collection[str], archived: Collection[str]) -> None:
    """Raise ConfigError where a center is named that the archive has no page of, naming those it has."""
    if unknown := sorted(set(named) - set(archived)):
        known = f"Archived are: {', '.join(archived)}." if archived else "The archive is empty."
        raise ConfigError(f"The archive has no page of dispatch center {', '.join(unknown)}. {known}")


def remember(
    session: Session,
    transact: Callable[[Callable[[], None]], None],
    centers: Iterable[CenterFacts],
    known: dict[str, CenterFacts],
) -> None:
    """Write what is said of some centers; nothing, and without a transaction, where the lake says it already.

    A time zone that DuckDB does not know would break every view that speaks of local time: it is written as
    UTC, and the log says so.

    Args:
        session: Of the lake.
        transact: Runs what writes, in a transaction.
        centers: What is said.
        known: What this process has found to be in the lake, by center id; what is new is added.
    """
    said = {one.center_id: one for one in centers}
    with _REMEMBERING:
        unknown = {center_id: one for center_id, one in said.items() if known.get(center_id) != one}
        if not unknown:
            return
        connection = session()
        had = _rows(connection, "SELECT center_id, name, time_zone FROM centers")
        zones = {row[0] for row in _rows(connection, "SELECT name FROM pg_timezone_names()")}
        written = [_with_known_zone(one, zones) for one in unknown.values() if astuple(one) not in had]
        changed = [one for one in written if astuple(one) not in had]
        if changed:
            transact(partial(_write, connection, changed))
        known |= unknown


def _write(connection: duckdb.DuckDBPyConnection, changed: list[CenterFacts]) -> None:
    ids = [one.center_id for one in changed]
    connection.execute("DELETE FROM centers WHERE center_id IN (SELECT unnest(?))", [ids])
    columns = [ids, [one.name for one in changed], [one.time_zone for one in changed], datetime.now(UTC)]
    connection.execute("INSERT INTO centers SELECT unnest(?), unnest(?), unnest(?), ?", columns)


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> set[tuple[Any, ...]]:
    return set(connection.execute(query).fetchall())


def _with_known_zone(one: CenterFacts, zones: Collection[str]) -> CenterFacts:
    if one.time_zone in zones:
        return one
    logger.warning(
        "The time zone of %s is not known to DuckDB: its local times are shown in UTC. Give its block an "
        "IANA name such as America/Chicago.",
        one.center_id,
    )
    return CenterFacts(one.center_id, one.name, "UTC")
