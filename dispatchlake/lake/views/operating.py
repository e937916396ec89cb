"""How the reading of each listing stands, and which source told us of an incident."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, View
from dispatchlake.lake.reconciliation_view import RECONCILIATION_QUERY, SOURCES_QUERY
from dispatchlake.lake.status_view import STATUS_QUERY
from dispatchlake.lake.views.common import CENTER

_RESOURCE = Column("resource", "VARCHAR", "Listing: incident_events or cad_incidents.")
_THROUGH = Column("complete_through", "TIMESTAMPTZ", "Everything changed before it has been read.")

COMPLETE_THROUGH = View(
    "complete_through",
    "One row per center and resource: everything changed before complete_through has been read.",
    (CENTER, _RESOURCE, _THROUGH),
    """SELECT center_id, resource, max(window_end) AS complete_through
    FROM coverage WHERE kind = 'ingest' AND state = 'complete' GROUP BY ALL""",
    ("center_id", "resource"),
    "SELECT min(complete_through) FROM complete_through",
)

STATUS = View(
    "status",
    "One row per center and resource: how its live reading stands; see docs/status-and-alerts.md.",
    (
        CENTER,
        _RESOURCE,
        _THROUGH,
        Column("lag_s", "DOUBLE", "From complete_through to now."),
        Column("last_success_at", "TIMESTAMPTZ", "When a reading last ended well."),
        Column("last_failure_at", "TIMESTAMPTZ", "When one last failed, of the last 28 days."),
        Column("last_error", "VARCHAR", "The sentence of that failure."),
        Column("last_error_class", "VARCHAR", "Its kind, such as AuthRejected."),
        Column("failures_in_a_row", "BIGINT", "Failed tries since the last success; 0 while all is well."),
        Column("rows_last_hour", "BIGINT", "Incidents and versions new to us in the last 60 minutes."),
        Column("usual_rows_per_hour", "DOUBLE", "Median of the same hour of earlier days; null without 3."),
        Column("hours_without_rows", "BIGINT", "Whole hours since the last row that was new to us."),
        Column("usual_rows_meanwhile", "DOUBLE", "Median of what earlier days brought in these hours."),
        Column("days_compared", "BIGINT", "Earlier days that were looked at for that."),
        Column("days_without_rows", "BIGINT", "How many of them brought none in these hours."),
        Column("quarantined", "BIGINT", "Records in quarantine.", is_additive=True),
        Column("quarantined_last_hour", "BIGINT", "Those received in the last 60 minutes.", is_additive=True),
        Column("logins_last_hour", "BIGINT", "Requests to the token endpoint.", is_additive=True),
    ),
    STATUS_QUERY,
    ("center_id", "resource"),
    "SELECT center_id, resource, lag_s, last_error FROM status ORDER BY lag_s DESC",
)

INCIDENT_SOURCES = View(
    "incident_sources",
    "One row per incident: whether REST and whether webhooks told us of it, and when first.",
    (
        CENTER,
        Column("incident_id", "VARCHAR", "incidents.incident_id."),
        Column("created_at", "TIMESTAMPTZ", "When the incident was created, at the source."),
        Column("by_rest", "BOOLEAN", "Whether the listing had it."),
        Column("by_webhook", "BOOLEAN", "Whether a delivery told of it."),
        Column("first_by_rest_at", "TIMESTAMPTZ", "When the listing first had it; null if never."),
        Column("first_by_webhook_at", "TIMESTAMPTZ", "When it was first delivered; null if never."),
    ),
    SOURCES_QUERY,
    ("center_id", "incident_id"),
    "SELECT center_id, count(*) FROM incident_sources WHERE NOT by_webhook GROUP BY ALL",
)

RECONCILIATION = View(
    "reconciliation",
    "One row per center and UTC day of created_at: incidents seen by REST, by webhooks, by both.",
    (
        CENTER,
        Column("day", "DATE", "Day of created_at, in UTC."),
        Column("incidents", "BIGINT", "Incidents created on that day.", is_additive=True),
        Column("by_both", "BIGINT", "Those that both told us of.", is_additive=True),
        Column("by_rest_only", "BIGINT", "Those that only the listing had.", is_additive=True),
        Column("by_webhook_only", "BIGINT", "Those that were only delivered.", is_additive=True),
    ),
    RECONCILIATION_QUERY,
    ("center_id", "day"),
    "FROM reconciliation ORDER BY day DESC LIMIT 14",
)
