"""Records cut out of pages that are archived already, a batch a transaction, each told of in the chain.

The facts of a page stay as they were, its body's first hash among them, and so does its link: the chain
holds. What changed is said by a page of ours at the chain's end, written in the same transaction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from dispatchlake.lake.archive import REDACTIONS, Cut, archive_pages, redaction_page
from dispatchlake.lake.sql import registered

BATCH_BYTES = 8 * 2**20
BATCH_PAGES = 512
"""Bodies read and written at a time."""

MOST_NAMED = 50
"""Pages are looked through for so many ids at most; for more, every page is opened."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.:-]")

Transact = Callable[[Callable[[], int]], int]


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is cut out of a center's pages, and why.

    Attributes:
        cut: Given a page's resource, its body and when it was received; returns the body to keep and the
            erasures it fell under, none of which means that the page stays as it is.
        naming: Texts of which a page that is concerned has at least one; None means any page may be.
        received_until: Only pages received before then; None for all.
        received_since: Only pages received then or later; None for all.
        reason: Kept in the chain.
    """

    center_id: str
    cut: Callable[[str, bytes, datetime], tuple[bytes, Collection[str]]]
    reason: str
    run_id: str
    naming: tuple[str, ...] | None = None
    received_until: datetime | None = None
    received_since: datetime | None = None


def redact_pages(connection: duckdb.DuckDBPyConnection, transact: Transact, redaction: Redaction) -> int:
    """Redact a center's pages; return how many were. `transact` runs a function in one transaction.

    Stopped anywhere and done again, it goes on with the pages that are left.
    """
    redacted = 0
    for first, last in _iter_spans(connection, redaction):
        redacted += transact(lambda first=first, last=last: _redact(connection, redaction, first, last))  # type: ignore[misc]
    return redacted


def _iter_spans(connection: duckdb.DuckDBPyConnection, redaction: Redaction) -> Iterator[tuple[int, int]]:
    """Yield places in the chain of pages that may be concerned, cut so that their bodies fit into memory."""
    condition, parameters = _concerned(redaction)
    rows = connection.execute(
        f"SELECT chain_position, octet_length(body) FROM raw_pages WHERE {condition} ORDER BY chain_position",
        parameters,
    ).fetchall()
    first, last, size, count = 0, 0, 0, 0
    for position, body_bytes in rows:
        if count and (size + body_bytes > BATCH_BYTES or count >= BATCH_PAGES):
            yield first, last
            size = count = 0
        if not count:
            first = position
        last, size, count = position, size + body_bytes, count + 1
    if count:
        yield first, last


def _concerned(redaction: Redaction) -> tuple[str, dict[str, object]]:
    condition = f"center_id = $center AND resource <> '{REDACTIONS}' AND octet_length(body) > 0"
    parameters: dict[str, object] = {"center": redaction.center_id}
    if redaction.received_until is not None:
        condition += " AND received_at < $until"
        parameters["until"] = redaction.received_until
    if redaction.received_since is not None:
        condition += " AND received_at >= $since"
        parameters["since"] = redaction.received_since
    if redaction.naming is not None:
        named = sorted({_plain_part(text) for text in redaction.naming})
        # Cast to a text, a body keeps letters and digits as they are, whatever else is in it.
        names = [f"contains(CAST(body AS VARCHAR), $name_{number})" for number in range(len(named))]
        condition += f" AND ({' OR '.join(names) or 'false'})"
        parameters |= {f"name_{number}": name for number, name in enumerate(named)}
    return condition, parameters


def _plain_part(text: str) -> str:
    """Return the longest part of a text that stands as it is in any JSON, and in a body cast to a text."""
    return max(_NOT_PLAIN.split(text), key=len)


def _redact(connection: duckdb.DuckDBPyConnection, redaction: Redaction, first: int, last: int) -> int:
    condition, parameters = _concerned(redaction)
    rows = connection.execute(
        f"""SELECT raw_id, resource, coalesce(redacted_sha256, body_sha256), received_at, body FROM raw_pages
        WHERE {condition} AND chain_position BETWEEN $first AND $last ORDER BY chain_position""",
        {**parameters, "first": first, "last": last},
    ).fetchall()
    cuts: list[Cut] = []
    bodies: list[bytes] = []
    received: list[datetime] = []
    because: set[str] = set()
    for raw_id, resource, was, received_at, body in rows:
        kept, names = redaction.cut(resource, body, received_at)
        if names:
            cuts.append(Cut(raw_id, was, hashlib.sha256(kept).hexdigest()))
            bodies.append(kept)
            received.append(received_at)
            because |= set(names)
    if not cuts:
        return 0
    record = redaction_page(redaction.center_id, cuts, because=because, reason=redaction.reason)
    changed = pa.table(
        {
            "raw_id": pa.array([one.raw_id for one in cuts], pa.string()),
            "kept": pa.array(bodies, pa.binary()),
            "sha256": pa.array([one.now for one in cuts], pa.string()),
        }
    )
    with registered(connection, "changed", changed):
        connection.execute(
            """UPDATE raw_pages SET body = changed.kept, redacted_sha256 = changed.sha256,
                redacted_at = $at, redaction_id = $record
            FROM changed WHERE center_id = $center AND received_at BETWEEN $oldest AND $newest
                AND changed.raw_id = raw_pages.raw_id""",
            {
                "at": record.page.received_at,
                "record": record.raw_id,
                "center": redaction.center_id,
                "oldest": min(received),
                "newest": max(received),
            },
        )
    archive_pages(connection, [record], run_id=redaction.run_id)
    return len(cuts)
