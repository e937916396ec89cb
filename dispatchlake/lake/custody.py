"""Whether the archive is as it was written: every body against its hash, every page against its chain.

Nothing here writes. DuckDB recomputes what Python's hashlib wrote, a center at a time: bodies are hashed as
they are scanned and never held, only hashes are put in order (and spilled when there are very many).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson

from dispatchlake.errors import LakeError
from dispatchlake.lake import chain, migrations, reading
from dispatchlake.lake.archive import REDACTIONS
from dispatchlake.lake.centers import refuse_unarchived

_PROBLEMS = {
    "unlinked": "a page without a place in the chain: it was added by other means",
    "missing": "page missing",
    "doubled": "a second page in this place",
    "altered": "record altered: its facts do not match record_sha256",
    "body": "body does not match its hash",
    "redacted": "body was changed, and no erasure in the chain says so",
    "restored": "body is not as an erasure in the chain says that it was left",
    "replaced": "does not follow the page before it: one of the two was replaced or moved",
}

_ENTRY = """'[{"raw_id": "VARCHAR", "was": "VARCHAR", "now": "VARCHAR"}]'"""

_REDACTIONS = f"""
told AS (
    SELECT chain_position AS told_at, redacted_at, because, unnest(pages, recursive := true)
    FROM (
        SELECT chain_position, received_at AS redacted_at, content ->> '$.because' AS because,
            from_json(content -> '$.pages', {_ENTRY}) AS pages
        FROM (
            SELECT chain_position, received_at, TRY(decode(body)::JSON) AS content FROM raw_pages
            WHERE center_id = $center AND resource = '{REDACTIONS}')
        WHERE content IS NOT NULL)
), cuts AS (
    SELECT raw_id, min(told_at) AS first_told_at, arg_min(was, told_at) AS was, arg_max(now, told_at) AS now,
        bool_and(was = before) AS is_told_whole
    FROM (
        SELECT *, lag(now, 1, was) OVER (PARTITION BY raw_id ORDER BY told_at) AS before FROM told)
    GROUP BY raw_id
)"""
"""What pages of ours in the chain say was cut out of others; each cut goes on from where the last ended."""

_VERIFY = f"""
WITH {_REDACTIONS}, pages AS (
    SELECT chain_position, raw_id, previous_sha256, record_sha256, received_at,
        octet_length(body) AS size_bytes,
        redacted_sha256 IS NOT NULL AS is_redacted,
        CASE WHEN redacted_sha256 IS NULL THEN cuts.raw_id IS NULL
            ELSE redacted_sha256 = cuts.now AND body_sha256 = cuts.was AND is_told_whole
                AND first_told_at > chain_position END AS is_told,
        sha256(body) = coalesce(redacted_sha256, body_sha256)
            AND (redacted_sha256 IS NOT NULL OR octet_length(body) = body_bytes) AS is_whole,
        {chain.record_sha256_sql()} = record_sha256 AS is_unaltered
    FROM (SELECT * FROM raw_pages WHERE center_id = $center) AS page LEFT JOIN cuts USING (raw_id)
), linked AS (
    SELECT *, row_number() OVER chain AS place, lag(record_sha256, 1, '{chain.GENESIS}') OVER chain AS before
    FROM pages WINDOW chain AS (ORDER BY chain_position NULLS LAST, raw_id)
), judged AS (
    SELECT *, CASE
        WHEN chain_position IS NULL THEN 'unlinked'
        WHEN chain_position > place THEN 'missing'
        WHEN chain_position < place THEN 'doubled'
        WHEN is_unaltered IS NOT TRUE THEN 'altered'
        WHEN is_whole IS NOT TRUE THEN 'body'
        WHEN is_told IS NOT TRUE AND is_redacted THEN 'redacted'
        WHEN is_told IS NOT TRUE THEN 'restored'
        WHEN previous_sha256 <> before THEN 'replaced' END AS problem
    FROM linked
)
SELECT count(*) AS pages, count(*) FILTER (is_redacted) AS redacted,
    coalesce(sum(size_bytes), 0)::BIGINT AS body_bytes,
    min(received_at) AS first_received_at, max(received_at) AS last_received_at,
    min_by({{'place': place, 'position': chain_position, 'raw_id': raw_id, 'problem': problem}}, place)
        FILTER (WHERE problem IS NOT NULL) AS broken,
    max_by(record_sha256, place) AS last_sha256, max_by(raw_id, place) AS last_raw_id,
    (SELECT max(position) FROM chain_heads WHERE center_id = $center) AS head_position,
    (SELECT max_by(record_sha256, position) FROM chain_heads WHERE center_id = $center) AS head_sha256
