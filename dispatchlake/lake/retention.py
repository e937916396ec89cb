"""Taking out of one lake what is due: records, what tells of callers, bodies, media.

What is due, and why it does not come back: `retention_rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

import duckdb
import orjson

from dispatchlake.lake.archive import REDACTIONS
from dispatchlake.lake.calls import tables_of_calls
from dispatchlake.lake.forgetting import RETENTION, cut_body, listing_of
from dispatchlake.lake.redacting import MOST_NAMED, Redaction, Transact, redact_pages
from dispatchlake.lake.replay import Resources
from dispatchlake.lake.retention_rules import (
    Due,
    RetentionClass,
    known_calls,
    last_cutoffs,
    with_links,
)
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.sql import fetch_count, fetch_row

_PERSONAL = frozenset({"phone", "address", "coordinates", "free text"})


def redact(
    connection: duckdb.DuckDBPyConnection, transact: Transact, due: Due, resources: Resources, *, run_id: str
) -> int:
    """Cut old records out of the archive, and empty old bodies; return how many pages that were."""
    pages = 0
    held = [one.encode() for one in (*due.held, *due.held_cad)]

    def names_held(body: bytes) -> bool:
        return any(one in body for one in held)

    if (cutoff := due.records_cutoff) is not None:
        doom_old(connection, due, cutoff)  # a record need not say how old it is
        doomed = set(connection.execute("SELECT kind, id FROM doomed").fetchall())
        forgotten = due.forgotten(doomed, known_calls(lambda: connection, due.center_id))

        def cut(resource: str, body: bytes, received_at: datetime) -> tuple[bytes, Collection[str]]:
            judged = replace(forgotten, takes_undated=received_at >= cutoff or names_held(body))
            listing = listing_of(resource, due.center_id, resources)
            kept, because = cut_body(body, listing, judged)
            if not kept and not isinstance(listing, str) and names_held(body):
                return body, ()  # it cannot be cut, and is not to go whole
            return kept, because

        since = last_cutoffs(connection).get(due.center_id)
        redaction = Redaction(due.center_id, cut, RETENTION, run_id, received_since=since)
        pages += redact_pages(connection, transact, redaction)
        if since is not None and (late := doomed_from_before(connection, due.center_id, since)):
            naming = tuple(late) if len(late) <= MOST_NAMED else None
            redaction = replace(redaction, received_since=None, received_until=since, naming=naming)
            pages += redact_pages(connection, transact, redaction)
    if "raw" in due.cutoffs:

        def empty(_resource: str, body: bytes, _received_at: datetime) -> tuple[bytes, Collection[str]]:
            return (body, ()) if names_held(body) else (b"", (RETENTION,))

        until = due.cutoffs["raw"]
        redaction = Redaction(due.center_id, empty, RETENTION, run_id, received_until=until)
        pages += redact_pages(connection, transact, redaction)
    return pages


def doomed_from_before(connection: duckdb.DuckDBPyConnection, center_id: str, moment: datetime) -> list[str]:
    """Return the ids of doomed calls that have rows from pages received before a moment.

    Such a call became due later than its pages were gone through: its time of creation was corrected, or
    only what hangs on it tells of it. Rows whose caller data went have no page any more.
    """
    found: set[str] = set()
    conditions = tables_of_calls(connection)
    for table in TABLES:
        names = [one.name for one in table.columns]
        if table.name not in conditions or not {"raw_id", "received_at"} <= set(names):
            continue
        key = "cad_incident_id" if "cad_incident_id" in names else "incident_id"
        rows = connection.execute(
            f"""SELECT DISTINCT {key} FROM {table.name}
            WHERE {conditions[table.name]} AND raw_id IS NOT NULL AND received_at < $moment""",
            {"center": center_id, "moment": moment},
        ).fetchall()
        found |= {row[0] for row in rows}
    return sorted(found)


def doom_old(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> None:
    """Let `doomed` name what of a center was created before a cut-off, and is not held.

    An incident that only its locations, media or notes tell of goes once all of these are old. Inside a
    transaction that removes something this heeds the links of that moment.
    """
    due = with_links(connection, due)
    connection.execute("CREATE OR REPLACE TEMP TABLE doomed (kind VARCHAR, id VARCHAR)")
    names = tables_of_calls(connection)
    span = {"center": due.center_id, "cutoff": cutoff}
    for kind, held in (("incident", due.held), ("cad_incident", due.held_cad)):
        if f"{kind}s" in names:
            connection.execute(
                f"""INSERT INTO doomed SELECT '{kind}', {kind}_id FROM {kind}s
                WHERE center_id = $center AND created_at < $cutoff
                    AND {kind}_id NOT IN (SELECT unnest($held))""",
                {**span, "held": sorted(held)},
            )
    children = [one for one in ("caller_locations", "media", "cad_notes", "cad_locations") if one in names]
    union = " UNION ALL ".join(
        f"""SELECT incident_id, coalesce(created_at, received_at) AS known_at FROM {one}
        WHERE center_id = $center"""
        for one in children
    )
    if union:
        connection.execute(
            f"""INSERT INTO doomed SELECT 'incident', incident_id FROM ({union})
            WHERE incident_id NOT IN (SELECT incident_id FROM incidents WHERE center_id = $center)
                AND incident_id NOT IN (SELECT unnest($held))
            GROUP BY incident_id HAVING max(known_at) < $cutoff""",
            {**span, "held": sorted(due.held)},
        )


def null_personal(connection: duckdb.DuckDBPyConnection, center_id: str) -> dict[str, int]:
    """Take out of the doomed calls' rows what tells who called and from where; return how many rows.

    The page that a row is from has it no more: a replay of that page must not take the row for one that was
    wrong. The caller holds a transaction.
    """
    counts: dict[str, int] = {}
    personal = {
        table.name: [one.name for one in table.columns if one.pii in _PERSONAL or one.name == "raw_id"]
        for table in TABLES
    }
    for table, condition in tables_of_calls(connection).items():
        if not (columns := personal.get(table)):
            continue
        count = fetch_count(
            connection,
            f"""UPDATE {table} SET {", ".join(f'"{name}" = NULL' for name in columns)}
            WHERE {condition} AND ({" OR ".join(f'"{name}" IS NOT NULL' for name in columns)})""",
            {"center": center_id},
        )
        if count:
            counts[table] = count
    return counts


_LOOSE_MEDIA = "center_id = $center AND incident_id IS NULL AND coalesce(created_at, received_at) < $cutoff"


def remove_loose(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> dict[str, int]:
    """Delete old rows that are of no incident we know: records set aside, media that name none.

    The caller holds a transaction.
    """
    due = with_links(connection, due)
    counts: dict[str, int] = {}
    span = {"center": due.center_id, "cutoff": cutoff}
    names_no_held = "NOT EXISTS (SELECT 1 FROM (SELECT unnest($held) AS one) WHERE contains(record, one))"
    held = {"held": sorted(due.held | due.held_cad)}
    conditions: dict[str, tuple[str, Mapping[str, object]]] = {
        "quarantine": (f"center_id = $center AND received_at < $cutoff AND {names_no_held}", held),
        "media": (_LOOSE_MEDIA, {}),
    }
    if "media_files" in tables_of_calls(connection):  # before `media`, whose rows it is known by
        of_loose = f"SELECT media_id, version_hash FROM media WHERE {_LOOSE_MEDIA}"
        loose_files = f"center_id = $center AND (media_id, version_hash) IN ({of_loose})"
        conditions = {"media_files": (loose_files, {}), **conditions}
    for table, (condition, more) in conditions.items():
        if count := fetch_count(connection, f"DELETE FROM {table} WHERE {condition}", {**span, **more}):
            counts[table] = count
    return counts


_OLD_MEDIA = """FROM media WHERE center_id = $center AND received_at < $cutoff
    AND coalesce(incident_id, '') NOT IN (SELECT unnest($held))"""


def old_media(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> list[str]:
    """Return the names of files, fetched or not, whose reference was received before a cut-off."""
    return _names(connection, due.center_id, _OLD_MEDIA, _span(due, cutoff))


def note_removed_media(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> None:
    """Say of old media files that were fetched, or would be tried again, that they were removed.

    Why another was never fetched stays. The caller holds a transaction.
    """
    connection.execute(
        f"""UPDATE media_files SET state = 'removed', path = NULL, size_bytes = NULL, sha256 = NULL
        WHERE center_id = $center AND state IN ('fetched', 'failed')
            AND (media_id, version_hash) IN (SELECT media_id, version_hash {_OLD_MEDIA})""",
        _span(due, cutoff),
    )


def doomed_media(connection: duckdb.DuckDBPyConnection, center_id: str) -> list[str]:
    """Return the names of the doomed calls' media files, fetched or not."""
    condition = tables_of_calls(connection)["media"]
    return _names(connection, center_id, f"FROM media WHERE {condition}", {"center": center_id})


