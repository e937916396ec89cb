"""Pages exactly as received, in `raw_pages`, committed before anything is understood of them.

All but what is erased: a page that came with such a record is archived without it, with the hash that it came
with; and a page of ours, in the same chain, says so.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import duckdb
import orjson
import pyarrow as pa

from dispatchlake.lake import chain
from dispatchlake.model import BodyAsReceived, Page

MAX_PAGES = 64
MAX_BYTES = 8 * 2**20
MAX_SECONDS = 2.0
"""A batch of pages is archived when it reaches one of these: they bound memory, and what a kill may cost."""

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
        ("redacted_at", pa.timestamp("us", tz="UTC")),
        ("redacted_sha256", pa.string()),
        ("redaction_id", pa.string()),
    ]
)

REDACTIONS = "erasure"
"""`raw_pages.resource` of a page of ours that says which bodies records were cut out of."""


@dataclass(frozen=True, slots=True)
class ArchivedPage:
    """A page and the id it has in `raw_pages`."""

    raw_id: str
    page: Page


@dataclass(frozen=True, slots=True)
class Cut:
    """A body that something was cut out of: its page, and its hash before and since."""

    raw_id: str
    was: str
    now: str


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
    rows += _redactions_on_arrival(pages, rows, run_id)
    chain.link(connection, rows)
    connection.register("archive_batch", pa.Table.from_pylist(rows, schema=_SCHEMA))
    try:
        connection.execute("INSERT INTO raw_pages BY NAME SELECT * FROM archive_batch")
    finally:
        connection.unregister("archive_batch")


def redaction_page(
    center_id: str, cuts: Sequence[Cut], *, because: Collection[str], reason: str
) -> ArchivedPage:
    """Return the page of the chain that says which bodies of a center records were cut out of.

    It goes into the chain like any other page: so a cut that no page there tells of is no redaction.
    """
    now = datetime.now(UTC)
    content = {
        "because": sorted(because),
        "reason": reason,
        "redacted_at": now.isoformat(),
        "pages": [{"raw_id": one.raw_id, "was": one.was, "now": one.now} for one in cuts],
    }
    page = Page(
        center_id=center_id,
        resource=REDACTIONS,
        sequence=1,
        url_path="",
        query={},
        status=0,
        headers={},
        requested_at=now,
        received_at=now,
        body=orjson.dumps(content),
        records=[],
    )
    return ArchivedPage(str(uuid.uuid4()), page)


def _redactions_on_arrival(
    pages: list[ArchivedPage], rows: list[dict[str, object]], run_id: str
) -> list[dict[str, object]]:
    """Return rows that tell of the pages which came with records that are erased; note them in their rows."""
    cut = [one for one in zip(pages, rows, strict=True) if one[0].page.received is not None]
    added = []
    for center_id in sorted({archived.page.center_id for archived, _ in cut}):
        own = [(archived, row) for archived, row in cut if archived.page.center_id == center_id]
        because = {
            name for archived, _ in own if archived.page.received for name in archived.page.received.because
        }
        cuts = [
            Cut(archived.raw_id, str(row["body_sha256"]), str(row["redacted_sha256"]))
            for archived, row in own
        ]
        record = redaction_page(center_id, cuts, because=because, reason="erased before it came")
        for _, row in own:
            row.update(redacted_at=record.page.received_at, redaction_id=record.raw_id)
        added.append(_row(record, run_id))
    return added


def _row(archived: ArchivedPage, run_id: str) -> dict[str, object]:
    page = archived.page
    received = page.received or BodyAsReceived(hashlib.sha256(page.body).hexdigest(), len(page.body), ())
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
        "body_bytes": received.size_bytes,
        "body_sha256": received.sha256,
        "body": page.body,
        "redacted_at": None,
        "redacted_sha256": hashlib.sha256(page.body).hexdigest() if page.received else None,
        "redaction_id": None,
    }
