"""What the lake knows of dispatch centers: names and time zones, for the views that speak of local time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import duckdb

logger = logging.getLogger(__name__)

_KNOWN = "memory.main.known_centers"
"""What this process's DuckDB has found to be in the lake: asking that takes a tenth of a millisecond."""

_REMEMBERING = threading.Lock()
"""Two threads that make that table at once, or renew a row of it, would refuse each other."""


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
    with _REMEMBERING:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {_KNOWN} (center_id VARCHAR, name VARCHAR, time_zone VARCHAR)"
        )
        unknown = set(said) - _rows(connection, f"FROM {_KNOWN}")
        if not unknown:
            return
        had = _rows(connection, "SELECT center_id, name, time_zone FROM centers")
        zones = {row[0] for row in _rows(connection, "SELECT name FROM pg_timezone_names()")}
        written = [_with_known_zone(said[key], zones) for key in sorted(unknown - had)]
        changed = [one for one in written if (one.center_id, one.name, one.time_zone) not in had]
        if changed:
            transact(partial(_write, connection, changed))
        ids = [center_id for center_id, _, _ in unknown]
        connection.execute(f"DELETE FROM {_KNOWN} WHERE center_id IN (SELECT unnest(?))", [ids])
        connection.executemany(f"INSERT INTO {_KNOWN} VALUES (?, ?, ?)", [list(key) for key in unknown])


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
