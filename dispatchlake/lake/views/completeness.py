"""How far one may count: which hours have been read whole, and which have fewer records than usual."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, Macro, View
from dispatchlake.lake.record_types import CAD_INCIDENTS, INCIDENT_EVENTS, RecordType
from dispatchlake.lake.schemas import record_columns
from dispatchlake.lake.views.common import CENTER, HOUR_US, ZONE

HISTORY_DAYS = 56
"""Earlier days that an hour is compared with: eight of each weekday."""

LEAST_HOURS = 3
"""Without so many earlier hours nothing is expected of one."""

LEAST_EXPECTED = 4
GAP_SHARE = 0.1
"""An hour is a gap if at least so many records are usual in it and at most this share of them is there."""

FIRST_HOUR = "1990-01-01 00:00:00+00"
"""Nothing older is looked at: dates that stand for none would make centuries of empty hours."""

_LISTINGS = (
    "(VALUES ('incidents', 'incident_events'), ('cad_incidents', 'cad_incidents')) AS one(listing, resource)"
)

# A span is complete if everything between its start and complete_through has been read, by whichever runs:
# what was created in an hour may have changed at any time since, and only then have come to be listed there.
COMPLETE_SPANS_QUERY = """
SELECT center_id, resource, arg_max(starts_at, ends_at) AS complete_since, max(ends_at) AS complete_through
FROM (
    SELECT center_id, resource, island, min(starts_at) AS starts_at, max(window_end) AS ends_at,
        bool_or(kind = 'ingest') AS is_live
    FROM (
        SELECT *, sum((starts_at > coalesce(ends_before, starts_at))::INTEGER) OVER (
            PARTITION BY center_id, resource ORDER BY starts_at, window_end
            ROWS UNBOUNDED PRECEDING) AS island
        FROM (
            SELECT *, max(window_end) OVER (
                PARTITION BY center_id, resource ORDER BY starts_at, window_end
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ends_before
            FROM (
                SELECT center_id, resource, kind, window_end,
                    coalesce(window_start, '-infinity'::TIMESTAMPTZ) AS starts_at
                FROM coverage WHERE state = 'complete')))
    GROUP BY center_id, resource, island)
WHERE is_live GROUP BY center_id, resource
"""

# Hours are told apart by their start as an instant and compared by the center's clock. `RANGE` goes by the
# clock too: the week in which it was changed has one hour of that name more, or none.
_QUERY = f"""
WITH spans AS ({COMPLETE_SPANS_QUERY}),
counted AS (
    SELECT center_id, resource, hour_start_at, local_hour, incidents AS records
    FROM volume_by_hour JOIN {_LISTINGS} USING (listing)
    WHERE hour_start_at >= '{FIRST_HOUR}'::TIMESTAMPTZ),
ends AS (
    SELECT center_id, resource, min(hour_start_at) AS first_at,
        greatest(max(hour_start_at) FILTER (hour_start_at <= now()), any_value(complete_through)) AS last_at
    FROM counted LEFT JOIN spans USING (center_id, resource) GROUP BY center_id, resource),
every_hour AS (
    SELECT center_id, resource, unnest(generate_series(first_at, last_at, INTERVAL 1 HOUR)) AS hour_start_at
    FROM ends WHERE last_at IS NOT NULL
    UNION
    SELECT center_id, resource, hour_start_at FROM counted),
hours AS (
    SELECT center_id, resource, hour_start_at,
        coalesce(local_hour, hour_start_at AT TIME ZONE {ZONE}) AS local_hour,
        coalesce(records, 0) AS records
    FROM every_hour
        LEFT JOIN counted USING (center_id, resource, hour_start_at)
        LEFT JOIN centers USING (center_id)),
compared AS (
    SELECT *, median(records) OVER usual AS median_records, count(*) OVER usual AS hours_compared
    FROM hours
    WINDOW usual AS (
        PARTITION BY center_id, resource, dayofweek(local_hour), hour(local_hour)
        ORDER BY local_hour
        RANGE BETWEEN INTERVAL {HISTORY_DAYS} DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)),
judged AS (
    SELECT center_id, resource, hour_start_at, local_hour, records,
        CASE WHEN hours_compared >= {LEAST_HOURS} THEN median_records END AS expected,
        complete_since, complete_through,
        coalesce(hour_start_at >= complete_since
            AND epoch_us(hour_start_at) + {HOUR_US} <= epoch_us(complete_through), false) AS is_complete
    FROM compared LEFT JOIN spans USING (center_id, resource))
SELECT center_id, resource, hour_start_at, local_hour, records, expected,
    is_complete AND coalesce(expected >= {LEAST_EXPECTED} AND records <= {GAP_SHARE} * expected, false)
        AS is_gap,
    complete_through, is_complete, nullif(complete_since, '-infinity'::TIMESTAMPTZ) AS complete_since
FROM judged
"""

_RESOURCE = Column("resource", "VARCHAR", "Listing: incident_events or cad_incidents.")

COMPLETENESS = View(
    "completeness",
    "One row per center, listing and hour from its first record until complete_through: how many records "
    "were created, how many are usual, and whether all of them have been read.",
    (
        CENTER,
        _RESOURCE,
        Column("hour_start_at", "TIMESTAMPTZ", "Start of the hour."),
        Column("local_hour", "TIMESTAMP", "The same by the center's clock."),
        Column("records", "BIGINT", "Incidents or CAD incidents created in the hour.", is_additive=True),
        Column(
            "expected",
            "DOUBLE",
            f"Median of the same hour and weekday in the {HISTORY_DAYS // 7} weeks before, by the center's "
            f"clock; null with fewer than {LEAST_HOURS} of them.",
        ),
        Column(
            "is_gap",
            "BOOLEAN",
            f"Whether the hour was read whole and has at most {GAP_SHARE:.0%} of what is usual, which is "
            f"{LEAST_EXPECTED} or more: the source may have lost them.",
        ),
        Column("complete_through", "TIMESTAMPTZ", "Everything changed before it has been read."),
        Column(
            "is_complete",
            "BOOLEAN",
            "Whether everything created in the hour has been read: it is over, and all that changed between "
            "its start and complete_through was read.",
        ),
        Column(
            "complete_since",
            "TIMESTAMPTZ",
            "Start of what has been read without a gap until complete_through; null: from the first record.",
        ),
    ),
    _QUERY,
    ("center_id", "resource", "hour_start_at"),
    "SELECT center_id, resource, local_hour, records, expected FROM completeness WHERE is_gap",
)


def _complete_rows(record_type: RecordType) -> Macro:
    columns = record_columns(record_type)
    names = ", ".join(f"record.{column.name}" for column in columns)
    return Macro(
        f"complete_{record_type.current}",
        f"One row per {record_type.noun} of the span that has been read whole: those created before "
        f"complete_since or from complete_through on are left out. Shaped like {record_type.current}.",
        (),
        columns,
        f"""SELECT {names}
    FROM {record_type.current} AS record JOIN ({COMPLETE_SPANS_QUERY}) AS span
        ON span.center_id = record.center_id AND span.resource = '{record_type.resource}'
    WHERE record.created_at >= complete_since AND record.created_at < complete_through""",
        f"SELECT center_id, count(*) FROM complete_{record_type.current}() GROUP BY ALL",
        key=("center_id", record_type.key),
    )


_ASKED = (
    Column("center", "VARCHAR", "Dispatch center."),
    Column("listing", "VARCHAR", "incident_events or cad_incidents."),
    Column("t", "TIMESTAMPTZ", "The moment asked about."),
)
_IS_WITHIN = "coalesce(bool_or(t::TIMESTAMPTZ BETWEEN complete_since AND complete_through), false)"
_OF_LISTING = f"FROM ({COMPLETE_SPANS_QUERY}) WHERE center_id = center AND resource = listing"

COMPLETENESS_MACROS: tuple[Macro, ...] = (
    Macro(
        "is_complete",
        "Whether everything of a listing has been read until a moment, without a gap; false where nothing is "
        "known of it.",
        _ASKED,
        (Column("is_complete", "BOOLEAN", "Whether a count until t counts everything."),),
        f"(SELECT {_IS_WITHIN} {_OF_LISTING})",
        "SELECT is_complete('houston-tx', 'cad_incidents', TIMESTAMPTZ '2024-03-01 00:00:00 UTC')",
        is_table=False,
    ),
    Macro(
        "require_complete",
        "The moment itself if everything of a listing has been read until then, and an error if not: put "
        "in a condition, the question is refused and not answered with too little.",
        _ASKED,
        (Column("require_complete", "TIMESTAMPTZ", "t, where it is complete."),),
        # Within the subquery, which is asked even where there is no record to compare.
        f"""(SELECT CASE WHEN {_IS_WITHIN} THEN t::TIMESTAMPTZ
    ELSE error(concat('The listing ', listing, ' of center ', center, ' has not been read whole until ',
        t::VARCHAR, '. See the view completeness, or ask about an earlier time.')) END {_OF_LISTING})""",
        "SELECT count(*) FROM cad_incidents WHERE center_id = 'houston-tx' AND created_at < "
        "require_complete('houston-tx', 'cad_incidents', TIMESTAMPTZ '2024-03-01 00:00:00 UTC')",
        is_table=False,
    ),
    _complete_rows(INCIDENT_EVENTS),
    _complete_rows(CAD_INCIDENTS),
)
