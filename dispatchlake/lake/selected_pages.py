"""Archived pages that are to be read again: which, how many at a time, and reading them.

What is made of them is `replay`'s business.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from dispatchlake.errors import ConfigError
from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.centers import archived_centers, refuse_unarchived
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.record_types import RECORD_TYPES
from dispatchlake.model import Page
from dispatchlake.payload import PayloadError

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
"""Pages of one batch are at most so long together: staged, they may spill to disk."""

READ_BYTES = 8 * 2**20
"""Bodies read, decoded and typed at a time; a longer one is read alone."""

REPLAYABLE = (*RECORD_TYPES, *DISCRIMINATORS)
"""What may stand in `raw_pages.resource` and can be read again."""

_HAS_BODY = f"redacted_sha256 IS DISTINCT FROM '{hashlib.sha256(b'').hexdigest()}'"
"""Of a body that was removed whole, what came of it is gone too, or is to stay."""


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


def select(connection: duckdb.DuckDBPyConnection, selection: Selection) -> None:
    """Note the selected pages in the temporary table `selected`.

    Raises:
        ConfigError: A center is named that has no archived page.
    """
    refuse_unarchived(selection.center_ids, archived_centers(connection))
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


def selected_centers(connection: duckdb.DuckDBPyConnection, selection: Selection) -> list[str]:
    """Return the centers that selected pages are of.

    Raises:
        ConfigError: A center is named that has no archived page.
    """
    select(connection, selection)
    rows = connection.execute("SELECT DISTINCT center_id FROM selected ORDER BY 1").fetchall()
    connection.execute("DROP TABLE temp.selected")
    return [row[0] for row in rows]


class SelectedPage(NamedTuple):
    """A selected page: its place in the chain, how long its body is, and what it is called."""

    position: int
    body_bytes: int
    raw_id: str


def iter_batches(
    connection: duckdb.DuckDBPyConnection, center_id: str, resource: str, max_pages: int
) -> Iterator[list[SelectedPage]]:
    """Yield what one transaction takes, in archive order."""
    done = 0
    while rows := connection.execute(
        """SELECT chain_position, body_bytes, raw_id FROM selected
        WHERE center_id = ? AND resource = ? AND chain_position > ? ORDER BY chain_position LIMIT ?""",
        [center_id, resource, done, max_pages],
    ).fetchall():
        batch = next(iter_fitting([SelectedPage(*row) for row in rows], MAX_BYTES))
        done = batch[-1].position
        yield batch


def iter_fitting(pages: Sequence[SelectedPage], max_bytes: int) -> Iterator[list[SelectedPage]]:
    """Yield pages one after another, as many at a time as are so long together, but at least one."""
    part: list[SelectedPage] = []
    part_bytes = 0
    for page in pages:
        if part and part_bytes + page.body_bytes > max_bytes:
            yield part
            part, part_bytes = [], 0
        part.append(page)
        part_bytes += page.body_bytes
    if part:
        yield part


def read_nothing_yet(connection: duckdb.DuckDBPyConnection) -> None:
    """Begin the temporary table `replayed`, of the pages that a transaction is made of, as they were read."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE replayed (raw_id VARCHAR, chain_position BIGINT, "
        "received_at TIMESTAMPTZ, sha256 VARCHAR)"
    )


def read_pages(
    connection: duckdb.DuckDBPyConnection,
    center_id: str,
    resource: str,
    part: Sequence[SelectedPage],
    unreadable: Counter[str],
    decode: Callable[[bytes], Sequence[Any]],
) -> list[ArchivedPage]:
    """Return a part's pages with their records decoded as when they were fetched; count what cannot be.

    Those that could be read are noted in the table `replayed`.
    """
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
