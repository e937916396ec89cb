"""Listings rendered once to a file, so that a server has nothing left to do but send.

A file holds the bodies of all pages, one after the other; beside it lie where each begins (JSON) and what a
landed row is compared by (Parquet). Files are kept in `bench/.data` for the next run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench import rows

DATA_DIR = Path(__file__).parent / ".data"

_KEY_SCHEMA = pa.schema(
    [
        ("center_id", pa.string()),
        ("record_id", pa.string()),
        ("updated_us", pa.int64()),
        ("dispatched_us", pa.int64()),
        ("lat", pa.float64()),
        ("alarm_level", pa.int32()),
        ("is_audio_live", pa.bool_()),
        ("units", pa.string()),
        ("label", pa.string()),
    ]
)
_CHUNK_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Listing:
    """What a center lists of one resource.

    Attributes:
        count: Records; 0 is an empty listing, one page without any.
        first: Number of the first record.
        step: From one record's number to the next.
        spacing_s: Seconds from one number to the next.
        revision: How often the records have changed.
        gzip: Whether bodies are compressed.
    """

    center_id: str
    resource: str
    count: int
    page_size: int = 500
    first: int = 0
    step: int = 1
    spacing_s: int = 60
    revision: int = 0
    gzip: bool = False

    @property
    def pages(self) -> int:
        """Return the number of pages."""
        return max(1, -(-self.count // self.page_size))

    def numbers(self, page: int) -> range:
        """Return the numbers of a page's records; pages are counted from 0."""
        first = self.first + page * self.page_size * self.step
        count = min(self.page_size, self.count - page * self.page_size)
        return range(first, first + max(0, count) * self.step, self.step)


@dataclass(frozen=True, slots=True)
class RenderedListing:
    """A listing's files.

    Attributes:
        bodies: All pages' bodies.
        offsets: Where each page begins, and where the last one ends.
        keys: Parquet of `RowKey`.
    """

    listing: Listing
    bodies: Path
    offsets: list[int] = field(repr=False)
    keys: Path


def rendered(listing: Listing) -> RenderedListing:
    """Return the listing's files, made now if there are none."""
    name = hashlib.sha256(
        json.dumps([asdict(listing), rows.EDITION, _KEY_SCHEMA.names]).encode()
    ).hexdigest()[:20]
    folder = DATA_DIR / "listings"
    bodies, index, keys = (folder / f"{name}.{kind}" for kind in ("bodies", "json", "parquet"))
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        offsets = _render(listing, bodies, keys)
        index.write_text(json.dumps(offsets))
    return RenderedListing(listing, bodies, json.loads(index.read_text()), keys)


def _render(listing: Listing, bodies: Path, keys: Path) -> list[int]:
    offsets = [0]
    with bodies.open("wb") as file, pq.ParquetWriter(keys, _KEY_SCHEMA) as writer:
        waiting: list[rows.RowKey] = []
        for body, page_keys in _iter_pages(listing):
            file.write(body)
            offsets.append(offsets[-1] + len(body))
            waiting += page_keys
            if len(waiting) >= _CHUNK_ROWS:
                writer.write_table(_key_table(waiting))
                waiting = []
        writer.write_table(_key_table(waiting))
    return offsets


def _iter_pages(listing: Listing) -> Iterator[tuple[bytes, list[rows.RowKey]]]:
    for page in range(listing.pages):
        made = list(
            rows.iter_rows(
                listing.resource,
                listing.center_id,
                listing.numbers(page),
                spacing_s=listing.spacing_s,
                revision=listing.revision,
            )
        )
        body = f"[{','.join(row.body for row in made)}]".encode()
        yield gzip.compress(body, 5, mtime=0) if listing.gzip else body, [row.key for row in made]


def _key_table(keys: list[rows.RowKey]) -> pa.Table:
    return pa.table(
        {name: [getattr(key, name) for key in keys] for name in _KEY_SCHEMA.names}, schema=_KEY_SCHEMA
    )
