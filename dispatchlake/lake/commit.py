"""What one load changes, inside the caller's transaction: versions, current rows, quarantine, bookkeeping.

Every step compares the staged records with what the lake has, within the batch's center and time range, so
that cost follows the batch and not the table; and every step is a no-op when repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from dispatchlake.lake.schemas import RecordType, record_columns
from dispatchlake.lake.sql import fetch_row

QUARANTINE_ID = "left(sha256(concat_ws('|', $center, $resource, reason, record)), 32)"
"""A record set aside twice for the same reason has one id."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Counts of one merge: incidents first seen, and further versions of known ones."""

    new: int
    changed: int


@dataclass(frozen=True, slots=True)
class StagedSpan:
    """Span of the staged records' stamps; None where nothing was staged."""

    oldest_created_at: datetime | None
    newest_created_at: datetime | None
    newest_updated_at: datetime | None


def staged_span(connection: duckdb.DuckDBPyConnection) -> StagedSpan:
    """Return the span of what is staged."""
    return StagedSpan(
        *fetch_row(connection, "SELECT min(created_at), max(created_at), max(updated_at) FROM staged")
    )


def merge(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str, span: StagedSpan
) -> Merged:
    """Add the staged versions the lake does not have, and renew the current rows they supersede."""
    if span.oldest_created_at is None:
        return Merged(0, 0)
    _find_fresh(connection, record_type, center_id, span)
    fresh = _count(connection, "SELECT count(*) FROM fresh")
    if not fresh:
        return Merged(0, 0)
    _insert(connection, record_type, record_type.versions, "fresh", center_id)
    new = _find_known(connection, record_type, center_id, span)
    _find_winners(connection, record_type)
    _delete_superseded(connection, record_type, center_id)
    _insert(connection, record_type, record_type.current, "winners", center_id)
    return Merged(new=new, changed=fresh - new)


def _find_fresh(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str, span: StagedSpan
) -> None:
    """Collect in `fresh` which staged records are versions the versions table does not have, each once.

    `created_at` is part of the hash: an equal version has an equal one, so the time range loses nothing. Only
    what the merge decides by is copied; the records stay where they are staged.
    """
    key = record_type.key
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT {key}, min(receive_order) AS receive_order, any_value(updated_at) AS updated_at,
            any_value({record_type.tie_break}) IS NOT NULL AS is_further
        FROM staged ANTI JOIN (
            SELECT {key}, version_hash FROM {record_type.versions}
            WHERE center_id = $center AND created_at BETWEEN $oldest AND $newest) AS had
        USING ({key}, version_hash)
        GROUP BY {key}, version_hash""",
        {"center": center_id, "oldest": span.oldest_created_at, "newest": span.newest_created_at},
    )


def _find_winners(connection: duckdb.DuckDBPyConnection, record_type: RecordType) -> None:
    """Collect in `winners` which fresh versions are to be the current ones.

    Newest wins; of two in one second the one that is further along; then the one received last, which a
    version of this load always is.
    """
    key = record_type.key
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE winners AS
        SELECT {key}, receive_order FROM (
            SELECT *, row_number() OVER (
                PARTITION BY {key} ORDER BY updated_at DESC, is_further DESC, receive_order DESC
            ) AS place
            FROM fresh) AS newest
        WHERE place = 1 AND NOT EXISTS (
            SELECT 1 FROM known WHERE known.{key} = newest.{key} AND (
                known.updated_at > newest.updated_at OR (
                    known.updated_at = newest.updated_at AND known.is_further AND NOT newest.is_further)))"""
    )


def _insert(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, table: str, chosen: str, center_id: str
) -> None:
    """Insert the staged records that `chosen` names; all of them, as a first load does, without a join."""
    added = {"center_id": "$center", "source": "'rest'"}
    names = ", ".join(
        f"{added.get(column.name, column.name)} AS {column.name}" for column in record_columns(record_type)
    )
    is_all = _count(connection, f"SELECT (SELECT count(*) FROM staged) = (SELECT count(*) FROM {chosen})")
    among = "" if is_all else f"SEMI JOIN {chosen} USING (receive_order)"
    connection.execute(
        f"INSERT INTO {table} BY NAME SELECT {names} FROM staged {among}", {"center": center_id}
    )


def _find_known(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str, span: StagedSpan
) -> int:
    """Collect in `known` the current rows of the fresh ids; return how many of those ids have none.

    Most lie within the batch's time range. Only for an id that does not is the whole center looked through,
    its id columns alone: a source may correct `created_at`, and its incident must not be there twice.
    """
    key = record_type.key
    current = f"""SELECT {key}, created_at, updated_at, ({record_type.tie_break} IS NOT NULL) AS is_further
        FROM {record_type.current} WHERE center_id = $center"""
    unknown = f"SELECT {key} FROM fresh WHERE {key} NOT IN (SELECT {key} FROM known)"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE known AS
        {current} AND created_at BETWEEN $oldest AND $newest AND {key} IN (SELECT {key} FROM fresh)""",
        {"center": center_id, "oldest": span.oldest_created_at, "newest": span.newest_created_at},
    )
    if not _count(connection, f"SELECT count(*) FROM ({unknown})"):
        return 0
    connection.execute(f"INSERT INTO known {current} AND {key} IN ({unknown})", {"center": center_id})
    return _count(connection, f"SELECT count(DISTINCT {key}) FROM ({unknown})")


def _delete_superseded(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str
) -> None:
    key = record_type.key
    oldest, newest = fetch_row(
        connection,
        f"SELECT min(created_at), max(created_at) FROM known WHERE {key} IN (SELECT {key} FROM winners)",
    )
    if oldest is None:
        return
    connection.execute(
        f"""DELETE FROM {record_type.current} WHERE center_id = $center
        AND created_at BETWEEN $oldest AND $newest AND {key} IN (SELECT {key} FROM winners)""",
        {"center": center_id, "oldest": oldest, "newest": newest},
    )


def quarantine(connection: duckdb.DuckDBPyConnection, *, center_id: str, resource: str) -> None:
    """Add the rejected records; one rejected before, for the same reason, writes nothing."""
    connection.execute(
        f"""INSERT INTO quarantine BY NAME
        SELECT * FROM (
            SELECT {QUARANTINE_ID} AS quarantine_id,
                $center AS center_id, $resource AS resource, reason, record, raw_id, position, received_at
            FROM rejected)
        WHERE quarantine_id NOT IN (SELECT quarantine_id FROM quarantine WHERE center_id = $center)
        QUALIFY row_number() OVER (PARTITION BY quarantine_id ORDER BY received_at, position) = 1""",
        {"center": center_id, "resource": resource},
    )


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(fetch_row(connection, query)[0])