def loose_media(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> list[str]:
    """Return the names of old media files, fetched or not, that are of no incident."""
    span = {"center": due.center_id, "cutoff": cutoff}
    return _names(connection, due.center_id, f"FROM media WHERE {_LOOSE_MEDIA}", span)


def _span(due: Due, cutoff: datetime) -> dict[str, object]:
    return {"center": due.center_id, "cutoff": cutoff, "held": sorted(due.held)}


def _names(
    connection: duckdb.DuckDBPyConnection, center_id: str, source: str, parameters: dict[str, object]
) -> list[str]:
    """Return the names of the files of some rows of `media`, below the folder of them."""
    rows = connection.execute(f"SELECT DISTINCT version_hash {source} ORDER BY 1", parameters).fetchall()
    return [f"{center_id}/{version_hash}" for (version_hash,) in rows]


def count_rows(connection: duckdb.DuckDBPyConnection, center_id: str) -> dict[str, int]:
    """Return how many rows of each table are the doomed calls'."""
    counts = {}
    for table, condition in tables_of_calls(connection).items():
        (count,) = fetch_row(
            connection, f"SELECT count(*) FROM {table} WHERE {condition}", {"center": center_id}
        )
        counts[table] = count
    return counts


def count_pages(connection: duckdb.DuckDBPyConnection, due: Due, cutoff: datetime) -> int:
    """Return how many pages received before a cut-off have a body still."""
    (count,) = fetch_row(
        connection,
        f"""SELECT count(*) FROM raw_pages WHERE center_id = $center AND received_at < $cutoff
            AND resource <> '{REDACTIONS}' AND octet_length(body) > 0""",
        {"center": due.center_id, "cutoff": cutoff},
    )
    return int(count)


def note_run(
    connection: duckdb.DuckDBPyConnection,
    due: Due,
    counts: Mapping[RetentionClass, Mapping[str, int]],
    now: datetime,
) -> None:
    """Keep how far each class was gone through, and what it lost. The caller holds a transaction."""
    for of, cutoff in due.cutoffs.items():
        if counts[of] or of in {"records", "caller-data"}:
            connection.execute(
                "INSERT INTO retention_runs VALUES (?, ?, ?, ?, ?)",
                [due.center_id, of, cutoff, now, orjson.dumps(dict(counts[of])).decode()],
            )
