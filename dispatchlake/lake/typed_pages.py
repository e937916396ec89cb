"""The records of some pages as Arrow tables: typed, hashed, and told where they are from."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dispatchlake.lake.archive import ArchivedPage, Batch, iter_batches
from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.schemas import RecordType, record_type_of
from dispatchlake.lake.timestamps import INSTANT
from dispatchlake.lake.version_hash import version_hashes
from dispatchlake.model import Page, Resource

_YOUNG_OBJECTS = 50_000


@dataclass(frozen=True, slots=True)
class TypedPages:
    """What became of the records of some pages.

    Attributes:
        records: One row per typed record: the record type's columns, `extra`, `version_hash`, `received_at`,
            `raw_id` and `receive_order`, which counts from 0.
        rejects: One row per record set aside: `reason`, `record`, `raw_id`, `position` in its page from 0,
            `received_at`.
        page_count: Pages.
        record_count: Records received, those set aside included.
        body_bytes: Length of the pages' bodies.
    """

    records: pa.Table
    rejects: pa.Table
    page_count: int
    record_count: int
    body_bytes: int


TypedBatch = tuple[Batch, TypedPages | Exception]
"""A batch without its decoded records, and what became of them, or why nothing did."""


def type_batches(pages: Iterable[Page], resource: Resource) -> Iterator[TypedBatch]:
    """Yield pages in batches, typed as they are read: decoded, records are many times as large.

    A process that decodes has hundreds of thousands of small objects, none in a cycle. Its collector of
    cycles looks for some more seldom from then on; it took a fifth of a large load.
    """
    young, *older = gc.get_threshold()
    if 0 < young < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *older)
    record_type = record_type_of(resource)
    for batch in iter_batches(pages):
        try:
            typed: TypedPages | Exception = type_pages(batch.pages, record_type)
        except Exception as error:  # noqa: BLE001 - raised when it is staged: its pages are archived before
            typed = error
        yield batch.without_records(), typed


def type_pages(pages: Sequence[ArchivedPage], record_type: RecordType) -> TypedPages:
    """Type the records of pages."""
    counts = [len(archived.page.records) for archived in pages]
    records = [record for archived in pages for record in archived.page.records]
    parsed = parse_records(records, record_type)
    page_of = np.repeat(np.arange(len(pages)), counts)
    received_at = pa.array([archived.page.received_at for archived in pages], INSTANT)
    raw_ids = pa.array([archived.raw_id for archived in pages], pa.string())
    kept = parsed.table["position"]
    origin = pa.array(page_of[kept.to_numpy()])
    typed = (
        parsed.table.rename_columns({"position": "receive_order"})
        .append_column("version_hash", version_hashes(parsed.table, record_type))
        .append_column("received_at", received_at.take(origin))
        .append_column("raw_id", raw_ids.take(origin))
    )
    at = np.array([reject.position for reject in parsed.rejects], np.int64)
    origin = pa.array(page_of[at])
    first_of_page = np.cumsum([0, *counts])
    rejects = pa.table(
        {
            "reason": pa.array([reject.reason for reject in parsed.rejects], pa.string()),
            "record": pa.array([reject.record for reject in parsed.rejects], pa.string()),
            "raw_id": raw_ids.take(origin),
            "position": pa.array(at - first_of_page[page_of[at]]),
            "received_at": received_at.take(origin),
        }
    )
    body_bytes = sum(len(archived.page.body) for archived in pages)
    return TypedPages(typed, rejects, len(pages), len(records), body_bytes)
