"""What one load changes, inside the caller's transaction: versions, current rows, quarantine, bookkeeping.

Every step compares the staged records with what the lake has, within the batch's centers and time range, so
that cost follows the batch and not the table; and every step is a no-op when repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb

from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.schemas import record_columns
from dispatchlake.lake.sql import fetch_count, fetch_row

QUARANTINE_ID = "left(sha256(concat_ws('|', center_id, resource, reason, record)), 32)"
"""A record set aside twice for the same reason has one id."""

Source = Literal["rest", "webhook"]
"""How records reach us."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Counts of one merge: records first seen, and further versions of known ones."""

    new: int = 0
    changed: int = 0

    def __add__(self, other: Merged) -> Merged:
        """Return the counts of both merges together."""
        return Merged(self.new + other.new, self.changed + other.changed)


@dataclass(frozen=True, slots=True)
class CenterSpan:
    """Span of a center's staged records; None where none had a stamp."""

    oldest_created_at: datetime | None = None
    newest_created_at: datetime | None = None
    newest_updated_at: datetime | None = None
    lacks_created_at: bool = False


@dataclass(frozen=True, slots=True)
class StagedSpan:
    """Centers and span of the staged records; None where nothing was staged, or nothing had a stamp."""

    of_centers: Mapping[str, CenterSpan]

    @property
    def center_ids(self) -> tuple[str, ...]:
        """Return the centers of which records are staged."""
        return tuple(self.of_centers)

    @property
    def oldest_created_at(self) -> datetime | None:
        """Return the oldest record's stamp, of any center."""
        return min(
            (one.oldest_created_at for one in self.of_centers.values() if one.oldest_created_at), default=None
        )

    @property
    def newest_created_at(self) -> datetime | None:
        """Return the newest record's stamp, of any center."""
        return max(
            (one.newest_created_at for one in self.of_centers.values() if one.newest_created_at), default=None
        )

    @property
    def bounds(self) -> dict[str, object]:
        """Return the parameters of `within`."""
        centers = {f"center_{number}": center_id for number, center_id in enumerate(self.center_ids)}
        if self.oldest_created_at is None:
            return {**centers}
        return {**centers, "oldest": self.oldest_created_at, "newest": self.newest_created_at}

    @property
    def among_centers(self) -> str:
        """Return the condition that a row is of the staged records' centers, which tells files apart."""
        names = [f"$center_{number}" for number in range(len(self.center_ids))]
        return f"center_id = {names[0]}" if len(names) == 1 else f"center_id IN ({', '.join(names)})"

    @property
    def within(self) -> str:
        """Return the condition that a row may be equal to a staged one.

        `created_at` is part of the version hash: an equal version has an equal one, so this loses nothing.
        """
        if not self.center_ids:
            return "false"
        between = "created_at BETWEEN $oldest AND $newest"
        if self.oldest_created_at is None:
            between = "created_at IS NULL"
        elif any(one.lacks_created_at for one in self.of_centers.values()):
            between = f"({between} OR created_at IS NULL)"
        return f"{self.among_centers} AND {between}"


def staged_span(connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> StagedSpan:
    """Return the span of what is staged."""
    updated = "max(updated_at)" if record_type.current else "NULL"
    rows = connection.execute(
        f"""SELECT center_id, min(created_at), max(created_at), {updated}, count(*) > count(created_at)
        FROM staged GROUP BY center_id ORDER BY center_id"""
    ).fetchall()
    return StagedSpan({center_id: CenterSpan(*span) for center_id, *span in rows})


def merge(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, span: StagedSpan, *, source: Source
) -> dict[str, Merged]:
    """Add the staged versions the lake does not have, and renew the current rows they supersede.

    Returns:
        dict: What that came to, by center; centers of which nothing was added are not there.
    """
    if not span.center_ids:
        return {}
    _find_fresh(connection, record_type, span, source)
    if record_type.sightings:
        _note_sightings(connection, record_type, span, source)
    fresh = _by_center(connection, "fresh")
    if not fresh:
        return {}
    _insert(connection, record_type, record_type.versions, "fresh", source)
    if not record_type.current:
        return {center_id: Merged(new=count) for center_id, count in fresh.items()}
    known, new = _find_known(connection, record_type, span)
    are_unique = known + sum(new.values()) == sum(fresh.values())
    if known or not are_unique:
        _find_winners(connection, record_type, known=known, are_unique=are_unique)
        _delete_superseded(connection, record_type, span)
        _insert(connection, record_type, record_type.current, "winners", source)
    else:  # as in a first load
        _insert(connection, record_type, record_type.current, "fresh", source)
    return {
        center_id: Merged(new.get(center_id, 0), count - new.get(center_id, 0))
        for center_id, count in fresh.items()
    }


def _find_fresh(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, span: StagedSpan, source: Source
) -> None:
    """Collect in `fresh` which staged records are versions the versions table does not have, each once.

    Only what the merge decides by is copied; the records stay where they are staged. Where two sources bring
    records, a version that the table has from the other one is there too, with that one as `first_source`.
    """
    identity = record_type.identity
    had, join, condition, ranks = identity, "ANTI JOIN", "", ""
    bounds = dict(span.bounds)
    if record_type.current:
        ranks += f""", any_value(updated_at) AS updated_at,
            any_value({record_type.tie_break}) IS NOT NULL AS is_further"""
    if record_type.sightings:
        had, join = f"{identity}, source AS had_source", "LEFT JOIN"
        condition = "WHERE had_source IS DISTINCT FROM $source"
        bounds["source"] = source
        ranks += ", any_value(had_source) AS first_source"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT {identity}, min(receive_order) AS receive_order{ranks}
        FROM staged {join} (SELECT {had} FROM {record_type.versions} WHERE {span.within}) AS had
            USING ({identity})
        {condition} GROUP BY {identity}""",
        bounds,
    )


def _note_sightings(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, span: StagedSpan, source: Source
) -> None:
    """Note versions that the other source brought before us, once, and leave in `fresh` those nobody has."""
    identity, seen = record_type.identity, "FROM fresh WHERE first_source IS NOT NULL"
    if not fetch_count(connection, f"SELECT count(*) {seen}"):
        return
    connection.execute(
        f"""INSERT INTO {record_type.sightings} BY NAME
        SELECT {identity}, $source AS source, created_at, received_at, raw_id
        FROM staged SEMI JOIN (SELECT receive_order {seen}) USING (receive_order)
            ANTI JOIN (
                SELECT {identity} FROM {record_type.sightings} WHERE {span.within} AND source = $source)
            USING ({identity})""",
        {**span.bounds, "source": source},
    )
    connection.execute(f"DELETE {seen}")


def _find_winners(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, *, known: int, are_unique: bool
) -> None:
    """Collect in `winners` which fresh versions are to be the current ones.

    Newest wins; of two in one second the one that is further along; then the one received last, which a
    version of this load always is. What needs no choice is not made one: of millions that costs memory.
    """
    key = f"center_id, {record_type.key}"
    newest = "fresh"
    if not are_unique:
        newest = f"""(SELECT * FROM fresh QUALIFY row_number() OVER (
            PARTITION BY {key} ORDER BY updated_at DESC, is_further DESC, receive_order DESC) = 1)"""
    unless_known = (
        ""
        if not known
        else f"""WHERE NOT EXISTS (
        SELECT 1 FROM known
        WHERE known.center_id = newest.center_id AND known.{record_type.key} = newest.{record_type.key}
            AND (known.updated_at > newest.updated_at OR (
                known.updated_at = newest.updated_at AND known.is_further AND NOT newest.is_further)))"""
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE winners AS
        SELECT {key}, receive_order FROM {newest} AS newest {unless_known}"""
    )


