"""Every table of the lake, declared once: DDL, comments, parsing and merging are derived from here.

A column's comment says what it means, its unit and where it comes from; `pii` says what it may reveal.
What a value is made of is `parsing`'s business; what is written when is `commit`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dispatchlake.lake.status_view import STATUS_QUERY
from dispatchlake.model import Resource

Kind = Literal["text", "boolean", "integer", "number", "instant", "texts"]

DUCKDB_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "instant": "TIMESTAMPTZ",
    "texts": "VARCHAR[]",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its DuckDB type, its meaning, and the class of personal information it may carry."""

    name: str
    type: str
    comment: str
    pii: Literal["none", "phone", "address", "coordinates", "free text", "everything"] = "none"

    @property
    def full_comment(self) -> str:
        """Return the comment as the catalog shows it."""
        return self.comment if self.pii == "none" else f"{self.comment} [personal: {self.pii}]"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its grain in words, its columns and how its files are partitioned.

    Attributes:
        inlines: Whether a small load may stay in the catalog until flushed, instead of as a file each.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    inlines: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record at the source, and the column it becomes."""

    source: str
    kind: Kind
    comment: str
    column: str = ""
    required: bool = False
    pii: Literal["none", "phone", "address", "coordinates", "free text", "everything"] = "none"

    @property
    def name(self) -> str:
        """Return the column's name."""
        return self.column or self.source


@dataclass(frozen=True, slots=True)
class RecordType:
    """How the records of one resource are typed, and the two tables they land in.

    Attributes:
        key: Column of the record's own id.
        tie_break: Column that, when set, makes one of two versions with the same `updated_at` the newer.
    """

    resource: str
    current: str
    versions: str
    noun: str
    key: str
    tie_break: str
    fields: tuple[Field, ...]


INCIDENT_EVENTS = RecordType(
    resource="incident_events",
    current="incidents",
    versions="incident_versions",
    noun="incident",
    key="incident_id",
    tie_break="audio_call_ended_at",
    fields=(
        Field("id", "text", "Incident id (uuid) as the vendor has it.", "incident_id", required=True),
        Field("caller_phone_number", "text", "Caller's number, normally E.164; as sent.", pii="phone"),
        Field("is_audio_live", "boolean", "Whether the call's audio was live."),
        Field("audio_call_ended_at", "instant", "When the call's audio ended; null while it is live."),
        Field("chatroom_url", "text", "Page of the incident in the vendor's portal, for people."),
        Field("created_at", "instant", "When the incident was created, at the source.", required=True),
        Field("updated_at", "instant", "When this version came to be, at the source.", required=True),
    ),
)

CAD_INCIDENTS = RecordType(
    resource="cad_incidents",
    current="cad_incidents",
    versions="cad_incident_versions",
    noun="CAD incident",
    key="cad_incident_id",
    tie_break="closed_at",
    fields=(
        Field("id", "text", "CAD incident id as the vendor has it.", "cad_incident_id", required=True),
        Field("cad_partner_incident_id", "text", "The center's own CAD number; unique only with center_id."),
        Field("incident_id", "text", "Linked incident; null while the record is an unlinked shell."),
        Field("agency_type", "text", "Kind of agency: fire, police, ems."),
        Field("incident_type", "text", "What the call is for, in the center's words."),
        Field("incident_type_code", "text", "The center's code for incident_type."),
        Field("priority", "text", "The center's priority code; scales differ between centers."),
        Field("alarm_level", "integer", "Number of alarms; 0 or 1 for an ordinary response."),
        Field("disposition", "text", "How the call ended, in the center's words."),
        Field("disposition_code", "text", "The center's code for disposition."),
        Field("address", "text", "Address, block or intersection.", pii="address"),
        Field("cross_street", "text", "Cross street.", pii="address"),
        Field("city", "text", "City."),
        Field("postal_code", "text", "Postal code; text, leading zeros count."),
        Field("beat", "text", "Beat, battalion or map key of the center."),
        Field(
            "lat", "number", "Latitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates"
        ),
        Field(
            "lng", "number", "Longitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates"
        ),
        Field("units", "texts", "Units assigned, in the source's order."),
        Field("received_at", "instant", "When the center received the call.", "call_received_at"),
        Field("entered_at", "instant", "When the call was entered into CAD."),
        Field("dispatched_at", "instant", "When the first unit was dispatched."),
        Field("responding_at", "instant", "When the first unit was under way."),
        Field("on_scene_at", "instant", "When the first unit was on scene."),
        Field("transport_at", "instant", "When transport began."),
        Field("hospital_at", "instant", "When the hospital was reached."),
        Field("closed_at", "instant", "When the CAD incident was closed."),
        Field("created_at", "instant", "When the CAD incident was created, at the source.", required=True),
        Field("updated_at", "instant", "When this version came to be, at the source.", required=True),
    ),
)

