"""Every table of the lake, declared once: DDL and comments are derived from here.

A column's comment says what it means, its unit and where it comes from; `pii` says what it may reveal. What
records are made of is `record_types`' business; what is written when is `commit`'s; views and macros are
`views`'.
"""

from __future__ import annotations

from dispatchlake.lake.analyst_tables import CENTERS, DICTIONARY, SERVICE_CLASSES, VIEW_EDITIONS
from dispatchlake.lake.declared import Column, Table
from dispatchlake.lake.record_types import (
    CAD_INCIDENTS,
    DUCKDB_TYPES,
    EVENT_TYPES,
    INCIDENT_EVENTS,
    RecordType,
)

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
        "fingerprint",
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
        Column(field.name, DUCKDB_TYPES[field.kind], field.comment, field.pii, field.source)
        for field in record_type.fields
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
            key=("center_id", record_type.key),
        ),
        Table(
            record_type.versions,
            f"One row per distinct version of a {noun}; count incidents in {record_type.current}, not here. "
            f"Key: {record_type.identity}.",
            columns,
            _BY_MONTH,
            key=("center_id", record_type.key, "version_hash"),
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
        key=("center_id", record_type.key, "version_hash"),
    )


INCIDENT_SIGHTINGS = Table(
    "incident_sightings",
    "One row per version of an incident that a second source brought too; incident_versions has the first. "
    "Key: center_id, incident_id, version_hash, source.",
    (
        _CENTER,
        Column("incident_id", "VARCHAR", "incident_versions.incident_id."),
        Column("version_hash", "VARCHAR", "incident_versions.version_hash.", "fingerprint"),
        Column("source", "VARCHAR", "What brought it too: rest or webhook."),
        Column("created_at", "TIMESTAMPTZ", "When the incident was created, in this version."),
        Column("received_at", "TIMESTAMPTZ", "When we first received it from this source (UTC)."),
        Column("raw_id", "VARCHAR", "Page or delivery it was first read from: raw_pages.raw_id."),
    ),
    _BY_MONTH,
    key=("center_id", "incident_id", "version_hash", "source"),
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
            "Listing it belongs to; webhook:incident-events or webhook:cad; incident_events:item: one "
            "incident, asked for a link to its media; erasure: a page of ours that says which bodies records "
            "were cut out of.",
        ),
        Column("run_id", "VARCHAR", "Run that fetched or landed it: runs.run_id; media: for links to files."),
        Column("sequence", "BIGINT", "Position in its listing, from 1; 1 for a delivery."),
        Column("url_path", "VARCHAR", "Path it was fetched from or delivered to, without the query."),
        Column("query", "JSON", "Paging and filter parameters that were sent."),
        Column("status", "BIGINT", "HTTP status: the answer's, or ours to a delivery."),
        Column("headers", "JSON", "Headers of interest: the answer's, or the delivery's."),
        Column("requested_at", "TIMESTAMPTZ", "When it was asked for (UTC); of a delivery, received_at."),
        Column("received_at", "TIMESTAMPTZ", "When its last byte came (UTC)."),
        Column("body_bytes", "BIGINT", "Length of body.", is_additive=True),
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
    key=("raw_id",),
)

CHAIN_HEADS = Table(
    "chain_heads",
    "One row per center: the end of its chain of archived pages, so that a cut-off end is noticed.",
    (
        _CENTER,
        Column("position", "BIGINT", "raw_pages.chain_position of the last page."),
        Column("record_sha256", "VARCHAR", "raw_pages.record_sha256 of the last page."),
    ),
    key=("center_id",),
)

QUARANTINE = Table(
    "quarantine",
    "One row per record set aside because it could not be typed; its page or delivery is in raw_pages. "
    "Key: quarantine_id.",
    (
        Column("quarantine_id", "VARCHAR", "Hash of center, resource, reason and record.", "fingerprint"),
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
    key=("quarantine_id",),
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
        Column("records", "BIGINT", "Records read in the last run over it.", is_additive=True),
        Column("attempts", "BIGINT", "Runs over it since the last success, or 1."),
        Column("last_error", "VARCHAR", "Why the last run failed; null if it did not."),
        Column("run_id", "VARCHAR", "Last run over it."),
        Column("updated_at", "TIMESTAMPTZ", "When this row was written (UTC)."),
    ),
    key=("center_id", "resource", "kind", "state", "window_start", "window_end"),
)

WATERMARKS = Table(
    "watermarks",
    "One row per center and resource: where the next scheduled run begins, less the lookback.",
    (
        _CENTER,
        Column("resource", "VARCHAR", "Listing."),
        Column(
            "watermark_at",
            "TIMESTAMPTZ",
            "Everything changed until then has been read; goes back only if ahead of the source's clock.",
        ),
        Column("run_id", "VARCHAR", "Run that moved it."),
    ),
    key=("center_id", "resource"),
)

