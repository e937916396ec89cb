"""What replayed pages change, inside the caller's transaction: versions, current rows, quarantine.

The pages' records are staged as for a load. Unlike a load, nothing is taken to have been received last: where
a version belongs is told by its page's place in the archive. Every step compares first and writes differences
only, so that repeating it writes nothing.

A page that something was cut out of does not say what it brought once. A row of a record that it has no more
stays: whether it goes is the affair of erasures and retention, and it may be held.

Expects the temporary tables `staged` and `rejected` (`staging`), `replayed` (the batch's pages: raw_id,
chain_position, received_at) and `archive_order` (raw_id, chain_position of all pages of the listing). Of what
is staged only the records of pages in `replayed` count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from dispatchlake.lake import commit
from dispatchlake.lake.record_types import EVENT_TYPES, RecordType
from dispatchlake.lake.schemas import QUARANTINE, record_columns
from dispatchlake.lake.sql import fetch_row, quoted, registered

TEMPORARY_TABLES = (
    "produced_versions", "produced_quarantine", "had", "earliest", "stale", "fresh",
    "touched", "present", "winners", "wrong", "missing", "displaced", "produced_sightings",
    "cut_pages", "left_in_cut",
)  # fmt: skip
"""What is left of a batch until the next one replaces it."""

_AFTER_ALL = 2**62
"""Place of a page that was archived after the replay had begun."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """How one table's rows of the replayed pages differ from what they were.

    Attributes:
        added: Rows that the pages bring today and that were not there.
        removed: Rows that came from the pages, which bring them no more.
        moved: Rows that an earlier page brings too: it is that one they came from.
    """

    added: int = 0
    removed: int = 0
    moved: int = 0

    def __add__(self, other: Reconciled) -> Reconciled:
        return Reconciled(self.added + other.added, self.removed + other.removed, self.moved + other.moved)


@dataclass(frozen=True, slots=True)
class Retyped:
    """What one batch changed."""

    versions: Reconciled
    quarantine: Reconciled


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A table, and the temporary table `produced` of the rows of it that the replayed pages bring today.

    Attributes:
        known_by: What tells which record a row is of, as `left_in_cut` has it.
        within: Where in the table rows equal to those can be, with its `bounds`: so that cost follows the
            batch and not the table.
        noted: Further columns of `had`, where the table's rows are collected that the batch is about.
    """

    table: str
    identity: tuple[str, ...]
    columns: tuple[str, ...]
    produced: str
    known_by: str
    within: str = "true"
    bounds: Mapping[str, object] = field(default_factory=dict)
    noted: tuple[str, ...] = ()


def retype(connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str) -> Retyped:
    """Make the tables hold of the replayed pages of a listing what today's parser makes of them."""
    id_field = next(one.source for one in record_type.fields if one.name == record_type.key)
    pointer = quoted("/" + id_field.replace("~", "~0").replace("/", "~1"))
    set_aside = f"coalesce(json_extract_string(record, {pointer}), record)"
    _create(
        connection,
        "cut_pages",
        """SELECT raw_id FROM raw_pages
        WHERE center_id = $center AND redacted_sha256 IS NOT NULL
            AND received_at BETWEEN (SELECT min(received_at) FROM replayed)
                AND (SELECT max(received_at) FROM replayed)
            AND raw_id IN (SELECT raw_id FROM replayed)""",
        {"center": center_id},
    )
    _create(
        connection,
        "left_in_cut",
        f"""SELECT {record_type.key} AS known_by, raw_id FROM staged SEMI JOIN cut_pages USING (raw_id)
        UNION SELECT {set_aside}, raw_id FROM rejected SEMI JOIN cut_pages USING (raw_id)""",
    )
    versions = _retype_records(connection, record_type, center_id, "rest")
    return Retyped(versions, _reconcile_quarantine(connection, center_id, known_by=set_aside))


def retype_deliveries(
    connection: duckdb.DuckDBPyConnection,
    records: Mapping[str, pa.Table],
    rejects: pa.Table,
    center_id: str,
) -> Retyped:
    """Make the tables hold of the replayed deliveries what today's parser makes of them.

    Args:
        connection: Of the lake.
        records: What they bring today, by the table of its versions; nothing of a kind that is not there.
        rejects: What is to be set aside of them.
        center_id: Whose deliveries.
    """
    # One is left whole or emptied, and is not read then.
    _create(connection, "cut_pages", "SELECT raw_id FROM replayed WHERE false")
    _create(connection, "left_in_cut", "SELECT raw_id AS known_by, raw_id FROM cut_pages")
    versions = Reconciled()
    for record_type in EVENT_TYPES.values():
        with registered(connection, "staged", records[record_type.versions]):
            versions += _retype_records(connection, record_type, center_id, "webhook")
    with registered(connection, "rejected", rejects):
        return Retyped(versions, _reconcile_quarantine(connection, center_id, known_by="record"))