RECORD_TYPES: Mapping[str, RecordType] = {
    record_type.resource: record_type for record_type in (INCIDENT_EVENTS, CAD_INCIDENTS)
}


def record_type_of(resource: Resource) -> RecordType:
    """Return how records of a resource are typed, under the field names that a center gives them."""
    record_type = RECORD_TYPES[resource.name]
    sources = {
        record_type.key: resource.id_field,
        "created_at": resource.created_field,
        "updated_at": resource.changed_field,
    }
    fields = tuple(
        replace(field, source=sources.get(field.name, field.source), column=field.name)
        for field in record_type.fields
    )
    return replace(record_type, fields=fields)


_CENTER = Column(
    "center_id", "VARCHAR", "Dispatch center; part of every key, known from the credential only."
)
_PROVENANCE = (
    Column(
        "extra",
        "JSON",
        "Fields this software does not know, and coordinates out of range, as received.",
        "free text",
    ),
    Column(
        "version_hash",
        "VARCHAR",
        "Hash of the typed content; equal content has an equal hash, however written.",
    ),
    Column("received_at", "TIMESTAMPTZ", "When we first received this version (UTC)."),
    Column("source", "VARCHAR", "How it reached us: rest."),
    Column("raw_id", "VARCHAR", "Page it was first read from: raw_pages.raw_id."),
)


def record_columns(record_type: RecordType) -> tuple[Column, ...]:
    """Return the columns shared by a record type's current and versions tables."""
    fields = tuple(
        Column(field.name, DUCKDB_TYPES[field.kind], field.comment, field.pii) for field in record_type.fields
    )
    return (_CENTER, *fields, *_PROVENANCE)


def _record_tables(record_type: RecordType) -> tuple[Table, Table]:
    columns = record_columns(record_type)
    partition_by = ("center_id", "year(created_at)", "month(created_at)")
    noun = record_type.noun
    return (
        Table(
            record_type.current,
            f"One row per {noun}: its newest version. Key: center_id, {record_type.key}.",
            columns,
            partition_by,
        ),
        Table(
            record_type.versions,
            f"One row per distinct version of a {noun}; count incidents in {record_type.current}, not here. "
            f"Key: center_id, {record_type.key}, version_hash.",
            columns,
            partition_by,
        ),
    )


RAW_PAGES = Table(
    "raw_pages",
    "One row per page of an answer, exactly as received, archived before it was understood. Key: raw_id.",
    (
        Column("raw_id", "VARCHAR", "Id of the page."),
        _CENTER,
        Column("resource", "VARCHAR", "Listing it belongs to."),
        Column("run_id", "VARCHAR", "Run that fetched it: runs.run_id."),
        Column("sequence", "BIGINT", "Position in its listing, from 1."),
        Column("url_path", "VARCHAR", "Path it was fetched from, without the query."),
        Column("query", "JSON", "Paging and filter parameters that were sent."),
        Column("status", "BIGINT", "HTTP status."),
        Column("headers", "JSON", "Response headers of interest."),
        Column("requested_at", "TIMESTAMPTZ", "When it was asked for (UTC)."),
        Column("received_at", "TIMESTAMPTZ", "When its last byte came (UTC)."),
        Column("body_bytes", "BIGINT", "Length of body."),
        Column("body_sha256", "VARCHAR", "SHA-256 of body, hexadecimal."),
        Column("body", "BLOB", "Content as received, after transfer and content decoding.", "everything"),
        Column("chain_position", "BIGINT", "Place in the center's chain of pages: 1, 2, 3, without a gap."),
        Column("previous_sha256", "VARCHAR", "record_sha256 of the page before it; 64 zeros for the first."),
        Column(
            "record_sha256",
            "VARCHAR",
            "SHA-256 over previous_sha256 and this page's facts, body_sha256 among them; how it is computed: "
            "docs/chain-of-custody.md.",
        ),
    ),
    ("center_id", "year(received_at)", "month(received_at)", "day(received_at)"),
    inlines=False,  # few rows, but each may be megabytes
)

