"""Every table of the lake, declared once: DDL and comments are derived from here.

A column's comment says what it means, its unit and where it comes from; `pii` says what it may reveal. What
records are made of is `record_types`' business; what is written when is `commit`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatchlake.lake.reconciliation_view import RECONCILIATION_QUERY, SOURCES_QUERY
from dispatchlake.lake.record_types import (
    CAD_INCIDENTS,
    DUCKDB_TYPES,
    EVENT_TYPES,
    INCIDENT_EVENTS,
    Pii,
    RecordType,
)
from dispatchlake.lake.status_view import STATUS_QUERY


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its DuckDB type, its meaning, and the class of personal information it may carry."""

    name: str
    type: str
    comment: str
    pii: Pii = "none"

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


_CENTER = Column(
    "center_id", "VARCHAR", "Dispatch center; part of every key, known from the credential or our URL."
)
_PROVENANCE = (
    Column(
        "extra",
        "JSON",
        "Fields this software does not know, and coordinates out of range, as received; URLs without query.",
        "free text",
    ),
    Column(
        "version_hash",
        "VARCHAR",
        "Hash of the typed content; equal content has an equal hash, however written.",
    ),
    Column("received_at", "TIMESTAMPTZ", "When we first received this version (UTC)."),
    Column("source", "VARCHAR", "How it reached us first: rest or webhook."),
    Column(
        "raw_id",
        "VARCHAR",
        "Page or delivery it was first read from: raw_pages.raw_id; null once retention took its caller "
        "data.",
    ),
)
_BY_MONTH = ("center_id", "year(created_at)", "month(created_at)")


def record_columns(record_type: RecordType) -> tuple[Column, ...]:
    """Return the columns shared by a record type's current and versions tables."""
    fields = tuple(
        Column(field.name, DUCKDB_TYPES[field.kind], field.comment, field.pii) for field in record_type.fields
    )
    return (_CENTER, *fields, *_PROVENANCE)


def _record_tables(record_type: RecordType) -> tuple[Table, Table]:
    columns = record_columns(record_type)
    noun = record_type.noun
    return (
        Table(
            record_type.current,
            f"One row per {noun}: its newest version. Key: center_id, {record_type.key}.",
            columns,
            _BY_MONTH,
        ),
        Table(
            record_type.versions,
            f"One row per distinct version of a {noun}; count incidents in {record_type.current}, not here. "
            f"Key: {record_type.identity}.",
            columns,
            _BY_MONTH,
        ),
    )


def _event_table(record_type: RecordType) -> Table:
    return Table(
        record_type.versions,
        f"One row per {record_type.noun}, as webhooks bring them; nothing is ever overwritten: one that came "
        "again with another content is a further row. Count them with "
        f"count(DISTINCT {record_type.key}). Key: {record_type.identity}.",
        record_columns(record_type),
        _BY_MONTH,
    )


INCIDENT_SIGHTINGS = Table(
    "incident_sightings",
    "One row per version of an incident that a second source brought too; incident_versions has the first. "
    "Key: center_id, incident_id, version_hash, source.",
    (
        _CENTER,
        Column("incident_id", "VARCHAR", "incident_versions.incident_id."),
        Column("version_hash", "VARCHAR", "incident_versions.version_hash."),
        Column("source", "VARCHAR", "What brought it too: rest or webhook."),
        Column("created_at", "TIMESTAMPTZ", "When the incident was created, in this version."),
        Column("received_at", "TIMESTAMPTZ", "When we first received it from this source (UTC)."),
        Column("raw_id", "VARCHAR", "Page or delivery it was first read from: raw_pages.raw_id."),
    ),
    _BY_MONTH,
)

