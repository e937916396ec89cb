"""Pages exactly as received, in `raw_pages`, committed before anything is understood of them."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import duckdb
import orjson
import pyarrow as pa

from dispatchlake.lake import chain
from dispatchlake.model import Page

MAX_PAGES = 64
MAX_BYTES = 6 * 2**20
MAX_SECONDS = 10.0
"""A batch of pages is archived when it reaches one of these: they bound memory, and what is read again after
a kill. Each is a commit and a file: a center that answers slowly must not make one every few pages."""

_SCHEMA = pa.schema(
    [
        ("raw_id", pa.string()),
        ("center_id", pa.string()),
        ("resource", pa.string()),
        ("run_id", pa.string()),
        ("sequence", pa.int64()),
        ("url_path", pa.string()),
        ("query", pa.string()),
        ("status", pa.int64()),
        ("headers", pa.string()),
        ("requested_at", pa.timestamp("us", tz="UTC")),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("body_bytes", pa.int64()),
        ("body_sha256", pa.string()),
        ("body", pa.binary()),
        ("chain_position", pa.int64()),
        ("previous_sha256", pa.string()),
        ("record_sha256", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ArchivedPage:
    """A page and the id it has in `raw_pages`."""

    raw_id: str
    page: Page


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pages that follow each other.

    Attributes:
        is_last: Whether the listing is known to end with them.
    """

    pages: list[ArchivedPage]
    is_last: bool = False

    def without_records(self) -> Batch:
        """Return the same pages as received, without what was decoded of them."""
        bare = [ArchivedPage(one.raw_id, replace(one.page, records=[])) for one in self.pages]
        return Batch(bare, self.is_last)


def iter_batches(pages: Iterable[Page]) -> Iterator[Batch]:
    """Group pages into batches bounded by number, bytes and time, giving each page its id.

    When reading fails, what had come until then is still a batch, and then the failure is raised.
    """
    batch: list[ArchivedPage] = []
    size_bytes, started_s = 0, time.monotonic()
    try:
        for page in pages:
            batch.append(ArchivedPage(str(uuid.uuid4()), page))
            size_bytes += len(page.body)
            waited_s = time.monotonic() - started_s
            if len(batch) >= MAX_PAGES or size_bytes >= MAX_BYTES or waited_s >= MAX_SECONDS:
                yield Batch(batch)
                batch, size_bytes, started_s = [], 0, time.monotonic()
    except Exception:
        if batch:
            yield Batch(batch)
        raise
    if batch:
        yield Batch(batch, is_last=True)


def archive_pages(connection: duckdb.DuckDBPyConnection, pages: list[ArchivedPage], *, run_id: str) -> None:
    """Insert pages into `raw_pages`, linked. The caller holds the commit lock and a transaction."""
    if not pages:
        return
    rows = [_row(archived, run_id) for archived in pages]
    chain.link(connection, rows)
    connection.register("archive_batch", pa.Table.from_pylist(rows, schema=_SCHEMA))
    try:
        connection.execute("INSERT INTO raw_pages BY NAME SELECT * FROM archive_batch")
    finally:
        connection.unregister("archive_batch")


def _row(archived: ArchivedPage, run_id: str) -> dict[str, object]:
    page = archived.page
    return {
        "raw_id": archived.raw_id,
        "center_id": page.center_id,
        "resource": page.resource,
        "run_id": run_id,
        "sequence": page.sequence,
        "url_path": page.url_path,
        "query": orjson.dumps(dict(page.query)).decode(),
        "status": page.status,
        "headers": orjson.dumps(dict(page.headers)).decode(),
        "requested_at": page.requested_at,
        "received_at": page.received_at,
        "body_bytes": len(page.body),
        "body_sha256": hashlib.sha256(page.body).hexdigest(),
        "body": page.body,
    }