RUNS = Table(
    "runs",
    "One row per try of a cell in a run: what it brought, or why it failed; of webhook deliveries, one for "
    "those that landed within five minutes. Key: run_id, center_id, resource, started_at.",
    (
        Column("run_id", "VARCHAR", "Id of the flow run; of deliveries, landing and the minute (UTC)."),
        _CENTER,
        Column("resource", "VARCHAR", "Listing; webhook:incident-events or webhook:cad."),
        Column("state", "VARCHAR", "landed or failed."),
        Column("error", "VARCHAR", "Why it failed; null if it landed."),
        Column("pages", "BIGINT", "Pages fetched; deliveries.", is_additive=True),
        Column("records", "BIGINT", "Records received; deliveries.", is_additive=True),
        Column("new", "BIGINT", "Incidents seen for the first time.", is_additive=True),
        Column("changed", "BIGINT", "Further versions of incidents.", is_additive=True),
        Column("unchanged", "BIGINT", "Records that brought nothing new.", is_additive=True),
        Column("quarantined", "BIGINT", "Records set aside.", is_additive=True),
        Column(
            "oldest_created_at",
            "TIMESTAMPTZ",
            "Oldest created_at received: shows a source that hides the past.",
        ),
        Column("newest_updated_at", "TIMESTAMPTZ", "Newest updated_at received."),
        Column("started_at", "TIMESTAMPTZ", "When the cell began (UTC)."),
        Column(
            "seconds",
            "DOUBLE",
            "How long it took, in seconds; of deliveries, until the last landed.",
            is_additive=True,
        ),
        Column(
            "kind",
            "VARCHAR",
            "ingest or backfill, as in coverage; landing: of deliveries; null in rows older than it.",
        ),
        Column("error_class", "VARCHAR", "Kind of failure, such as AuthRejected; null if it landed."),
        Column(
            "logins", "BIGINT", "Requests to the center's token endpoint, refused ones too.", is_additive=True
        ),
        Column("last_received_at", "TIMESTAMPTZ", "When the last delivery came (UTC); null for listings."),
    ),
    key=("run_id", "center_id", "resource", "started_at"),
)

ALERTS = Table(
    "alerts",
    "One row per condition that holds and was told: so that it is not told every five minutes. Key: "
    "center_id, resource, condition.",
    (
        Column("center_id", "VARCHAR", "Dispatch center; empty where the condition is the whole lake's."),
        Column(
            "resource",
            "VARCHAR",
            "Listing; empty where the condition is not one listing's; of quality-dropped, table and check.",
        ),
        Column(
            "condition",
            "VARCHAR",
            "login-failed, late, silent, quarantine-grew, quality-dropped, disk-nearly-full, "
            "deliveries-wait, open-zone-late or erasure-unfinished.",
        ),
        Column("since_at", "TIMESTAMPTZ", "When it was first told (UTC)."),
        Column("told_at", "TIMESTAMPTZ", "When it was last told (UTC)."),
    ),
    key=("center_id", "resource", "condition"),
)

MEDIA_FILES = Table(
    "media_files",
    "One row per row of media whose file was tried to be fetched: where it is, or why it is not there. Key: "
    "center_id, media_id, version_hash.",
    (
        _CENTER,
        Column("media_id", "VARCHAR", "media.media_id.", "id or fingerprint"),
        Column("version_hash", "VARCHAR", "media.version_hash.", "fingerprint"),
        Column(
            "state",
            "VARCHAR",
            "fetched; expired: the link opens nothing any more, and none is known that does; "
            "removed: its time of retention is over; "
            "refused: it leads where we do not go, or to more than we take; failed: tried again for 2 hours.",
        ),
        Column(
            "path",
            "VARCHAR",
            "Where the file is, below the folder of media files; null unless fetched.",
            "link",
        ),
        Column("size_bytes", "BIGINT", "Its length.", is_additive=True),
        Column("sha256", "VARCHAR", "Its SHA-256, hexadecimal.", "fingerprint"),
        Column("error", "VARCHAR", "Why it is not there; null if it is."),
        Column("attempts", "BIGINT", "How often it was tried."),
        Column("tried_at", "TIMESTAMPTZ", "When the last attempt began (UTC)."),
        Column("asked_at", "TIMESTAMPTZ", "When the API was asked for a fresh link (UTC); null if never."),
        Column(
            "answer",
            "VARCHAR",
            "What it answered: link; none: it shows no link of this file; refused: it does not let us ask; "
            "failed: it did not answer, and is asked again.",
        ),
    ),
    ("center_id",),
    key=("center_id", "media_id", "version_hash"),
)

PUBLICATION = Table(
    "publication",
    "One row per open zone: which state of the restricted zone it shows, and how. Empty in that one.",
    (
        Column("source_snapshot", "BIGINT", "Snapshot of the restricted zone that this zone shows."),
        Column("source_at", "TIMESTAMPTZ", "When that snapshot came to be (UTC)."),
        Column("published_at", "TIMESTAMPTZ", "When it was published here (UTC)."),
        Column(
            "plans",
            "JSON",
            "By table, a hash of how its columns are treated and of which key made its tokens.",
        ),
        Column(
            "must_forget",
            "BOOLEAN",
            "Whether snapshots from before a change of key or treatment are still to be removed.",
        ),
    ),
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
    "One row per run of retention, center and class that removed something, and per hold that was let go of. "
    "Key: run_at, center_id, class.",
    (
        _CENTER,
        Column("class", "VARCHAR", "The rule's class; empty where a hold was let go of."),
        Column(
            "cutoff_at",
            "TIMESTAMPTZ",
            "What is older was removed (UTC); null where a hold was let go of: what it kept is to be gone "
            "through by the next run.",
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
    CENTERS,
    SERVICE_CLASSES,
    DICTIONARY,
    VIEW_EDITIONS,
    PUBLICATION,
    ERASURES,
    ERASURE_KEYS,
    LEGAL_HOLDS,
    RETENTION_RULES,
    RETENTION_RUNS,
)
