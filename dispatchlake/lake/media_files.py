"""Which media are to be fetched, by which link, and what became of each: the lake's side of media files.

A link's query lets anyone in, so no table has it: it is read from the delivery as it was received, when it is
needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import duckdb

from dispatchlake.payload import PayloadError, decode_json

MediaState = Literal["fetched", "expired", "refused", "failed"]

MOST_ATTEMPTS = 8
FIRST_WAIT = timedelta(minutes=1)
"""What has failed is tried again after so long, then after twice that, and so on: for two hours in all."""

TRIED_FOR = timedelta(days=7)
"""Links that came longer ago are not looked for any more: none of them lives so long."""

AWAITED = timedelta(days=1)
"""For so long after a link was found expired, a later delivery is looked for that has a fresh one."""


@dataclass(frozen=True, slots=True)
class MediaLink:
    """A media file that is to be fetched.

    Attributes:
        version_hash: Of the row of `media`.
        attempts: How often that was tried.
        link: Where it is, with the query; None if the delivery has no link that can be read.
    """

    center_id: str
    media_id: str
    version_hash: str
    attempts: int
    link: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MediaOutcome:
    """What became of it.

    Attributes:
        path: Below the folder of media files; None unless it was fetched, like its size and hash.
        error: Why it was not; never with the link.
    """

    of: MediaLink
    state: MediaState
    tried_at: datetime
    path: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    error: str | None = None


def read_due(connection: duckdb.DuckDBPyConnection, now: datetime, *, limit: int) -> list[MediaLink]:
    """Return what is to be fetched now, the newest first: its link will live longest."""
    rows = connection.execute(
        f"""SELECT center_id, media_id, version_hash, coalesce(attempts, 0), m.raw_id, m.received_at
        FROM media AS m LEFT JOIN media_files USING (center_id, media_id, version_hash)
        WHERE m.url IS NOT NULL AND m.received_at > $since AND (
            state IS NULL OR state = 'failed' AND attempts < {MOST_ATTEMPTS}
                AND tried_at + to_seconds($wait_s * pow(2, attempts - 1)) <= $now
        )
        ORDER BY m.received_at DESC LIMIT $limit""",
        {"now": now, "since": now - TRIED_FOR, "limit": limit, "wait_s": FIRST_WAIT.total_seconds()},
    ).fetchall()
    links = _links(connection, [(row[4], row[5]) for row in rows])
    return [
        MediaLink(center_id, media_id, version_hash, attempts, links.get(raw_id))
        for center_id, media_id, version_hash, attempts, raw_id, _received_at in rows
    ]


def _links(connection: duckdb.DuckDBPyConnection, pages: list[tuple[str, datetime]]) -> dict[str, str | None]:
    if not pages:
        return {}
    received = [received_at for _raw_id, received_at in pages]
    rows = connection.execute(
        """SELECT raw_id, body FROM raw_pages
        WHERE received_at BETWEEN $first AND $last AND raw_id IN (SELECT unnest($raw_ids))""",
        {"first": min(received), "last": max(received), "raw_ids": [raw_id for raw_id, _at in pages]},
    ).fetchall()
    return {raw_id: _link_in(body) for raw_id, body in rows}


def read_renewed(connection: duckdb.DuckDBPyConnection, now: datetime, *, limit: int) -> list[MediaLink]:
    """Return media whose link had expired and that a later delivery names again, with its link."""
    rows = connection.execute(
        """SELECT center_id, media_id, version_hash, attempts, tried_at FROM media_files
        WHERE state = 'expired' AND tried_at > $since ORDER BY tried_at DESC LIMIT $limit""",
        {"since": now - AWAITED, "limit": limit},
    ).fetchall()
    found = []
    for center_id, media_id, version_hash, attempts, tried_at in rows:
        # Cast to a text, a body keeps all ASCII as it is, whatever else is in it.
        later = connection.execute(
            """SELECT body FROM raw_pages
            WHERE center_id = $center_id AND resource = 'webhook:incident-events' AND received_at > $tried_at
                AND contains(CAST(body AS VARCHAR), $media_id) ORDER BY received_at DESC""",
            {"center_id": center_id, "tried_at": tried_at, "media_id": media_id},
        ).fetchall()
        links = (_link_in(body, media_id) for (body,) in later)
        if link := next(filter(None, links), None):
            found.append(MediaLink(center_id, media_id, version_hash, attempts, link))
    return found


def _link_in(body: bytes, media_id: str | None = None) -> str | None:
    """Return the link of a delivery that tells of a media file, of that one if it is named."""
    try:
        content = decode_json(body)
    except PayloadError:
        return None
    if not isinstance(content, dict) or (media_id is not None and content.get("id") != media_id):
        return None
    link = content.get("url") if content.get("type") == "media" else None
    return link if isinstance(link, str) else None


def record(connection: duckdb.DuckDBPyConnection, outcomes: Iterable[MediaOutcome]) -> list[MediaOutcome]:
    """Note what became of media files; of each the last outcome stands. The caller holds a transaction.

    Returns:
        Outcomes that are not noted: their media were erased while they were fetched.
    """
    erased: list[MediaOutcome] = []
    for one in outcomes:
        key = [one.of.center_id, one.of.media_id, one.of.version_hash]
        known = connection.execute(
            "SELECT 1 FROM media WHERE center_id = ? AND media_id = ? AND version_hash = ?", key
        ).fetchone()
        if known is None:
            erased.append(one)
            continue
        connection.execute(
            "DELETE FROM media_files WHERE center_id = ? AND media_id = ? AND version_hash = ?", key
        )
        connection.execute(
            "INSERT INTO media_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *key,
                one.state,
                one.path,
                one.size_bytes,
                one.sha256,
                one.error,
                one.of.attempts + 1,
                one.tried_at,
            ],
        )
    return erased