RAW_PAGES = Table(
    "raw_pages",
    "One row per page of an answer or webhook delivery, exactly as received, archived before it was "
    "understood. Key: raw_id.",
    (
        Column("raw_id", "VARCHAR", "Id of the page or delivery."),
        _CENTER,
        Column(
            "resource",
            "VARCHAR",
            "Listing it belongs to; webhook:incident-events or webhook:cad; erasure for "
            "a page of ours that says which bodies records were cut out of.",
        ),
        Column("run_id", "VARCHAR", "Run that fetched it: runs.run_id; of a delivery, the landing."),
        Column("sequence", "BIGINT", "Position in its listing, from 1; 1 for a delivery."),
        Column("url_path", "VARCHAR", "Path it was fetched from or delivered to, without the query."),
        Column("query", "JSON", "Paging and filter parameters that were sent."),
        Column("status", "BIGINT", "HTTP status: the answer's, or ours to a delivery."),
        Column("headers", "JSON", "Headers of interest: the answer's, or the delivery's."),
        Column("requested_at", "TIMESTAMPTZ", "When it was asked for (UTC); of a delivery, received_at."),
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
        Column("redacted_at", "TIMESTAMPTZ", "When records were last cut out of body (UTC); null if never."),
        Column(
            "redacted_sha256",
            "VARCHAR",
            "SHA-256 of body as it is now, where records were cut out of it; body_sha256 stays as it came.",
        ),
        Column(
            "redaction_id",
            "VARCHAR",
            "The page of the chain that says so: raw_pages.raw_id, of the resource erasure.",
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
    "One row per record set aside because it could not be typed; its page or delivery is in raw_pages. "
    "Key: quarantine_id.",
    (
        Column("quarantine_id", "VARCHAR", "Hash of center, resource, reason and record."),
        _CENTER,
        Column("resource", "VARCHAR", "Listing it belongs to; webhook:incident-events or webhook:cad."),
        Column("reason", "VARCHAR", "Why, and which field; never a value."),
        Column(
            "record",
            "VARCHAR",
            "The record as JSON, URLs without query; of a delivery that is none, its length and hash.",
            "everything",
        ),
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
        Column(
            "condition",
            "VARCHAR",
            "login-failed, late, silent, quarantine-grew, disk-nearly-full, deliveries-wait or "
            "erasure-unfinished.",
        ),
        Column("since_at", "TIMESTAMPTZ", "When it was first told (UTC)."),
        Column("told_at", "TIMESTAMPTZ", "When it was last told (UTC)."),
    ),
)

MEDIA_FILES = Table(
    "media_files",
    "One row per row of media whose file was tried to be fetched: where it is, or why it is not there. Key: "
    "center_id, media_id, version_hash.",
    (
        _CENTER,
        Column("media_id", "VARCHAR", "media.media_id."),
        Column("version_hash", "VARCHAR", "media.version_hash."),
        Column(
            "state",
            "VARCHAR",
            "fetched; expired: the link opens nothing any more, until a later delivery has a fresh one; "
            "removed: its time of retention is over; "
            "refused: it leads where we do not go, or to more than we take; failed: tried again for 2 hours.",
        ),
        Column("path", "VARCHAR", "Where the file is, below the folder of media files; null unless fetched."),
        Column("size_bytes", "BIGINT", "Its length."),
        Column("sha256", "VARCHAR", "Its SHA-256, hexadecimal."),
        Column("error", "VARCHAR", "Why it is not there; null if it is."),
        Column("attempts", "BIGINT", "How often it was tried."),
        Column("tried_at", "TIMESTAMPTZ", "When the last attempt began (UTC)."),
    ),
    ("center_id",),
)

ERASURES = Table(
    "erasures",
    "One row per call that was erased, and one per CAD incident that was part of one; nothing of the "
    "records. Key: erasure_id, subject_hash.",
    (
        Column("erasure_id", "VARCHAR", "Id of the erasure."),
        _CENTER,
        Column("kind", "VARCHAR", "incident or cad_incident."),
        Column(
            "subject_hash",
            "VARCHAR",
            "HMAC-SHA-256 of center, kind and id under this lake's own key.",
        ),
        Column("reason", "VARCHAR", "Why, as whoever asked for it said."),
        Column("requested_by", "VARCHAR", "Who asked for it: the account that ran the command."),
        Column("begun_at", "TIMESTAMPTZ", "When it was asked for (UTC)."),
        Column("erased_at", "TIMESTAMPTZ", "When all was removed (UTC); null while it is unfinished."),
        Column("counts", "JSON", "Rows removed by table, pages redacted and media files removed."),
    ),
)

ERASURE_KEYS = Table(
    "erasure_keys",
    "One row per lake in which a call was erased: the key of erasures.subject_hash, as erasures.json beside "
    "the catalog has it. Who copies erasures to others leaves it here.",
    (Column("key", "VARCHAR", "32 bytes, hexadecimal."),),
)

LEGAL_HOLDS = Table(
    "legal_holds",
    "One row per incident that may be neither erased nor removed by retention. Key: center_id, incident_id.",
    (
        _CENTER,
        Column("incident_id", "VARCHAR", "incidents.incident_id."),
        Column("reason", "VARCHAR", "Why, as whoever asked for it said."),
        Column("held_by", "VARCHAR", "Who asked for it: the account that ran the command."),
        Column("held_at", "TIMESTAMPTZ", "Since when (UTC)."),
    ),
)

RETENTION_RULES = Table(
    "retention_rules",
    "One row per rule of how long something is kept; without a row it is kept. Key: center_id, class.",
    (
        Column("center_id", "VARCHAR", "Dispatch center; empty for all that have no rule of their own."),
        Column("class", "VARCHAR", "records, caller-data, raw or media: docs/erasure-and-retention.md."),
        Column("days", "DOUBLE", "How long it is kept, in days."),
        Column("set_by", "VARCHAR", "Who set it: the account that ran the command."),
        Column("set_at", "TIMESTAMPTZ", "When (UTC)."),
    ),
)

RETENTION_RUNS = Table(
    "retention_runs",
    "One row per run of retention, center and class that removed something. Key: run_at, center_id, class.",
    (
        _CENTER,
        Column("class", "VARCHAR", "The rule's class."),
        Column(
            "cutoff_at",
            "TIMESTAMPTZ",
            "What is older was removed (UTC); null where it is to be gone through again.",
        ),
        Column("run_at", "TIMESTAMPTZ", "When (UTC)."),
        Column("counts", "JSON", "Rows by table, pages redacted as raw_pages, files as media files."),
    ),
)

TABLES: tuple[Table, ...] = (
    RAW_PAGES,
    CHAIN_HEADS,
    *_record_tables(INCIDENT_EVENTS),
    INCIDENT_SIGHTINGS,
    *_record_tables(CAD_INCIDENTS),
    *(_event_table(one) for one in EVENT_TYPES.values() if not one.current),
    QUARANTINE,
    COVERAGE,
    WATERMARKS,
    RUNS,
    ALERTS,
    MEDIA_FILES,
    ERASURES,
    ERASURE_KEYS,
    LEGAL_HOLDS,
    RETENTION_RULES,
    RETENTION_RUNS,
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
    "incident_sources": (
        "One row per incident: whether REST and whether webhooks told us of it, and when first.",
        SOURCES_QUERY,
    ),
    "reconciliation": (
        "One row per center and UTC day of created_at: incidents seen by REST, by webhooks, by both.",
        RECONCILIATION_QUERY,
    ),
}