FROM judged
"""


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first place where a center's archive is not as it was written.

    Attributes:
        position: Place in the chain; None for a page that has none.
        raw_id: The page there; None where it is the page that is missing.
        problem: What is wrong, in words; never anything of a body.
    """

    center_id: str
    position: int | None
    raw_id: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Redactions:
    """One page of the chain that tells of redactions: when, of how many pages, under which erasures."""

    redacted_at: datetime
    pages: int
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Custody:
    """One center's archive, recomputed.

    Attributes:
        head_sha256: Hash of the chain's end; noted elsewhere, it proves this archive later.
        broken: The first broken link, or None when all is as it was written.
        redacted: Pages that records were cut out of, as the chain tells.
        redactions: When pages were redacted, how many, and by which erasures.
    """

    center_id: str
    pages: int
    body_bytes: int
    first_received_at: datetime | None
    last_received_at: datetime | None
    head_sha256: str
    broken: BrokenLink | None
    redacted: int = 0
    redactions: tuple[Redactions, ...] = ()


def verify(lake_dir: Path | None = None, *, center_ids: tuple[str, ...] = ()) -> Iterator[Custody]:
    """Recompute the archive of each center, or of those named, and yield what was found, center by center.

    Raises:
        ConfigError: There is no lake yet, or a center is named that it has no page of.
        LakeError: Its pages have no chain yet, or a file of it cannot be read.
    """
    with reading.connect_unnoted(lake_dir) as connection, _readable():
        if migrations.CHAIN not in migrations.applied(connection):
            raise LakeError(
                "This lake was made by an older version of dispatchlake: its pages have no chain yet. "
                "The next load gives them one (dispatchlake ingest)."
            )
        if migrations.ERASURE not in migrations.applied(connection):
            _lay_over(connection)
        archived = [
            row[0]
            for row in connection.execute(
                "SELECT center_id FROM raw_pages UNION SELECT center_id FROM chain_heads ORDER BY 1"
            ).fetchall()
        ]
        refuse_unarchived(center_ids, archived)
        for center_id in archived:
            if not center_ids or center_id in center_ids:
                yield _verify(connection, center_id)


def _lay_over(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the pages of a lake that an older version made have the columns of erasure, none of them set."""
    none = ", ".join(f"NULL::VARCHAR AS {name}" for name in ("redacted_sha256", "redaction_id"))
    connection.execute(f"CREATE TEMP VIEW raw_pages AS SELECT *, {none} FROM lake.raw_pages")


def _verify(connection: duckdb.DuckDBPyConnection, center_id: str) -> Custody:
    told = connection.execute(
        f"""WITH {_REDACTIONS} SELECT max(redacted_at), count(*), max(because) FROM told
        GROUP BY told_at ORDER BY told_at""",
        {"center": center_id},
    ).fetchall()
    answer = connection.execute(_VERIFY, {"center": center_id})
    names = [column[0] for column in answer.description or []]
    found: dict[str, Any] = dict(zip(names, answer.fetchone() or (), strict=True))
    return Custody(
        center_id=center_id,
        pages=found["pages"],
        redacted=found["redacted"],
        redactions=tuple(Redactions(at, pages, tuple(orjson.loads(because))) for at, pages, because in told),
        body_bytes=found["body_bytes"],
        first_received_at=found["first_received_at"],
        last_received_at=found["last_received_at"],
        head_sha256=found["head_sha256"] or "",
        broken=_broken_link(center_id, found),
    )


def _broken_link(center_id: str, found: dict[str, Any]) -> BrokenLink | None:
    """Return the first broken link: among the pages, or else between the last of them and the head."""
    if link := found["broken"]:
        is_missing = link["problem"] == "missing"
        position = link["place"] if is_missing else link["position"]
        raw_id = None if is_missing else link["raw_id"]
        return BrokenLink(center_id, position, raw_id, _PROBLEMS[link["problem"]])
    pages, head = found["pages"], found["head_position"]
    if head is None:
        return BrokenLink(center_id, pages, found["last_raw_id"], "the chain's head is missing")
    if pages < head:
        return BrokenLink(center_id, pages + 1, None, f"end cut off: pages {pages + 1} to {head} are missing")
    if pages > head or found["last_sha256"] != found["head_sha256"]:
        return BrokenLink(center_id, pages, found["last_raw_id"], "the chain's head is of another page")
    return None


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn the engine's errors into ours; its texts may quote a value."""
    try:
        yield
    except duckdb.Error as error:
        raise LakeError(
            f"The archive cannot be read ({type(error).__name__}): a file of it is missing or damaged. "
            "Restore it from a backup."
        ) from error