def _insert(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, table: str, chosen: str, source: Source
) -> None:
    """Insert the staged records that `chosen` names; all of them, as a first load does, without a join."""
    names = ", ".join(
        "$source AS source" if column.name == "source" else column.name
        for column in record_columns(record_type)
    )
    (is_all,) = fetch_row(
        connection, f"SELECT (SELECT count(*) FROM staged) = (SELECT count(*) FROM {chosen})"
    )
    among = "" if is_all else f"SEMI JOIN {chosen} USING (receive_order)"
    connection.execute(f"INSERT INTO {table} BY NAME SELECT {names} FROM staged {among}", {"source": source})


def _find_known(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, span: StagedSpan
) -> tuple[int, dict[str, int]]:
    """Collect in `known` the current rows of the fresh ids.

    Most lie within the batch's time range. Only for an id that does not is the whole center looked through,
    its id columns alone: a source may correct `created_at`, and its incident must not be there twice.

    Returns:
        tuple: How many ids have one, and by center how many have none.
    """
    key = f"center_id, {record_type.key}"
    current = f"""SELECT {key}, created_at, updated_at, ({record_type.tie_break} IS NOT NULL) AS is_further
        FROM {record_type.current} WHERE"""
    known = fetch_count(
        connection,
        f"""CREATE OR REPLACE TEMP TABLE known AS
        {current} {span.within} AND ({key}) IN (SELECT {key} FROM fresh)""",
        span.bounds,
    )
    unknown = fetch_count(
        connection,
        f"""CREATE OR REPLACE TEMP TABLE unknown AS
        SELECT DISTINCT {key} FROM fresh ANTI JOIN known USING ({key})""",
    )
    if not unknown:
        return known, {}
    centers = {name: value for name, value in span.bounds.items() if name.startswith("center_")}
    found = fetch_count(
        connection,
        f"INSERT INTO known {current} {span.among_centers} AND ({key}) IN (SELECT {key} FROM unknown)",
        centers,
    )
    if not found:
        return known, _by_center(connection, "unknown")
    return known + found, _by_center(connection, f"unknown ANTI JOIN known USING ({key})")


def _delete_superseded(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, span: StagedSpan
) -> None:
    key = f"center_id, {record_type.key}"
    oldest, newest = fetch_row(
        connection,
        f"SELECT min(created_at), max(created_at) FROM known WHERE ({key}) IN (SELECT {key} FROM winners)",
    )
    if oldest is None:
        return
    connection.execute(
        f"""DELETE FROM {record_type.current} WHERE {span.among_centers}
        AND created_at BETWEEN $oldest AND $newest AND ({key}) IN (SELECT {key} FROM winners)""",
        {**span.bounds, "oldest": oldest, "newest": newest},
    )


def quarantine(connection: duckdb.DuckDBPyConnection, center_ids: Collection[str]) -> None:
    """Add the rejected records; one rejected before, for the same reason, writes nothing."""
    connection.execute(
        f"""INSERT INTO quarantine BY NAME
        SELECT * FROM (
            SELECT {QUARANTINE_ID} AS quarantine_id,
                center_id, resource, reason, record, raw_id, position, received_at
            FROM rejected)
        WHERE quarantine_id NOT IN (
            SELECT quarantine_id FROM quarantine WHERE center_id IN (SELECT unnest($centers)))
        QUALIFY row_number() OVER (PARTITION BY quarantine_id ORDER BY received_at, position) = 1""",
        {"centers": list(center_ids)},
    )


def _by_center(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, int]:
    rows = connection.execute(f"SELECT center_id, count(*) FROM {relation} GROUP BY center_id").fetchall()
    return dict(rows)