def _retype_records(
    connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str, source: commit.Source
) -> Reconciled:
    span = commit.staged_span(connection, record_type)
    versions = _reconcile_versions(connection, record_type, center_id, span, source)
    if record_type.current:
        _renew_current(connection, record_type, center_id)
    if record_type.sightings:
        _reconcile_sightings(connection, record_type, center_id, span, source)
    return versions


def _reconcile_versions(
    connection: duckdb.DuckDBPyConnection,
    record_type: RecordType,
    center_id: str,
    span: commit.StagedSpan,
    source: commit.Source,
) -> Reconciled:
    key = record_type.key
    _create(
        connection,
        "produced_versions",
        f"""SELECT $source AS source, staged.*, replayed.chain_position
        FROM staged JOIN replayed USING (raw_id)
        QUALIFY row_number() OVER (PARTITION BY {key}, version_hash, raw_id ORDER BY receive_order) = 1""",
        {"source": source},
    )
    versions = _reconcile(
        connection,
        _Outcome(
            record_type.versions,
            identity=(key, "version_hash"),
            columns=tuple(column.name for column in record_columns(record_type)),
            produced="produced_versions",
            known_by=key,
            within=span.within,
            bounds=span.bounds,
            noted=("source", "created_at"),
        ),
        center_id,
    )
    # `had` and `fresh` are still those of the versions.
    _create(
        connection,
        "displaced",
        f"""SELECT {key}, version_hash, had.source, had.created_at, had.received_at, had.raw_id
        FROM had JOIN fresh USING ({key}, version_hash) WHERE had.source <> fresh.source""",
    )
    return versions


def _reconcile_sightings(
    connection: duckdb.DuckDBPyConnection,
    record_type: RecordType,
    center_id: str,
    span: commit.StagedSpan,
    source: commit.Source,
) -> None:
    """Let the sightings be what the versions' table does not say: who else brought a version, and when.

    Of a version that turned out to be ours first, the other source's page is a sighting from now on.
    """
    key, table = record_type.key, record_type.sightings
    columns = (key, "version_hash", "source", "created_at", "received_at", "raw_id")
    _create(
        connection,
        "produced_sightings",
        f"""SELECT center_id, {", ".join(columns)}, chain_position FROM produced_versions
        SEMI JOIN (
            SELECT {key}, version_hash FROM {record_type.versions} WHERE {span.within} AND source <> $source)
        USING ({key}, version_hash)""",
        {**span.bounds, "source": source},
    )
    _reconcile(
        connection,
        _Outcome(
            table,
            identity=(key, "version_hash", "source"),
            columns=("center_id", *columns),
            produced="produced_sightings",
            known_by=key,
            within=span.within,
            bounds=span.bounds,
        ),
        center_id,
    )
    (displaced,) = fetch_row(connection, "SELECT count(*) FROM displaced")
    if displaced:
        connection.execute(
            f"""INSERT INTO {table} BY NAME SELECT $center AS center_id, * FROM displaced
            ANTI JOIN (SELECT {key}, version_hash, source FROM {table} WHERE center_id = $center)
            USING ({key}, version_hash, source)""",
            {"center": center_id},
        )


def _reconcile_quarantine(
    connection: duckdb.DuckDBPyConnection, center_id: str, *, known_by: str
) -> Reconciled:
    _create(
        connection,
        "produced_quarantine",
        f"""SELECT {commit.QUARANTINE_ID} AS quarantine_id, rejected.*, replayed.chain_position
        FROM rejected JOIN replayed USING (raw_id)
        QUALIFY row_number() OVER (PARTITION BY quarantine_id, raw_id ORDER BY position) = 1""",
    )
    return _reconcile(
        connection,
        _Outcome(
            QUARANTINE.name,
            identity=("quarantine_id",),
            columns=tuple(column.name for column in QUARANTINE.columns),
            produced="produced_quarantine",
            known_by=known_by,
            noted=("record",),
        ),
        center_id,
    )


