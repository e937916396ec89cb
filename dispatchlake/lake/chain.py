"""The hash chain over archived pages: one chain per center, each page linked to the one before it.

A page's `record_sha256` is the SHA-256 of `previous_sha256` and the page's facts, each as a netstring
(`length in bytes:value,`), in the order of `FACTS`. Anybody can compute it: docs/chain-of-custody.md.
What belongs here: making the chain. What does not: finding out whether it holds (`custody`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from dispatchlake.lake.sql import first_row, one_of

GENESIS = "0" * 64
"""`previous_sha256` of a center's first page."""

FACTS = {
    "raw_id": "raw_id",
    "center_id": "center_id",
    "resource": "resource",
    "run_id": "run_id",
    "sequence": "sequence::VARCHAR",
    "url_path": "url_path",
    "query": "query::VARCHAR",
    "status": "status::VARCHAR",
    "headers": "headers::VARCHAR",
    "requested_at": "epoch_us(requested_at)::VARCHAR",
    "received_at": "epoch_us(received_at)::VARCHAR",
    "body_bytes": "body_bytes::VARCHAR",
    "body_sha256": "body_sha256",
}
"""What is hashed of a page, in this order, and how DuckDB writes each as a text; times in microseconds."""

LINK_COLUMNS = ("chain_position", "previous_sha256", "record_sha256")

_IS_AMONG = one_of("?", "center_id")

_STEP_PAGES = 64
_STEP_BYTES = 32 * 2**20
"""Pages rewritten at a time when an archive gets its chain."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINKS = pa.schema(
    [
        ("raw_id", pa.string()),
        ("chain_position", pa.int64()),
        ("previous_sha256", pa.string()),
        ("record_sha256", pa.string()),
    ]
)


def record_sha256(previous_sha256: str, facts: Iterable[str]) -> str:
    """Return the hash of a page's record: of the link before it and its facts, in the order of `FACTS`."""
    values = [value.encode() for value in (previous_sha256, *facts)]
    return hashlib.sha256(b"".join(b"%d:%b," % (len(value), value) for value in values)).hexdigest()


def record_sha256_sql() -> str:
    """Return the same as SQL over a row of `raw_pages`."""
    values = ", ".join(("previous_sha256", *FACTS.values()))
    netstrings = f"list_transform([{values}], lambda value: strlen(value) || ':' || value || ',')"
    return f"sha256(array_to_string({netstrings}, ''))"


def link(connection: duckdb.DuckDBPyConnection, rows: list[dict[str, object]]) -> None:
    """Give rows about to be archived their links, in order, and move their centers' heads.

    The caller holds the commit lock and a transaction: nobody else moves a head meanwhile.
    """
    center_ids = sorted({str(row["center_id"]) for row in rows})
    heads = _heads(connection, center_ids)
    for row in rows:
        center_id = str(row["center_id"])
        position, previous = heads.get(center_id, (0, GENESIS))
        sha256 = record_sha256(previous, (_text(row[name]) for name in FACTS))
        row.update(zip(LINK_COLUMNS, (position + 1, previous, sha256), strict=True))
        heads[center_id] = (position + 1, sha256)
    connection.execute(f"DELETE FROM chain_heads WHERE {_IS_AMONG}", [center_ids])
    values = ", ".join(["(?, ?, ?)"] * len(heads))
    links = [value for center_id, head in heads.items() for value in (center_id, *head)]
    connection.execute(f"INSERT INTO chain_heads VALUES {values}", links)


def _heads(connection: duckdb.DuckDBPyConnection, center_ids: list[str]) -> dict[str, tuple[int, str]]:
    rows = connection.execute(
        f"SELECT center_id, position, record_sha256 FROM chain_heads WHERE {_IS_AMONG}", [center_ids]
    ).fetchall()
    return {center_id: (position, sha256) for center_id, position, sha256 in rows}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return str((value - _EPOCH) // timedelta(microseconds=1))
    return str(value)


def link_archive(connection: duckdb.DuckDBPyConnection) -> None:
    """Chain the pages that were archived before there was a chain, in the order they were received.

    Rewrites those pages once, a few at a time: DuckDB holds the bodies of one step. The caller holds the
    commit lock and a transaction.
    """
    if first_row(connection, "SELECT 1 FROM raw_pages LIMIT 1") is None:
        return  # a lake that is being made
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE unlinked AS
        SELECT row_number() OVER (ORDER BY center_id, received_at, sequence, raw_id) AS place,
            center_id, raw_id, received_at, body_bytes, [{", ".join(FACTS.values())}] AS facts
        FROM raw_pages WHERE chain_position IS NULL"""
    )
    heads: dict[str, tuple[int, str]] = {}
    done = 0
    while step := _next_step(connection, done):
        links: list[tuple[str, int, str, str]] = []
        center_id = step[0][0]
        position, sha256 = heads.get(center_id, (0, GENESIS))
        for _, raw_id, _, _, facts in step:
            previous, position = sha256, position + 1
            sha256 = record_sha256(previous, facts)
            links.append((raw_id, position, previous, sha256))
        heads[center_id] = (position, sha256)
        _set_links(connection, links, {"center": center_id, "first": step[0][2], "last": step[-1][2]})
        done += len(step)
    for center_id, head in heads.items():
        connection.execute("INSERT INTO chain_heads VALUES (?, ?, ?)", [center_id, *head])
    connection.execute("DROP TABLE unlinked")


def _next_step(connection: duckdb.DuckDBPyConnection, done: int) -> list[Any]:
    """Return the next pages of one center: few enough for their bodies to fit into memory."""
    step: list[Any] = []
    size_bytes = 0
    for row in connection.execute(
        """SELECT center_id, raw_id, received_at, body_bytes, facts FROM unlinked
        WHERE place > ? AND place <= ? ORDER BY place""",
        [done, done + _STEP_PAGES],
    ).fetchall():
        size_bytes += row[3]
        if step and (row[0] != step[0][0] or size_bytes > _STEP_BYTES):
            break
        step.append(row)
    return step


def _set_links(
    connection: duckdb.DuckDBPyConnection, links: list[tuple[str, int, str, str]], span: dict[str, object]
) -> None:
    columns = zip(zip(*links, strict=True), _LINKS, strict=True)
    connection.register(
        "links", pa.table([pa.array(values, of.type) for values, of in columns], schema=_LINKS)
    )
    assignments = ", ".join(f"{name} = links.{name}" for name in LINK_COLUMNS)
    try:
        connection.execute(
            f"""UPDATE raw_pages SET {assignments} FROM links
            WHERE center_id = $center AND received_at BETWEEN $first AND $last
                AND links.raw_id = raw_pages.raw_id""",
            span,
        )
    finally:
        connection.unregister("links")
