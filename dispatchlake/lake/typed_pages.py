"""The records of some pages as Arrow tables: typed, hashed, and told where they are from."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.column_records import ColumnRecords
from dispatchlake.lake.events import NoEvent, read_event, told_of
from dispatchlake.lake.parsing import Parsed, Reject, joined, parse_columns, parse_records
from dispatchlake.lake.record_types import RecordType
from dispatchlake.lake.timestamps import INSTANT
from dispatchlake.lake.url_queries import without_queries
from dispatchlake.lake.version_hash import version_hashes


@dataclass(frozen=True, slots=True)
class TypedPages:
    """What became of the records of some pages.

    Attributes:
        records: One row per typed record: `center_id`, the record type's columns, `extra`, `version_hash`,
            `received_at`, `raw_id` and `receive_order`, which counts from 0.
        rejects: One row per record set aside: `center_id`, `resource`, `reason`, `record`, `raw_id`,
            `position` in its page from 0, `received_at`.
        page_count: Pages.
        record_count: Records received, those set aside included.
        body_bytes: Length of the pages' bodies.
    """

    records: pa.Table
    rejects: pa.Table
    page_count: int
    record_count: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class TypedDeliveries:
    """What became of some deliveries: tables as `TypedPages` has them, the records' by what they are."""

    records: dict[str, tuple[RecordType, pa.Table]]
    rejects: pa.Table

    def records_of(self, record_type: RecordType) -> pa.Table:
        """Return the records of a kind, which may be none."""
        if record_type.versions in self.records:
            return self.records[record_type.versions][1]
        return type_pages([], record_type).records


def type_pages(pages: Sequence[ArchivedPage], record_type: RecordType) -> TypedPages:
    """Type the records of pages."""
    counts = [len(archived.page.records) for archived in pages]
    records, rejects = _typed(pages, counts, record_type) if any(counts) else _nothing(record_type)
    body_bytes = sum(len(archived.page.body) for archived in pages)
    return TypedPages(records, rejects, len(pages), sum(counts), body_bytes)


@functools.cache
def _nothing(record_type: RecordType) -> tuple[pa.Table, pa.Table]:
    """Return what comes of no record: tables without a row. Most pages of a quiet day have none."""
    return _typed([], [], record_type)


def _typed(
    pages: Sequence[ArchivedPage], counts: Sequence[int], record_type: RecordType
) -> tuple[pa.Table, pa.Table]:
    origins = _Origins(pages)
    page_of = np.repeat(np.arange(len(pages)), counts)
    parsed = _parse([archived.page.records for archived in pages], record_type)
    typed, rejects = _complete(parsed, record_type, page_of, origins), parsed.rejects
    at = np.array([reject.position for reject in rejects], np.int64)
    first_of_page = np.cumsum([0, *counts])
    set_aside = _rejects(rejects, page_of[at], at - first_of_page[page_of[at]], origins)
    return typed, set_aside


def type_deliveries(
    deliveries: Sequence[ArchivedPage], faults: Mapping[str, str] = MappingProxyType({})
) -> TypedDeliveries:
    """Type the events of deliveries, of any centers; `receive_order` counts deliveries.

    Args:
        deliveries: In the order received.
        faults: By `raw_id`, why a delivery is to be set aside unread.
    """
    origins = _Origins(deliveries)
    found: dict[str, tuple[RecordType, list[object], list[int]]] = {}
    rejects: dict[int, Reject] = {}
    for number, archived in enumerate(deliveries):
        if archived.raw_id in faults:
            rejects[number] = Reject(0, faults[archived.raw_id], told_of(archived.page.body))
            continue
        try:
            event = read_event(archived.page.body, archived.page.resource)
        except NoEvent as error:
            rejects[number] = Reject(0, str(error), without_queries(error.record))
            continue
        _, records, numbers = found.setdefault(event.record_type.versions, (event.record_type, [], []))
        records.append(event.record)
        numbers.append(number)
    tables: dict[str, tuple[RecordType, pa.Table]] = {}
    for name, (record_type, records, numbers) in found.items():
        page_of = np.array(numbers)
        parsed = parse_records(records, record_type)
        typed = _complete(parsed, record_type, page_of, origins)
        order = pa.array(page_of).take(typed["receive_order"])
        column = typed.schema.get_field_index("receive_order")
        tables[name] = (record_type, typed.set_column(column, "receive_order", order))
        rejects |= {numbers[reject.position]: reject for reject in parsed.rejects}
    at = np.array(sorted(rejects), np.int64)
    set_aside = _rejects([rejects[number] for number in at], at, np.zeros(len(at), np.int64), origins)
    return TypedDeliveries(tables, set_aside)


class _Origins:
    """Where records are from, as columns with a row for each page."""

    def __init__(self, pages: Sequence[ArchivedPage]) -> None:
        self.center_id = pa.array([archived.page.center_id for archived in pages], pa.string())
        self.resource = pa.array([archived.page.resource for archived in pages], pa.string())
        self.received_at = pa.array([archived.page.received_at for archived in pages], INSTANT)
        self.raw_id = pa.array([archived.raw_id for archived in pages], pa.string())


def _parse(pages: Sequence[Sequence[Any]], record_type: RecordType) -> Parsed:
    """Type the records of each page, those of pages that are columns together and as columns."""
    parts: list[Parsed] = []
    first = 0
    for is_columns, group in groupby(pages, lambda records: isinstance(records, ColumnRecords)):
        together = list(group)
        part = parse_columns(_columns_of(together), record_type) if is_columns else None
        if part is None:
            part = parse_records([record for records in together for record in records], record_type)
        parts.append(part.moved_on(first))
        first += sum(map(len, together))
    return joined(parts) if parts else parse_records([], record_type)


def _columns_of(pages: Sequence[Sequence[Any]]) -> pa.StructArray:
    return pa.concat_arrays([records.columns for records in pages if isinstance(records, ColumnRecords)])


def _complete(
    parsed: Parsed, record_type: RecordType, page_of: npt.NDArray[np.int64], origins: _Origins
) -> pa.Table:
    """Tell of typed records where each is from; `page_of` has the page of each record that was parsed.

    `receive_order` is their place among those.
    """
    hashes = version_hashes(parsed.table, record_type)
    origin = pa.array(page_of[parsed.table["position"].to_numpy()])
    typed = (
        parsed.table.rename_columns({"position": "receive_order"})
        .append_column("version_hash", hashes)
        .append_column("received_at", origins.received_at.take(origin))
        .append_column("raw_id", origins.raw_id.take(origin))
        .append_column("center_id", origins.center_id.take(origin))
    )
    if record_type.may_lack_id:
        column = typed.schema.get_field_index(record_type.key)
        typed = typed.set_column(column, record_type.key, pc.coalesce(typed[record_type.key], hashes))
    return typed


def _rejects(
    rejects: Sequence[Reject],
    page_of: npt.NDArray[np.int64],
    position: npt.NDArray[np.int64],
    origins: _Origins,
) -> pa.Table:
    origin = pa.array(page_of)
    return pa.table(
        {
            "center_id": origins.center_id.take(origin),
            "resource": origins.resource.take(origin),
            "reason": pa.array([reject.reason for reject in rejects], pa.string()),
            "record": pa.array([reject.record for reject in rejects], pa.string()),
            "raw_id": origins.raw_id.take(origin),
            "position": pa.array(position),
            "received_at": origins.received_at.take(origin),
        }
    )
