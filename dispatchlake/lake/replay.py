"""Archived pages read again through today's parser, without the vendor: what a mended parser is for.

In archive order, center by center and listing by listing, in bounded batches of one transaction each; where
memory is short, in halves of one. A batch brings the tables to what they would be had its pages been parsed
like this when they came; coverage and watermarks say what was read, not how, and stay. Stopping anywhere and
replaying again gives the same lake.

Which pages, and reading them, is `selected_pages`'s business; what a batch changes, `retyping`'s.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from dispatchlake.halving import TOO_MUCH, in_halves
from dispatchlake.lake.column_records import ColumnDecoder
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.landing import type_or_set_aside
from dispatchlake.lake.record_types import EVENT_TYPES, INCIDENT_EVENTS, record_type_of
from dispatchlake.lake.retyping import TEMPORARY_TABLES, Retyped, retype, retype_deliveries
from dispatchlake.lake.selected_pages import (
    READ_BYTES,
    SelectedPage,
    Selection,
    iter_batches,
    iter_fitting,
    read_nothing_yet,
    read_pages,
    select,
)
from dispatchlake.lake.sql import fetch_count, fetch_row, memory_shortage_told
from dispatchlake.lake.staging import Staging, laid_out
from dispatchlake.lake.typed_pages import type_pages
from dispatchlake.model import RESOURCES, Resource
from dispatchlake.payload import PayloadError, values_of

logger = logging.getLogger(__name__)

MAX_PAGES = 256
"""Pages of one transaction at most; how long they may be together, `selected_pages` says."""

MAX_DELIVERIES = 16_384
"""The same of deliveries, which hold one record each."""

_CUT_MEANWHILE = "records were cut out of it while it was read, replay it again"

_NEEDS_MORE = f"{TOO_MUCH}, raise DISPATCHLAKE_MEMORY_LIMIT_MB"

Transact = Callable[[Callable[[], Retyped]], Retyped]
Resources = Mapping[tuple[str, str], Resource]
"""Listings as centers have configured them, by center id and name; any other is as declared."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What the replay of one center's listing did: numbers only, safe to show anywhere.

    Attributes:
        records: Records in the pages read.
        added: Versions that today's parser makes of the pages, and that were not there.
        removed: Versions that came of the pages, and that it makes no more.
        released: Quarantined rows that left: their records landed, or the reason is another now.
        set_aside: Quarantined rows that came.
        quarantined: Records of the pages that cannot be typed, today's count.
        unreadable: Pages left alone, with all that came of them: no payload today, records under other names
            of fields than configured, not as archived, cut while they were read, or each of them more than
            memory holds.
        reasons: Why they were, with the number of pages; nothing of a body is named.
    """

    center_id: str
    resource: str
    pages: int = 0
    records: int = 0
    added: int = 0
    removed: int = 0
    released: int = 0
    set_aside: int = 0
    quarantined: int = 0
    unreadable: int = 0
    reasons: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: ReplaySummary) -> ReplaySummary:
        """Return what both did: of some pages of a listing, and of others."""
        reasons = Counter(dict(self.reasons))
        reasons.update(dict(other.reasons))
        return ReplaySummary(
            self.center_id,
            self.resource,
            pages=self.pages + other.pages,
            records=self.records + other.records,
            added=self.added + other.added,
            removed=self.removed + other.removed,
            released=self.released + other.released,
            set_aside=self.set_aside + other.set_aside,
            quarantined=self.quarantined + other.quarantined,
            unreadable=self.unreadable + other.unreadable,
            reasons=tuple(reasons.most_common()),
        )

    @property
    def is_without_effect(self) -> bool:
        """Say whether the tables hold just what they held."""
        return not (self.added or self.removed or self.released or self.set_aside)


def replay(
    connection: duckdb.DuckDBPyConnection, transact: Transact, selection: Selection, resources: Resources
) -> list[ReplaySummary]:
    """Replay the selected pages; `transact` runs a function in a transaction under the commit lock.

    Raises:
        ConfigError: A center is named that has no archived page.
    """
    select(connection, selection)
    try:
        return [
            _replay_deliveries(connection, transact, center_id, name)
            if name in DISCRIMINATORS
            else _replay_listing(
                connection, transact, center_id, resources.get((center_id, name)) or RESOURCES[name]
            )
            for center_id, name in connection.execute(
                "SELECT DISTINCT center_id, resource FROM selected ORDER BY ALL"
            ).fetchall()
        ]
    finally:
        for name in ("selected", "archive_order", "replayed", *TEMPORARY_TABLES):
            connection.execute(f"DROP TABLE IF EXISTS temp.{name}")


def _replay_listing(
    connection: duckdb.DuckDBPyConnection, transact: Transact, center_id: str, resource: Resource
) -> ReplaySummary:
    record_type = record_type_of(resource)
    decode = partial(_decode, ColumnDecoder(), resource)

    def replay_batch(batch: Sequence[SelectedPage], unreadable: Counter[str]) -> _Replayed:
        staging = Staging(lambda: connection, record_type)
        try:
            for part in iter_fitting(batch, READ_BYTES):
                read = read_pages(connection, center_id, resource.name, part, unreadable, decode)
                staging.add(type_pages(read, record_type))
            write = partial(_retype, connection, staging, center_id)
            changed = transact(partial(_but_for_cut, connection, center_id, unreadable, write))
        finally:
            staging.close()
        return _Replayed(changed, staging.records, staging.quarantined)

    return _replay_batches(connection, center_id, resource.name, MAX_PAGES, replay_batch)


def _retype(connection: duckdb.DuckDBPyConnection, staging: Staging, center_id: str) -> Retyped:
    with laid_out(connection, [staging]):
        return retype(connection, staging.record_type, center_id)


def _but_for_cut(
    connection: duckdb.DuckDBPyConnection,
    center_id: str,
    unreadable: Counter[str],
    write: Callable[[], Retyped],
) -> Retyped:
    """Run `write` without the pages that are not as they were read, and count those.

    What they had told may be gone from the tables already, and must not come back. Nor are they read again at
    once: a row that retention has yet to empty, and that is to stay, would be taken for one that was wrong.
    The caller holds a transaction, within which no page changes.
    """
    first, last = fetch_row(connection, "SELECT min(chain_position), max(chain_position) FROM replayed")
    cut = fetch_count(
        connection,
        """DELETE FROM replayed WHERE NOT EXISTS (
            FROM raw_pages AS page
            WHERE center_id = $center AND chain_position BETWEEN $first AND $last
                AND page.raw_id = replayed.raw_id
                AND coalesce(page.redacted_sha256, page.body_sha256) = replayed.sha256)""",
        {"center": center_id, "first": first, "last": last},
    )
    if cut:
        logger.warning("%d pages of %s are left alone: %s.", cut, center_id, _CUT_MEANWHILE)
        unreadable[_CUT_MEANWHILE] += cut
    return write()


def _replay_deliveries(
    connection: duckdb.DuckDBPyConnection, transact: Transact, center_id: str, name: str
) -> ReplaySummary:
    def replay_batch(batch: Sequence[SelectedPage], unreadable: Counter[str]) -> _Replayed:
        typed = [
            type_or_set_aside(read_pages(connection, center_id, name, part, unreadable, _decode_nothing))
            for part in iter_fitting(batch, READ_BYTES)
        ]
        records = {
            one.versions: pa.concat_tables([part.records_of(one) for part in typed])
            for one in EVENT_TYPES.values()
        }
        rejects = pa.concat_tables([part.rejects for part in typed])
        write = partial(retype_deliveries, connection, records, rejects, center_id)
        changed = transact(partial(_but_for_cut, connection, center_id, unreadable, write))
        count = rejects.num_rows + sum(table.num_rows for table in records.values())
        return _Replayed(changed, count, rejects.num_rows)

    return _replay_batches(connection, center_id, name, MAX_DELIVERIES, replay_batch)


class _Replayed(NamedTuple):
    """What was done with the pages of a batch that could be read."""

    changed: Retyped
    records: int
    quarantined: int


def _replay_batches(
    connection: duckdb.DuckDBPyConnection,
    center_id: str,
    name: str,
    max_pages: int,
    replay_batch: Callable[[Sequence[SelectedPage], Counter[str]], _Replayed],
) -> ReplaySummary:
    """Replay a listing's selected pages batch by batch, and leave alone what is too much for memory."""

    def replay_some(batch: Sequence[SelectedPage]) -> ReplaySummary:
        unreadable: Counter[str] = Counter()
        with memory_shortage_told():
            read_nothing_yet(connection)
            replayed = replay_batch(batch, unreadable)
            pages = fetch_count(connection, "SELECT count(*) FROM temp.replayed")
        return ReplaySummary(
            center_id,
            name,
            pages=pages + unreadable.total(),
            records=replayed.records,
            added=replayed.changed.versions.added,
            removed=replayed.changed.versions.removed,
            released=replayed.changed.quarantine.removed,
            set_aside=replayed.changed.quarantine.added,
            quarantined=replayed.quarantined,
            unreadable=unreadable.total(),
            reasons=tuple(unreadable.most_common()),
        )

    def leave_alone(page: SelectedPage) -> ReplaySummary:
        logger.warning("Page %s of %s %s is left alone: %s.", page.raw_id, center_id, name, _NEEDS_MORE)
        return ReplaySummary(center_id, name, pages=1, unreadable=1, reasons=((_NEEDS_MORE, 1),))

    _order_archive(connection, center_id, name)
    summary = ReplaySummary(center_id, name)
    for batch in iter_batches(connection, center_id, name, max_pages):
        for did in in_halves(batch, replay_some, leave_alone):
            summary += did
    return summary


