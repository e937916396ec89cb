"""What a table of the restricted zone gained and lost between two snapshots, as the open zone shows it.

DuckLake tells what came and what went row by row, each row known by a number that it keeps
when files are flushed, merged or rewritten. It tells more than changed: all rows of a file that was
rewritten, and rows that came and went in one transaction. So of each row only its first and its last change
count, and what left in the same form as it came is not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from dispatchlake.errors import LakeError
from dispatchlake.lake.declared import Table
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.sql import fetch_row, first_row
from dispatchlake.lake.treatments import OpenColumn

BATCH_ROWS = 20_000
"""Rows that are treated at once."""

PORTION_ROWS = 50_000
"""Changes that are compared at once, whole rows; by their numbers alone, five times as many."""

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
    # Of one snapshot, what a row was comes before what it is: even steps and odd ones.
    # Kept as told before anything is asked of it: DuckLake 1.5.5 loses removals when it filters by snapshot
    # itself (docs/decisions/0019).
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE told AS "
        + " UNION ALL ".join(
            f"""SELECT rowid AS row_number_, 2 * snapshot_id + {is_come} AS step_, {treated}
            FROM ducklake_table_{way}('lake', 'main', '{table.name}', {span.first}, {span.until})"""
            for is_come, way in enumerate(("deletions", "insertions"))
        )
    )
    meant = f"step_ // 2 > {span.after}"
    count, ways = fetch_row(connection, f"SELECT count(*), count(DISTINCT step_ % 2) FROM told WHERE {meant}")
    if ways == 2:
        _settle(connection, names, meant, count)
        rest = "SELECT *, more_ > 0 AS is_come_, unnest(range(abs(more_))) FROM balance"
    else:  # all of them came, or all of them went: once each
        rest = f"SELECT *, step_ % 2 = 1 AS is_come_ FROM told WHERE {meant}"
    for name, is_come in (("gone", False), ("come", True)):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {names} FROM ({rest}) WHERE is_come_ = {is_come}"
        )
    connection.execute("DROP TABLE told; DROP TABLE IF EXISTS temp.main.balance")


def _settle(connection: duckdb.DuckDBPyConnection, names: str, meant: str, count: int) -> None:
    """Collect in `balance` what `told` comes to: each row that came or went more often, and by how often.

    By aggregates and not by windows: of those DuckDB takes 4 ms and more for each, of however few rows.
    """
    _in_portions(
        connection,
        "changes",
        1 + count // (5 * PORTION_ROWS),
        "row_number_",
        lambda among: (
            f"""SELECT step_ % 2 = 1 AS is_come_, {names} FROM told JOIN (
            SELECT row_number_, min(step_) AS first_, max(step_) AS last_
            FROM told WHERE {meant} AND {among} GROUP BY row_number_) USING (row_number_)
        WHERE (step_ = first_ AND step_ % 2 = 0) OR (step_ = last_ AND step_ % 2 = 1)"""
        ),
    )
    _in_portions(
        connection,
        "balance",
        1 + count // PORTION_ROWS,
        names,
        lambda among: (
            f"""SELECT {names}, sum(CASE WHEN is_come_ THEN 1 ELSE -1 END)::BIGINT AS more_
        FROM changes WHERE {among} GROUP BY ALL HAVING more_ <> 0"""
        ),
    )
    connection.execute("DROP TABLE changes")


def _in_portions(
    connection: duckdb.DuckDBPyConnection, table: str, portions: int, key: str, rows: Callable[[str], str]
) -> None:
    """Make a table of what is selected of one portion of rows after the other, so that each fits into memory.

    Args:
        connection: Of the lake.
        table: Its name.
        portions: How many.
        key: Columns; rows that are equal in them have the same hash, and are in one portion.
        rows: Given the condition that a row is in a portion, returns the query.
    """
    for portion in range(portions):
        into = f"INSERT INTO {table}" if portion else f"CREATE OR REPLACE TEMP TABLE {table} AS"
        among = f"hash({key}) % {portions} = {portion}" if portions > 1 else "true"
        connection.execute(f"{into} {rows(among)}")


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