def _reconcile(connection: duckdb.DuckDBPyConnection, outcome: _Outcome, center_id: str) -> Reconciled:
    """Remove what the pages bring no more, add what they bring anew, each row under its earliest page."""
    table, identity = outcome.table, ", ".join(outcome.identity)
    center = {"center": center_id}
    first, last = fetch_row(connection, "SELECT min(received_at), max(received_at) FROM replayed")
    noted = "".join(f", row.{name}" for name in outcome.noted)
    had = f"""SELECT {identity}, raw_id, row.received_at{noted},
            coalesce(chain_position, {_AFTER_ALL}) AS chain_position
        FROM {table} AS row LEFT JOIN archive_order USING (raw_id) WHERE center_id = $center AND"""
    _create(
        connection,
        "had",
        f"""{had} row.received_at BETWEEN $first AND $last AND raw_id IN (SELECT raw_id FROM replayed)
        UNION
        {had} {outcome.within} AND ({identity}) IN (SELECT {identity} FROM {outcome.produced})""",
        {**center, "first": first, "last": last, **outcome.bounds},
    )
    _create(
        connection,
        "earliest",
        f"""SELECT * FROM {outcome.produced}
        QUALIFY row_number() OVER (PARTITION BY {identity} ORDER BY chain_position) = 1""",
    )
    _create(
        connection,
        "stale",
        f"""SELECT {identity}, received_at FROM (
            SELECT *, raw_id IN (SELECT raw_id FROM replayed) AND ({identity}, raw_id) NOT IN (
                SELECT {identity}, raw_id FROM {outcome.produced})
                AND (raw_id NOT IN (SELECT raw_id FROM cut_pages)
                    OR ({outcome.known_by}, raw_id) IN (SELECT known_by, raw_id FROM left_in_cut))
                AS is_obsolete
            FROM had)
        LEFT JOIN (SELECT {identity}, chain_position AS earliest_position FROM earliest) USING ({identity})
        WHERE is_obsolete OR earliest_position < chain_position""",
    )
    _create(
        connection,
        "fresh",
        f"""SELECT * FROM earliest
        ANTI JOIN (SELECT {identity} FROM had ANTI JOIN stale USING ({identity})) AS kept
        USING ({identity})""",
    )
    stale, moved = fetch_row(
        connection,
        f"SELECT count(*), count(fresh.raw_id) FROM stale LEFT JOIN fresh USING ({identity})",
    )
    (fresh,) = fetch_row(connection, "SELECT count(*) FROM fresh")
    if stale:
        first, last = fetch_row(connection, "SELECT min(received_at), max(received_at) FROM stale")
        connection.execute(
            f"""DELETE FROM {table} WHERE center_id = $center AND received_at BETWEEN $first AND $last
            AND ({identity}) IN (SELECT {identity} FROM stale)""",
            {**center, "first": first, "last": last},
        )
    if fresh:
        names = ", ".join(f'"{name}"' for name in outcome.columns)
        connection.execute(f"INSERT INTO {table} BY NAME SELECT {names} FROM fresh")
    return Reconciled(added=fresh - moved, removed=stale - moved, moved=moved)


def _renew_current(connection: duckdb.DuckDBPyConnection, record_type: RecordType, center_id: str) -> None:
    """Make the winner among an incident's versions its current row, wherever it is not.

    Newest `updated_at` wins; of equal ones the one that is further along; then the one received last: from
    the later page, or later on the same page. Where a page that is not replayed leaves that open, what is
    current stays.
    """
    key, current, versions = record_type.key, record_type.current, record_type.versions
    center = {"center": center_id}
    # `stale` is still that of the versions.
    _create(connection, "touched", f"SELECT {key} FROM produced_versions UNION SELECT {key} FROM stale")
    _create(
        connection,
        "present",
        f"""SELECT {key}, version_hash, raw_id, received_at, created_at FROM {current}
        WHERE center_id = $center AND {key} IN (SELECT {key} FROM touched)""",
        center,
    )
    _create(
        connection,
        "winners",
        f"""SELECT {key}, version_hash, raw_id, version.received_at, version.created_at
        FROM {versions} AS version
        LEFT JOIN archive_order AS page USING (raw_id)
        LEFT JOIN (SELECT {key}, version_hash, raw_id, receive_order FROM produced_versions) AS produced
            USING ({key}, version_hash, raw_id)
        LEFT JOIN (SELECT {key}, version_hash, true AS is_current FROM present) AS present
            USING ({key}, version_hash)
        WHERE center_id = $center AND {key} IN (SELECT {key} FROM touched)
        QUALIFY row_number() OVER (
            PARTITION BY {key}
            ORDER BY updated_at DESC, ({record_type.tie_break} IS NOT NULL) DESC,
                coalesce(page.chain_position, {_AFTER_ALL}) DESC, version.received_at DESC,
                receive_order DESC NULLS LAST, is_current NULLS LAST, version_hash) = 1""",
        center,
    )
    same = f"USING ({key}, version_hash, raw_id, received_at)"
    _create(connection, "wrong", f"SELECT {key}, created_at FROM present ANTI JOIN winners {same}")
    _create(connection, "missing", f"SELECT * FROM winners ANTI JOIN present {same}")
    oldest, newest = fetch_row(connection, "SELECT min(created_at), max(created_at) FROM wrong")
    if oldest is not None:
        connection.execute(
            f"""DELETE FROM {current} WHERE center_id = $center AND created_at BETWEEN $oldest AND $newest
            AND {key} IN (SELECT {key} FROM wrong)""",
            {**center, "oldest": oldest, "newest": newest},
        )
    oldest, newest = fetch_row(connection, "SELECT min(created_at), max(created_at) FROM missing")
    if oldest is not None:
        connection.execute(
            f"""INSERT INTO {current} BY NAME SELECT * FROM {versions}
            WHERE center_id = $center AND created_at BETWEEN $oldest AND $newest
                AND ({key}, version_hash) IN (SELECT {key}, version_hash FROM missing)""",
            {**center, "oldest": oldest, "newest": newest},
        )


def _create(
    connection: duckdb.DuckDBPyConnection, name: str, query: str, parameters: dict[str, Any] | None = None
) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", parameters)
