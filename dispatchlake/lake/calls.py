"""What belongs to a call, and taking it out of the tables, of one center at a time.

A call is an incident and all that carries its id: versions, sightings, locations, media, notes; and the CAD
incidents that are linked to it, with all their versions. A CAD incident is linked if any version of it names
the incident; or if a note or a location of the incident names its number, and no version of it names another
incident. The temporary table `doomed` (kind, id) says which calls a removal is about: one, or very many.

Works on whatever tables a lake has: the open zone's as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from dispatchlake.lake.archive import REDACTIONS
from dispatchlake.lake.events import DISCRIMINATORS
from dispatchlake.lake.forgetting import find_forgotten, forgotten_delivery, listing_of
from dispatchlake.lake.ledger import Forgotten
from dispatchlake.lake.replay import Resources
from dispatchlake.lake.sql import fetch_count, registered
from dispatchlake.payload import PayloadError, decode_json

BOOKKEEPING = frozenset({"legal_holds", "erasures"})
"""Tables that may name an incident and are about it, not of it."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one center, by their ids.

    Attributes:
        media_paths: Files of theirs, below the folder of media files.
    """

    center_id: str
    incident_ids: frozenset[str] = field(repr=False)
    cad_incident_ids: frozenset[str] = field(repr=False, default=frozenset())
    media_paths: tuple[str, ...] = ()

    def forgotten(self, erasure_id: str) -> Forgotten:
        """Return the judgement that a record is of one of these calls."""
        by_kind = {"incident": self.incident_ids, "cad_incident": self.cad_incident_ids}

        def because_of(kind: str, identity: str) -> str | None:
            return erasure_id if identity in by_kind[kind] else None

        return Forgotten(self.center_id, because_of)


def find_calls(connection: duckdb.DuckDBPyConnection, center_id: str, incident_ids: Iterable[str]) -> Calls:
    """Return what belongs to some incidents of a center, as the tables have it."""
    incidents = frozenset(incident_ids)
    doom(connection, Calls(center_id, incidents))
    of_them = "center_id = $center AND incident_id IN (SELECT id FROM doomed WHERE kind = 'incident')"
    center = {"center": center_id}
    cad = connection.execute(
        f"""SELECT DISTINCT cad_incident_id FROM cad_incident_versions WHERE {of_them}
        UNION
        SELECT cad_incident_id FROM cad_incident_versions
        WHERE center_id = $center AND cad_partner_incident_id IN (
            SELECT cad_partner_incident_id FROM cad_notes WHERE {of_them}
            UNION SELECT cad_partner_incident_id FROM cad_locations WHERE {of_them})
        GROUP BY cad_incident_id
        HAVING bool_and(
            incident_id IS NULL OR incident_id IN (SELECT id FROM doomed WHERE kind = 'incident'))""",
        center,
    ).fetchall()
    paths = connection.execute(
        f"""SELECT DISTINCT path FROM media_files SEMI JOIN (
            SELECT center_id, media_id, version_hash FROM media WHERE {of_them})
        USING (center_id, media_id, version_hash) WHERE path IS NOT NULL ORDER BY 1""",
        center,
    ).fetchall()
    return Calls(center_id, incidents, frozenset(row[0] for row in cad), tuple(row[0] for row in paths))


def doom(connection: duckdb.DuckDBPyConnection, calls: Calls) -> None:
    """Let `doomed` say which calls a removal is about."""
    rows = [("incident", one) for one in sorted(calls.incident_ids)]
    rows += [("cad_incident", one) for one in sorted(calls.cad_incident_ids)]
    kinds = pa.array([kind for kind, _ in rows], pa.string())
    ids = pa.array([identity for _, identity in rows], pa.string())
    with registered(connection, "doomed_rows", pa.table({"kind": kinds, "id": ids})):
        connection.execute("CREATE OR REPLACE TEMP TABLE doomed AS SELECT kind, id FROM doomed_rows")


def tables_of_calls(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return each table of the lake that has rows of calls, and the condition that a row is of a doomed one.

    Asked of the catalog: a table that is added later and carries an incident's id is among them.
    """
    rows = connection.execute(
        """SELECT table_name, list(column_name) FROM duckdb_columns()
        WHERE database_name = 'lake' AND table_name IN (
            SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake')
        GROUP BY table_name ORDER BY table_name"""
    ).fetchall()
    conditions: dict[str, str] = {}
    for table, columns in rows:
        for kind in ("cad_incident", "incident"):
            if f"{kind}_id" in columns and table not in BOOKKEEPING:
                conditions[table] = (
                    f"center_id = $center AND {kind}_id IN (SELECT id FROM doomed WHERE kind = '{kind}')"
                )
                break
    names = {row[0] for row in rows}
    if {"media", "media_files"} <= names:
        of_media = f"SELECT media_id, version_hash FROM media WHERE {conditions['media']}"
        # Before `media`, whose rows it is known by.
        conditions = {
            "media_files": f"center_id = $center AND (media_id, version_hash) IN ({of_media})",
            **conditions,
        }
    return conditions


def remove_rows(connection: duckdb.DuckDBPyConnection, center_id: str) -> dict[str, int]:
    """Delete the doomed calls' rows; return how many of each table. The caller holds a transaction."""
    counts: dict[str, int] = {}
    for table, condition in tables_of_calls(connection).items():
        if count := fetch_count(connection, f"DELETE FROM {table} WHERE {condition}", {"center": center_id}):
            counts[table] = count
    return counts


def remove_quarantined(
    connection: duckdb.DuckDBPyConnection,
    center_id: str,
    forgotten: Forgotten,
    resources: Resources,
    *,
    run_id: str,
) -> int:
    """Delete records set aside that are of a call, or whose delivery was emptied for it; return how many.

    Of a delivery that was emptied by another run than `run_id` the record stays, and so does one that stood
    beside the call's on a page of a listing. The caller holds a transaction.
    """
    found = [
        (quarantine_id,)
        for quarantine_id, resource, record in connection.execute(
            "SELECT quarantine_id, resource, record FROM quarantine WHERE center_id = ?", [center_id]
        ).fetchall()
        if _is_forgotten(record, listing_of(resource, center_id, resources), forgotten)
    ]
    emptied = connection.execute(
        f"""SELECT quarantine_id FROM quarantine
        WHERE center_id = $center AND resource IN (SELECT unnest($deliveries)) AND raw_id IN (
            SELECT raw_id FROM raw_pages
            WHERE center_id = $center AND octet_length(body) = 0 AND redaction_id IN (
                SELECT raw_id FROM raw_pages
                WHERE center_id = $center AND resource = '{REDACTIONS}' AND run_id = $run))""",
        {"center": center_id, "run": run_id, "deliveries": list(DISCRIMINATORS)},
    ).fetchall()
    ids = sorted({row[0] for row in [*found, *emptied]})
    if ids:
        connection.execute(
            "DELETE FROM quarantine WHERE center_id = $center AND quarantine_id IN (SELECT unnest($ids))",
            {"center": center_id, "ids": ids},
        )
    return len(ids)


def _is_forgotten(record: str, listing: Any, forgotten: Forgotten) -> bool:
    if isinstance(listing, str):
        return forgotten_delivery(record.encode(), forgotten) is not None
    try:
        content = decode_json(record.encode())
    except PayloadError:
        return False
    return bool(find_forgotten([content], listing, forgotten))
