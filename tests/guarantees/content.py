"""What a reader sees of one center's listing in the lake, to be compared as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.lake.reading import connect
from tests.truth.comparison import TABLES

Rows = frozenset[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Content:
    """One center's listing, at one snapshot.

    Attributes:
        current: Id and version hash of each current row.
        versions: Id and version hash of each version.
        quarantined: Ids of what is set aside.
        watermark: Where the next run begins, less the lookback.
        complete_through: Until when everything has been read.
        landed: Loads that are committed.
        repeated: Rows that are there more than once.
    """

    current: Rows
    versions: Rows
    quarantined: Rows
    watermark: datetime | None
    complete_through: datetime | None
    landed: int
    repeated: int

    @property
    def records(self) -> tuple[Rows, Rows, Rows]:
        """Return what does not depend on when it was read."""
        return self.current, self.versions, self.quarantined

    def without_history(self) -> Content:
        """Return the same with the current rows only."""
        return replace(self, versions=self.current, quarantined=frozenset())


def read_content(lake_dir: Path, center_id: str, resource: str) -> Content:
    """Open the lake as an analyst does and read; fail where it does not add up."""
    with connect(lake_dir) as connection:
        connection.execute("SET threads = 1")
        return content_of(connection, center_id, resource)


def content_of(connection: duckdb.DuckDBPyConnection, center_id: str, resource: str) -> Content:
    """Read within one transaction, so at one snapshot."""
    current, versions, key = TABLES[resource]
    mine = f"center_id = '{center_id}'"
    of_listing = f"{mine} AND resource = '{resource}'"
    queries = (
        f"SELECT {key}, version_hash FROM {current} WHERE {mine}",
        f"SELECT {key}, version_hash FROM {versions} WHERE {mine}",
        f"SELECT quarantine_id FROM quarantine WHERE {of_listing}",
    )
    connection.execute("BEGIN")
    try:
        rows = [connection.execute(query).fetchall() for query in queries]
        unique = [frozenset(found) for found in rows]
        content = Content(
            *unique,
            watermark=_one(connection, f"SELECT max(watermark_at) FROM watermarks WHERE {of_listing}"),
            complete_through=_one(
                connection, f"SELECT max(complete_through) FROM complete_through WHERE {of_listing}"
            ),
            landed=_one(connection, f"SELECT count(*) FROM runs WHERE {of_listing} AND state = 'landed'"),
            repeated=sum(map(len, rows)) - sum(map(len, unique)),
        )
        pages, last = _row(
            connection, f"SELECT count(*), coalesce(max(chain_position), 0) FROM raw_pages WHERE {mine}"
        )
        head = _one(connection, f"SELECT coalesce(max(position), 0) FROM chain_heads WHERE {mine}")
        last_change = _one(connection, f"SELECT max(updated_at) FROM {versions} WHERE {mine}")
        newest = _one(
            connection,
            f"""SELECT count(*) FROM {current} AS c JOIN {versions} AS v USING (center_id, {key})
            WHERE {mine} AND v.updated_at > c.updated_at""",
        )
    finally:
        connection.execute("COMMIT")
    assert pages == last == head, "the chain of archived pages has gaps, or its head is another"
    if content.watermark is not None:
        assert last_change is not None, "a watermark of nothing"
        assert content.watermark <= last_change, "the watermark is ahead of what is there"
    assert newest == 0, "a current row is older than one of its versions"
    ids = {row[0] for row in content.current}
    assert len(ids) == len(content.current), "an incident has two current rows"
    assert content.current <= content.versions, "a current row is not among its versions"
    assert ids == {row[0] for row in content.versions}, "an incident has versions and no current row"
    assert bool(content.landed) == (content.complete_through is not None)
    return content


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    return _row(connection, query)[0]


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row