CHAIN_HEADS = Table(
    "chain_heads",
    "One row per center: the end of its chain of archived pages, so that a cut-off end is noticed.",
    (
        _CENTER,
        Column("position", "BIGINT", "raw_pages.chain_position of the last page."),
        Column("record_sha256", "VARCHAR", "raw_pages.record_sha256 of the last page."),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "One row per record set aside because it could not be typed; its page is in raw_pages. "
    "Key: quarantine_id.",
    (
        Column("quarantine_id", "VARCHAR", "Hash of center, resource, reason and record."),
        _CENTER,
        Column("resource", "VARCHAR", "Listing it belongs to."),
        Column("reason", "VARCHAR", "Why, and which field; never a value."),
        Column("record", "VARCHAR", "The record as JSON.", "everything"),
        Column("raw_id", "VARCHAR", "Page it was first read from: raw_pages.raw_id."),
        Column("position", "BIGINT", "Position in that page's records, from 0."),
        Column("received_at", "TIMESTAMPTZ", "When we first received it (UTC)."),
    ),
    ("center_id",),
)

COVERAGE = Table(
    "coverage",
    "One row per span of time read, or failed to be read, of one center and resource; compared with "
    "updated_at.",
    (
        _CENTER,
        Column("resource", "VARCHAR", "Listing."),
        Column("kind", "VARCHAR", "ingest: the live reading, one growing row; backfill: one row per cell."),
        Column("state", "VARCHAR", "complete or failed."),
        Column("window_start", "TIMESTAMPTZ", "Start of the span, included; null means from the beginning."),
        Column("window_end", "TIMESTAMPTZ", "End of the span, excluded."),
        Column("records", "BIGINT", "Records read in the last run over it."),
        Column("attempts", "BIGINT", "Runs over it since the last success, or 1."),
        Column("last_error", "VARCHAR", "Why the last run failed; null if it did not."),
        Column("run_id", "VARCHAR", "Last run over it."),
        Column("updated_at", "TIMESTAMPTZ", "When this row was written (UTC)."),
    ),
)

WATERMARKS = Table(
    "watermarks",
    "One row per center and resource: where the next scheduled run begins, less the lookback.",
    (
        _CENTER,
        Column("resource", "VARCHAR", "Listing."),
        Column(
            "watermark_at", "TIMESTAMPTZ", "Everything changed until then has been read; only moves forward."
        ),
        Column("run_id", "VARCHAR", "Run that moved it."),
    ),
)

RUNS = Table(
    "runs",
    "One row per try of a cell in a run: what it brought, or why it failed. Key: run_id, center_id, "
    "resource, started_at.",
    (
        Column("run_id", "VARCHAR", "Id of the flow run."),
        _CENTER,
        Column("resource", "VARCHAR", "Listing."),
        Column("state", "VARCHAR", "landed or failed."),
        Column("error", "VARCHAR", "Why it failed; null if it landed."),
        Column("pages", "BIGINT", "Pages fetched."),
        Column("records", "BIGINT", "Records received."),
        Column("new", "BIGINT", "Incidents seen for the first time."),
        Column("changed", "BIGINT", "Further versions of incidents."),
        Column("unchanged", "BIGINT", "Records that brought nothing new."),
        Column("quarantined", "BIGINT", "Records set aside."),
        Column(
            "oldest_created_at",
            "TIMESTAMPTZ",
            "Oldest created_at received: shows a source that hides the past.",
        ),
        Column("newest_updated_at", "TIMESTAMPTZ", "Newest updated_at received."),
        Column("started_at", "TIMESTAMPTZ", "When the cell began (UTC)."),
        Column("seconds", "DOUBLE", "How long it took, in seconds."),
        Column("kind", "VARCHAR", "ingest or backfill, as in coverage; null in rows older than this column."),
        Column("error_class", "VARCHAR", "Kind of failure, such as AuthRejected; null if it landed."),
        Column("logins", "BIGINT", "Requests to the center's token endpoint, refused ones too."),
    ),
)

ALERTS = Table(
    "alerts",
    "One row per condition that holds and was told: so that it is not told every five minutes. Key: "
    "center_id, resource, condition.",
    (
        Column("center_id", "VARCHAR", "Dispatch center; empty where the condition is the whole lake's."),
        Column("resource", "VARCHAR", "Listing; empty where the condition is not one listing's."),
        Column("condition", "VARCHAR", "login-failed, late, silent, quarantine-grew or disk-nearly-full."),
        Column("since_at", "TIMESTAMPTZ", "When it was first told (UTC)."),
        Column("told_at", "TIMESTAMPTZ", "When it was last told (UTC)."),
    ),
)

TABLES: tuple[Table, ...] = (
    RAW_PAGES,
    CHAIN_HEADS,
    *_record_tables(INCIDENT_EVENTS),
    *_record_tables(CAD_INCIDENTS),
    QUARANTINE,
    COVERAGE,
    WATERMARKS,
    RUNS,
    ALERTS,
)

VIEWS: Mapping[str, tuple[str, str]] = {
    "complete_through": (
        "One row per center and resource: everything changed before complete_through has been read.",
        """SELECT center_id, resource, max(window_end) AS complete_through
        FROM coverage WHERE kind = 'ingest' AND state = 'complete' GROUP BY ALL""",
    ),
    "status": (
        "One row per center and resource: how its live reading stands; see docs/status-and-alerts.md.",
        STATUS_QUERY,
    ),
}
