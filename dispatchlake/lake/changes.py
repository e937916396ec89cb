"""What a table of the restricted zone gained and lost between two snapshots, as the open zone shows it.

DuckLake tells the changes row by row (`ducklake_table_changes`), each row known by a number that it keeps
when files are flushed, merged or rewritten. It tells more than changed: all rows of a file that was
rewritten, and rows that came and went in one transaction. So of each row only its first and its last change
count, and what left in the same form as it came is not told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from dispatchlake.errors import LakeError
from dispatchlake.lake.declared import Table
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.sql import fetch_count, fetch_row, first_row
from dispatchlake.lake.treatments import OpenColumn

BATCH_ROWS = 20_000
"""Rows that are treated at once."""

_CHANGE = re.compile(r"(\w+):(\d+)")
_SAME_ROWS = frozenset({"inline_flush", "rewrite_delete", "merge_adjacent", "compacted_table"})
"""Changes that DuckLake notes of a table whose rows stay the same."""


@dataclass(frozen=True, slots=True)
class State:
    """One snapshot of a lake: its number, and when it came to be, which another history has not."""

    snapshot: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """What lies between two snapshots.

    Attributes:
        after: The earlier one; its own changes are not meant.
        first: The snapshot from which DuckLake can be asked, `after` itself if the next one has expired.
        until: The later one; its changes are meant.
    """

    after: int
    first: int
    until: int


def current_state(connection: duckdb.DuckDBPyConnection) -> State:
    """Return the snapshot that this transaction reads."""
    (number,) = fetch_row(connection, "FROM ducklake_current_snapshot('lake')")
    taken_at = _taken_at(connection, number)
    if taken_at is None:
        raise LakeError(f"The catalog does not know its own snapshot {number}: it may be damaged.")
    return State(number, taken_at)


def is_kept(connection: duckdb.DuckDBPyConnection, state: State) -> bool:
    """Say whether a snapshot has not expired, and belongs to this lake's history."""
    return _taken_at(connection, state.snapshot) == state.at


def _taken_at(connection: duckdb.DuckDBPyConnection, snapshot: int) -> datetime | None:
    row = first_row(
        connection,
        f"SELECT snapshot_time::TIMESTAMPTZ FROM {CATALOG}.ducklake_snapshot WHERE snapshot_id = {snapshot}",
    )
    return row[0] if row else None


def span_between(connection: duckdb.DuckDBPyConnection, after: int, until: int) -> Span:
    """Return the span between two snapshots that are kept."""
    (has_next,) = fetch_row(
        connection, f"SELECT count(*) FROM {CATALOG}.ducklake_snapshot WHERE snapshot_id = {after + 1}"
    )
    return Span(after, after + 1 if has_next else after, until)


def changed_tables(
    connection: duckdb.DuckDBPyConnection, span: Span, tables: Sequence[Table]
) -> tuple[list[Table], list[Table]]:
    """Return the tables whose rows may have changed in a span, and those whose columns may have.

    Where snapshots of the span have expired, nobody can say, and all may.
    """
    between = f"snapshot_id > {span.after} AND snapshot_id <= {span.until}"
    rows = connection.execute(
        f"SELECT changes_made FROM {CATALOG}.ducklake_snapshot_changes WHERE {between}"
    ).fetchall()
    ids = dict(
        connection.execute(
            f"SELECT table_name, table_id FROM {CATALOG}.ducklake_table WHERE end_snapshot IS NULL"
        ).fetchall()
    )
    altered = {
        row[0]
        for row in connection.execute(
            f"""SELECT table_id FROM {CATALOG}.ducklake_column
            WHERE begin_snapshot > {span.after} OR end_snapshot > {span.after}"""
        ).fetchall()
    }
    touched = set(ids.values())
    if len(rows) == span.until - span.after:
        noted = [found for (text,) in rows for found in _CHANGE.findall(text or "")]
        touched = {int(number) for change, number in noted if change not in _SAME_ROWS}
    remade = [table for table in tables if ids[table.name] in altered]
    changed = [table for table in tables if ids[table.name] in touched and table not in remade]
    return changed, remade


def collect(
    connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[OpenColumn], span: Span
) -> None:
    """Collect in `gone` the rows that a table lost in a span, and in `come` those that it gained.

    A row that is both, because it changed, is in both, with what it was and what it is.
    """
    treated = ", ".join(f'{column.sql} AS "{column.name}"' for column in columns)
    names = ", ".join(f'"{column.name}"' for column in columns)
    # Of one snapshot, what a row was comes before what it is.
    first = "PARTITION BY row_number_ ORDER BY snapshot_, is_come_"
    last = "PARTITION BY row_number_ ORDER BY snapshot_ DESC, is_come_ DESC"
    # Kept as told before anything is asked of it: DuckLake 1.5.5 loses removals when it filters by snapshot
    # itself (docs/decisions/0019).
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE told AS
        SELECT rowid AS row_number_, snapshot_id AS snapshot_,
            change_type IN ('insert', 'update_postimage') AS is_come_, {treated}
        FROM ducklake_table_changes('lake', 'main', '{table.name}', {span.first}, {span.until})"""
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE changes AS
        SELECT * FROM told WHERE snapshot_ > {span.after}
        QUALIFY (row_number() OVER ({first}) = 1 AND NOT is_come_)
            OR (row_number() OVER ({last}) = 1 AND is_come_)"""
    )
    are_both = fetch_count(connection, "SELECT count(DISTINCT is_come_) FROM changes") == 2
    for name, other in (("gone", "come"), ("come", "gone")):
        side, opposite = (
            f"SELECT {names} FROM changes WHERE is_come_ = {one == 'come'}" for one in (name, other)
        )
        rest = f"{side} EXCEPT ALL {opposite}" if are_both else side
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {rest}")
    connection.execute("DROP TABLE told; DROP TABLE changes")


def read(
    connection: duckdb.DuckDBPyConnection, source: str, columns: Sequence[OpenColumn], *, is_treated: bool
) -> pa.RecordBatchReader:
    """Return the rows of a table, streaming.

    Args:
        connection: In the transaction whose snapshot is meant.
        source: Table of the lake, or what `collect` made.
        columns: The table's.
        is_treated: Whether the rows were treated when they were collected.
    """
    listed = ", ".join(
        f'"{column.name}"' if is_treated else f'{column.sql} AS "{column.name}"' for column in columns
    )
    return connection.execute(f"SELECT {listed} FROM {source}").to_arrow_reader(BATCH_ROWS)
