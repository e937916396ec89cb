"""Archived pages read again through today's parser, without the vendor: what a mended parser is for.

In archive order, center by center and listing by listing, in bounded batches of one transaction each; where
memory is short, in halves of one. A batch brings the tables to what they would be had its pages been parsed
like this when they came; coverage and watermarks say what was read, not how, and stay. Stopping anywhere and
replaying again gives the same lake.

What a batch changes is `retyping`'s business; which pages, and reading them, is this module's.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from dispatchlake.errors import ConfigError
from dispatchlake.halving import TOO_MUCH, in_halves
from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.centers import archived_centers, refuse_unarchived
from dispatchlake.lake.column_records import ColumnDecoder
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.landing import type_or_set_aside
from dispatchlake.lake.record_types import EVENT_TYPES, INCIDENT_EVENTS, RECORD_TYPES, record_type_of
from dispatchlake.lake.retyping import TEMPORARY_TABLES, Retyped, retype, retype_deliveries
from dispatchlake.lake.sql import fetch_count, fetch_row, memory_shortage_told
from dispatchlake.lake.staging import Staging, laid_out
from dispatchlake.lake.typed_pages import type_pages
from dispatchlake.model import RESOURCES, Page, Resource
from dispatchlake.payload import PayloadError, values_of

logger = logging.getLogger(__name__)

MAX_PAGES = 256
MAX_BYTES = 64 * 2**20
"""Pages of one transaction are at most so many and so long: staged, they may spill to disk."""

_READ_BYTES = 8 * 2**20
"""Bodies read, decoded and typed at a time; a longer one is read alone."""

MAX_DELIVERIES = 16_384
"""The same of deliveries, which hold one record each."""

REPLAYABLE = (*RECORD_TYPES, *DISCRIMINATORS)
"""What may stand in `raw_pages.resource` and can be read again."""

_HAS_BODY = f"redacted_sha256 IS DISTINCT FROM '{hashlib.sha256(b'').hexdigest()}'"
"""Of a body that was removed whole, what came of it is gone too, or is to stay."""

_CUT_MEANWHILE = "records were cut out of it while it was read, replay it again"

_NEEDS_MORE = f"{TOO_MUCH}, raise DISPATCHLAKE_MEMORY_LIMIT_MB"

Transact = Callable[[Callable[[], Retyped]], Retyped]
Resources = Mapping[tuple[str, str], Resource]
"""Listings as centers have configured them, by center id and name; any other is as declared."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which archived pages, deliveries among them; what is left out does not narrow.

    Attributes:
        received_since: Pages received then or later.
        received_until: Pages received before then.
        only_quarantined: Only pages that a quarantined record is from.
    """

    center_ids: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    received_since: datetime | None = None
    received_until: datetime | None = None
    only_quarantined: bool = False

    def __post_init__(self) -> None:
        for instant in (self.received_since, self.received_until):
            if instant is not None and instant.tzinfo is None:
                raise ConfigError("The bounds of what was received must say their time zone.")
        if (
            self.received_since is not None
            and self.received_until is not None
            and self.received_until <= self.received_since
        ):
            raise ConfigError(
                f"Nothing was received between {self.received_since.isoformat()} and "
                f"{self.received_until.isoformat()}: give an end after the start."
            )
        if unknown := sorted(set(self.resources) - set(REPLAYABLE)):
            raise ConfigError(f"There is no resource {unknown[0]!r}. Known are: {', '.join(REPLAYABLE)}.")


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
    refuse_unarchived(selection.center_ids, archived_centers(connection))
    _select(connection, selection)
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


def selected_centers(connection: duckdb.DuckDBPyConnection, selection: Selection) -> list[str]:
    """Return the centers that selected pages are of.

    Raises:
        ConfigError: A center is named that has no archived page.
    """
    refuse_unarchived(selection.center_ids, archived_centers(connection))
    _select(connection, selection)
    rows = connection.execute("SELECT DISTINCT center_id FROM selected ORDER BY 1").fetchall()
    connection.execute("DROP TABLE temp.selected")
    return [row[0] for row in rows]


def _select(connection: duckdb.DuckDBPyConnection, selection: Selection) -> None:
    conditions = ["resource IN (SELECT unnest($known))", _HAS_BODY]
    parameters: dict[str, Any] = {"known": list(selection.resources or REPLAYABLE)}
    if selection.center_ids:
        conditions.append("center_id IN (SELECT unnest($centers))")
        parameters["centers"] = list(selection.center_ids)
    if selection.received_since is not None:
        conditions.append("received_at >= $since")
        parameters["since"] = selection.received_since
    if selection.received_until is not None:
        conditions.append("received_at < $until")
        parameters["until"] = selection.received_until
    if selection.only_quarantined:
        conditions.append("raw_id IN (SELECT raw_id FROM quarantine)")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE selected AS
        SELECT center_id, resource, raw_id, chain_position, received_at, body_bytes FROM raw_pages
        WHERE {" AND ".join(conditions)}""",
        parameters,
    )


