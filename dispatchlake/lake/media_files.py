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

from dispatchlake.lake.schemas import MEDIA_FILES
from dispatchlake.lake.sql import first_row
from dispatchlake.payload import PayloadError, decode_json

MediaState = Literal["fetched", "expired", "refused", "failed"]

MediaAnswer = Literal["link", "none", "refused", "failed"]
"""What the API said when it was asked for a fresh link."""

MOST_ATTEMPTS = 8
FIRST_WAIT = timedelta(minutes=1)
"""What has failed is tried again after so long, then after twice that, and so on: for two hours in all."""

TRIED_FOR = timedelta(days=7)
"""Links that came longer ago are not looked for any more: none of them lives so long."""

AWAITED = timedelta(days=1)
"""For so long after a link was found expired, a later delivery is looked for that has a fresh one."""

ASK_AGAIN_AFTER = timedelta(minutes=10)
"""So long a center is not asked for links after it did not answer."""

USELESS_ANSWERS = 3
ASK_USELESS_AGAIN_AFTER = timedelta(days=1)
"""So long a center is not asked after so many answers in a row had no link, or after it refused the login."""

_MOST_ASKED = 200
"""Files of one incident that are looked for in one answer."""


@dataclass(frozen=True, slots=True)
class MediaLink:
    """A media file that is to be fetched.

    Attributes:
        version_hash: Of the row of `media`.
        attempts: How often that was tried.
        link: Where it is, with the query; None if the delivery has no link that can be read.
        asked_at: When the API was asked for a fresh link; None if never.
        answer: What it said then.
    """

    center_id: str
    media_id: str
    version_hash: str
    attempts: int
    link: str | None = field(repr=False)
    asked_at: datetime | None = None
    answer: MediaAnswer | None = None

    @property
    def key(self) -> list[str]:
        """Return the key of its row in `media` and `media_files`."""
        return [self.center_id, self.media_id, self.version_hash]


@dataclass(frozen=True, slots=True)
class ExpiredMedia:
    """A media file whose link opens nothing, and of which no delivery has another.

    Attributes:
        incident_id: Whose; the API is asked for it.
        url: The link without its query, by which it is known where it has no id.
    """

    of: MediaLink
    incident_id: str
    url: str


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
    """Return what is to be fetched now, of each center the newest first: its link will live longest.

    The newest of every center comes before the second of any: one that has many keeps none waiting.
    """
    rows = connection.execute(
        f"""SELECT center_id, media_id, version_hash, coalesce(attempts, 0), m.raw_id, m.received_at
        FROM media AS m LEFT JOIN media_files USING (center_id, media_id, version_hash)
        WHERE m.url IS NOT NULL AND m.received_at > $since AND (
            state IS NULL OR state = 'failed' AND attempts < {MOST_ATTEMPTS}
                AND tried_at + to_seconds($wait_s * pow(2, attempts - 1)) <= $now
        )
        ORDER BY row_number() OVER (PARTITION BY center_id ORDER BY m.received_at DESC), m.received_at DESC
        LIMIT $limit""",
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
        """SELECT center_id, media_id, version_hash, attempts, tried_at, asked_at, answer FROM media_files
        WHERE state = 'expired' AND tried_at > $since
        ORDER BY row_number() OVER (PARTITION BY center_id ORDER BY tried_at DESC), tried_at DESC
        LIMIT $limit""",
        {"since": now - AWAITED, "limit": limit},
    ).fetchall()
    found = []
    for center_id, media_id, version_hash, attempts, tried_at, asked_at, answer in rows:
        # Cast to a text, a body keeps all ASCII as it is, whatever else is in it.
        later = connection.execute(
            """SELECT body FROM raw_pages
            WHERE center_id = $center_id AND resource = 'webhook:incident-events' AND received_at > $tried_at
                AND contains(CAST(body AS VARCHAR), $media_id) ORDER BY received_at DESC""",
            {"center_id": center_id, "tried_at": tried_at, "media_id": media_id},
        ).fetchall()
        links = (_link_in(body, media_id) for (body,) in later)
        if link := next(filter(None, links), None):
            found.append(MediaLink(center_id, media_id, version_hash, attempts, link, asked_at, answer))
    return found


def read_expired(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[ExpiredMedia]:
    """Return the media of one incident, the newest there is, for whose links the API is to be asked now.

    Each is asked for once, unless the center did not answer; and a center that has answered without a link
    several times in a row is left alone for a day, for its API may show none at all.
    """
    rows = connection.execute(
        f"""WITH answers AS (
            SELECT center_id, asked_at,
                CASE WHEN bool_or(answer = 'link') THEN 'link' ELSE any_value(answer) END AS answer
            FROM media_files WHERE asked_at IS NOT NULL GROUP BY ALL),
        resting AS (
            SELECT center_id FROM answers GROUP BY ALL
            HAVING max(asked_at) FILTER (answer = 'failed') > $failed_since
                OR max(asked_at) FILTER (answer = 'refused') > $useless_since
                OR (max(asked_at) > $useless_since
                    AND list(answer ORDER BY asked_at DESC)[:{USELESS_ANSWERS}] = $useless))
        SELECT center_id, media_id, version_hash, attempts, incident_id, url
        FROM media_files JOIN media AS m USING (center_id, media_id, version_hash)
        WHERE state = 'expired' AND m.incident_id IS NOT NULL AND m.received_at > $since
            AND (asked_at IS NULL OR answer IN ('failed', 'refused'))
            AND center_id NOT IN (FROM resting)
        QUALIFY (center_id, incident_id) = first_value((center_id, incident_id)) OVER (
            ORDER BY m.received_at DESC, center_id, incident_id)
        LIMIT {_MOST_ASKED}""",
        {
            "since": now - TRIED_FOR,
            "failed_since": now - ASK_AGAIN_AFTER,
            "useless_since": now - ASK_USELESS_AGAIN_AFTER,
            "useless": ["none"] * USELESS_ANSWERS,
        },
    ).fetchall()
    return [
        ExpiredMedia(MediaLink(center_id, media_id, version_hash, attempts, None), incident_id, url)
        for center_id, media_id, version_hash, attempts, incident_id, url in rows
    ]


def record_answer(
    connection: duckdb.DuckDBPyConnection,
    expired: Iterable[ExpiredMedia],
    *,
    asked_at: datetime,
    answer: MediaAnswer,
    error: str,
) -> None:
    """Note that the API was asked for links and gave none, and why. The caller holds a transaction."""
    for one in expired:
        connection.execute(
            """UPDATE media_files SET asked_at = ?, answer = ?, error = ?
            WHERE center_id = ? AND media_id = ? AND version_hash = ?""",
            [asked_at, answer, f"The link opens nothing any more. {error}", *one.of.key],
        )


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
        known = first_row(
            connection,
            "SELECT 1 FROM media WHERE center_id = ? AND media_id = ? AND version_hash = ?",
            one.of.key,
        )
        if known is None:
            erased.append(one)
            continue
        connection.execute(
            "DELETE FROM media_files WHERE center_id = ? AND media_id = ? AND version_hash = ?", one.of.key
        )
        connection.execute(
            f"INSERT INTO media_files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *one.of.key,
                one.state,
                one.path,
                one.size_bytes,
                one.sha256,
                one.error,
                one.of.attempts + 1,
                one.tried_at,
                one.of.asked_at,
                one.of.answer,
            ],
        )
    return erased


_COLUMNS = ", ".join(column.name for column in MEDIA_FILES.columns)