def _order_archive(connection: duckdb.DuckDBPyConnection, center_id: str, name: str) -> None:
    """Note the places of all pages that may have brought what is in the tables of a listing's records."""
    of_incidents = {INCIDENT_EVENTS.resource, *DISCRIMINATORS}
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE archive_order AS
        SELECT raw_id, chain_position FROM raw_pages
        WHERE center_id = ? AND resource IN (SELECT unnest(?))""",
        [center_id, sorted(of_incidents) if name in of_incidents else [name]],
    )


def _decode_nothing(_body: bytes) -> list[Any]:
    """Return no records: a delivery is read as a whole."""
    return []


def _decode(decode_page: ColumnDecoder, resource: Resource, body: bytes) -> Sequence[Any]:
    """Return the body's records.

    Raises:
        PayloadError: It is no page of records today, or of another center's field names.
    """
    records = decode_page(body, resource).records
    for name in (resource.id_field, resource.created_field, resource.changed_field):
        if any(value is not None for value in values_of(records, name)):
            continue
        objects = [record for record in records if isinstance(record, dict)]
        if objects and not any(name in record for record in objects):
            # Read like this, all that came of the page would go to quarantine.
            raise PayloadError(
                f"no record has a field named {name!r}: the center's configuration must say how it is called"
            )
    return records