def _replay_listing(
    connection: duckdb.DuckDBPyConnection, transact: Transact, center_id: str, resource: Resource
) -> ReplaySummary:
    record_type = record_type_of(resource)
    decode = partial(_decode, ColumnDecoder(), resource)

    def replay_batch(batch: Sequence[_Selected], unreadable: Counter[str]) -> _Replayed:
        staging = Staging(lambda: connection, record_type)
        try:
            for part in _iter_fitting(batch, _READ_BYTES):
                read = _read_pages(connection, center_id, resource.name, part, unreadable, decode)
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
    def replay_batch(batch: Sequence[_Selected], unreadable: Counter[str]) -> _Replayed:
        typed = [
            type_or_set_aside(_read_pages(connection, center_id, name, part, unreadable, _decode_nothing))
            for part in _iter_fitting(batch, _READ_BYTES)
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
    replay_batch: Callable[[Sequence[_Selected], Counter[str]], _Replayed],
) -> ReplaySummary:
    """Replay a listing's selected pages batch by batch, and leave alone what is too much for memory."""

    def replay_some(batch: Sequence[_Selected]) -> ReplaySummary:
        unreadable: Counter[str] = Counter()
        with memory_shortage_told():
            _replay_nothing_yet(connection)
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

    def leave_alone(page: _Selected) -> ReplaySummary:
        logger.warning("Page %s of %s %s is left alone: %s.", page.raw_id, center_id, name, _NEEDS_MORE)
        return ReplaySummary(center_id, name, pages=1, unreadable=1, reasons=((_NEEDS_MORE, 1),))

    _order_archive(connection, center_id, name)
    summary = ReplaySummary(center_id, name)
    for batch in _iter_batches(connection, center_id, name, max_pages):
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


def _replay_nothing_yet(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE replayed (raw_id VARCHAR, chain_position BIGINT, "
        "received_at TIMESTAMPTZ, sha256 VARCHAR)"
    )


class _Selected(NamedTuple):
    """A selected page: its place in the chain, how long its body is, and what it is called."""

    position: int
    body_bytes: int
    raw_id: str


def _iter_batches(
    connection: duckdb.DuckDBPyConnection, center_id: str, resource: str, max_pages: int
) -> Iterator[list[_Selected]]:
    """Yield what one transaction takes, in archive order."""
    done = 0
    while rows := connection.execute(
        """SELECT chain_position, body_bytes, raw_id FROM selected
        WHERE center_id = ? AND resource = ? AND chain_position > ? ORDER BY chain_position LIMIT ?""",
        [center_id, resource, done, max_pages],
    ).fetchall():
        batch = next(_iter_fitting([_Selected(*row) for row in rows], MAX_BYTES))
        done = batch[-1].position
        yield batch


def _iter_fitting(pages: Sequence[_Selected], max_bytes: int) -> Iterator[list[_Selected]]:
    """Yield pages one after another, as many at a time as are so long together, but at least one."""
    part: list[_Selected] = []
    part_bytes = 0
    for page in pages:
        if part and part_bytes + page.body_bytes > max_bytes:
            yield part
            part, part_bytes = [], 0
        part.append(page)
        part_bytes += page.body_bytes
    if part:
        yield part


def _read_pages(
    connection: duckdb.DuckDBPyConnection,
    center_id: str,
    resource: str,
    part: Sequence[_Selected],
    unreadable: Counter[str],
    decode: Callable[[bytes], Sequence[Any]],
) -> list[ArchivedPage]:
    """Return a part's pages with their records decoded as when they were fetched; count what cannot be."""
    rows = connection.execute(
        # A body may have been removed since the page was selected.
        f"""SELECT raw_id, sequence, url_path, status, requested_at, received_at,
            coalesce(redacted_sha256, body_sha256), body
        FROM raw_pages
        WHERE center_id = $center AND resource = $resource AND chain_position BETWEEN $first AND $last
            AND raw_id IN (SELECT raw_id FROM selected) AND {_HAS_BODY}
        ORDER BY chain_position""",
        {"center": center_id, "resource": resource, "first": part[0].position, "last": part[-1].position},
    ).fetchall()
    pages: list[ArchivedPage] = []
    hashes: list[str] = []
    for raw_id, sequence, url_path, status, requested_at, received_at, sha256, body in rows:
        try:
            records = decode(_whole(body, sha256))
        except PayloadError as error:
            logger.warning("Page %s of %s %s is left alone: %s.", raw_id, center_id, resource, error)
            unreadable[str(error)] += 1
            continue
        page = Page(
            center_id=center_id,
            resource=resource,
            sequence=sequence,
            url_path=url_path,
            query={},  # how it was asked for makes no difference to what it holds
            status=status,
            headers={},
            requested_at=requested_at,
            received_at=received_at,
            body=body,
            records=records,
        )
        pages.append(ArchivedPage(raw_id, page))
        hashes.append(sha256)
    connection.execute(
        """INSERT INTO replayed SELECT raw_id, chain_position, received_at, sha256 FROM selected
        JOIN (SELECT unnest($raw_ids) AS raw_id, unnest($hashes) AS sha256) USING (raw_id)""",
        {"raw_ids": [archived.raw_id for archived in pages], "hashes": hashes},
    )
    return pages


def _whole(body: bytes | None, sha256: str) -> bytes:
    if body is None or hashlib.sha256(body).hexdigest() != sha256:
        raise PayloadError("its body does not match its hash, `dispatchlake verify` says more")
    return body


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
