"""Typed records of one load, waiting for their commit: in memory, and of a large load in a temporary table.

Such a table DuckDB spills to disk within the connection's memory limit, so a load may be of any size. Readers
see none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from dispatchlake.lake.connection import Session
from dispatchlake.lake.parsing import counted_on
from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.sql import registered, transaction
from dispatchlake.lake.typed_pages import TypedPages, type_pages

IN_MEMORY_BYTES = 48 * 2**20
"""Typed records of so many bytes stay as they are; nearly every load has fewer."""

PORTION = 250_000
"""So many of the records of a larger load are merged at once: what that needs fits into our memory limit."""


class Staging:
    """The staged records and rejects of one load, and how much it has read.

    Attributes:
        staged: The records; `laid_out` lets statements ask them.
        rejected: The rejects.
    """

    def __init__(self, session: Session, record_type: RecordType) -> None:
        self.record_type = record_type
        self.pages = self.records = self.quarantined = self.body_bytes = 0
        self.staged = Pile(session, "staged")
        self.rejected = Pile(session, "rejected")

    def add(self, pages: TypedPages) -> None:
        """Stage the records of pages, in the order of the calls."""
        self.staged.add(counted_on(pages.records, "receive_order", self.records))
        self.rejected.add(pages.rejects)
        self.pages += pages.page_count
        self.records += pages.record_count
        self.quarantined += pages.rejects.num_rows
        self.body_bytes += pages.body_bytes

    @property
    def is_in_memory(self) -> bool:
        """Say whether it may be laid out together with others, on any connection of the lake."""
        return not (self.staged.is_table or self.rejected.is_table)

    @property
    def waiting_bytes(self) -> int:
        """Return how large what is in memory is."""
        return self.staged.waiting_bytes + self.rejected.waiting_bytes

    def close(self) -> None:
        """Drop what was staged."""
        self.staged.close()
        self.rejected.close()


@contextlib.contextmanager
def laid_out(connection: duckdb.DuckDBPyConnection, stagings: Sequence[Staging]) -> Iterator[None]:
    """Let statements ask `staged` and `rejected`, for all of some loads of one record type.

    Within a transaction: there a name is looked up in the lake in no time. One that is not in memory is
    alone, and asked on its own connection.
    """
    nothing = type_pages([], stagings[0].record_type)
    first, records, rejects = 0, [], []
    for one in stagings:
        records += [counted_on(rows, "receive_order", first) for rows in one.staged.waiting]
        rejects += one.rejected.waiting
        first += one.records
    with (
        _named(connection, "staged", records or [nothing.records], stagings[0].staged),
        _named(connection, "rejected", rejects or [nothing.rejects], stagings[0].rejected),
    ):
        yield


def portions(stagings: Sequence[Staging]) -> Iterator[bool]:
    """Let `staged` be a portion of what is laid out after another, as they came; yield whether one is all.

    Merged one by one they come to what they come to together, as any other cut of them does.
    """
    records = sum(one.records for one in stagings)
    if records <= PORTION or not stagings[0].staged.is_table:
        yield True
        return
    for first in range(0, records, PORTION):
        stagings[0].staged.show(f"receive_order >= {first} AND receive_order < {first + PORTION}")
        yield False
    stagings[0].staged.show()


@contextlib.contextmanager
def _named(
    connection: duckdb.DuckDBPyConnection, name: str, rows: list[pa.Table], pile: Pile
) -> Iterator[None]:
    if pile.is_table:
        yield
        return
    with registered(connection, name, pa.concat_tables(rows)):
        yield


class Pile:
    """Rows that wait, and the table they have gone to once they were too many; a view has its name."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._table = f"{name}_rows"
        self.waiting: list[pa.Table] = []
        self.waiting_bytes = 0
        self.is_table = False

    def add(self, rows: pa.Table) -> None:
        """Let some more rows wait."""
        if not rows.num_rows:
            return
        self.waiting.append(rows)
        self.waiting_bytes += rows.nbytes
        if self.is_table or self.waiting_bytes > IN_MEMORY_BYTES:
            self._put_into_table()

    def _put_into_table(self) -> None:
        rows = pa.concat_tables(self.waiting)
        # In one transaction: DuckDB looks each name up in the lake too, which begins one there.
        connection = self._session()
        with transaction(connection), registered(connection, "waiting", rows):
            if self.is_table:
                connection.execute(f"INSERT INTO {self._table} BY NAME SELECT * FROM waiting")
            else:
                connection.execute(f"CREATE OR REPLACE TEMP TABLE {self._table} AS SELECT * FROM waiting")
                self.show()
        self.is_table = True
        self.waiting, self.waiting_bytes = [], 0

    def show(self, condition: str = "true") -> None:
        """Let the name mean the rows of the table for which a condition holds."""
        self._session().execute(
            f"CREATE OR REPLACE TEMP VIEW {self._name} AS FROM {self._table} WHERE {condition}"
        )

    def close(self) -> None:
        """Drop the rows; where that fails, the next load replaces them."""
        self.waiting = []
        if self.is_table:
            with contextlib.suppress(duckdb.Error):  # the load has landed, or has failed for a reason
                self._session().execute(f"DROP VIEW IF EXISTS temp.main.{self._name}")
                self._session().execute(f"DROP TABLE IF EXISTS temp.main.{self._table}")
