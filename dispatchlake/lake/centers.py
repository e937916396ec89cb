"""What the lake knows of dispatch centers: names and time zones, for the views that speak of local time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

logger = logging.getLogger(__name__)

_KNOWN = "memory.main.known_centers"
"""What this process's DuckDB has found to be in the lake: asking that takes a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class CenterFacts:
    """What is said of a dispatch center: its id, its name for people, the IANA name of its time zone."""

    center_id: str
    name: str
    time_zone: str


def remember(
    connection: duckdb.DuckDBPyConnection,
    transact: Callable[[Callable[[], None]], None],
    centers: Iterable[CenterFacts],
) -> None:
    """Write what is said of some centers; nothing, and without a transaction, where the lake says it already.

    A time zone that DuckDB does not know would break every view that speaks of local time: it is written as
    UTC, and the log says so.
    """
    said = {(one.center_id, one.name, one.time_zone): one for one in centers}
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_KNOWN} (center_id VARCHAR, name VARCHAR, time_zone VARCHAR)"
    )
    if not (unknown := set(said) - _rows(connection, f"FROM {_KNOWN}")):
        return
    had = _rows(connection, "SELECT center_id, name, time_zone FROM centers")
    written = {key: _with_known_zone(connection, said[key]) for key in unknown - had}
    changed = [one for one in written.values() if (one.center_id, one.name, one.time_zone) not in had]
    if changed:

        def write() -> None:
            for one in changed:
                connection.execute("DELETE FROM centers WHERE center_id = ?", [one.center_id])
                connection.execute(
                    "INSERT INTO centers VALUES (?, ?, ?, ?)",
                    [one.center_id, one.name, one.time_zone, datetime.now(UTC)],
                )

        transact(write)
    for key in unknown:
        connection.execute(f"DELETE FROM {_KNOWN} WHERE center_id = ?", [key[0]])
        connection.execute(f"INSERT INTO {_KNOWN} VALUES (?, ?, ?)", list(key))


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> set[tuple[Any, ...]]:
    return set(connection.execute(query).fetchall())


def _with_known_zone(connection: duckdb.DuckDBPyConnection, one: CenterFacts) -> CenterFacts:
    found = connection.execute("SELECT 1 FROM pg_timezone_names() WHERE name = ?", [one.time_zone]).fetchone()
    if found:
        return one
    logger.warning(
        "The time zone of %s is not known to DuckDB: its local times are shown in UTC. Give its block an "
        "IANA name such as America/Chicago.",
        one.center_id,
    )
    return CenterFacts(one.center_id, one.name, "UTC")
