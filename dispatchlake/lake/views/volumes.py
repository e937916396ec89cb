"""How much happens when and where, by the center's clock."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, View
from dispatchlake.lake.views.common import (
    AGENCY_TYPE,
    CENTER,
    HOUR_US,
    INCIDENT_TYPE,
    LOCAL_CREATED_AT,
    LOCAL_DATE,
    ahead_by_day,
    by_local_clock,
    local,
    on_day,
    quarter,
    whole,
)

_PER_QUARTER = """SELECT center_id, '{table}' AS listing, {quarter} AS quarter, count(*) AS incidents
        FROM {table} GROUP BY center_id, quarter"""
_QUARTERS = "\n        UNION ALL\n        ".join(
    _PER_QUARTER.format(table=table, quarter=quarter("created_at"))
    for table in ("incidents", "cad_incidents")
)

# The start of the hour is reckoned back from the quarter by its local minutes. So the two hours that a clock
# set back counts as one are two, and an hour of a zone that is half an hour off begins at half past.
_INTO_HOUR = f"(local_us - {whole('local_us', HOUR_US)} * {HOUR_US})"

VOLUME_BY_HOUR = View(
    "volume_by_hour",
    "One row per center, listing and hour of the center's clock in which something was created. The hour "
    "that a clock set back repeats is two rows with one local_hour; hours without anything have no row: "
    "completeness has them.",
    (
        CENTER,
        Column("listing", "VARCHAR", "incidents or cad_incidents: which table was counted."),
        Column("local_hour", "TIMESTAMP", "Start of the hour by the center's clock."),
        Column("hour_start_at", "TIMESTAMPTZ", "The same as an instant."),
        Column("incidents", "BIGINT", "Rows created in that hour.", is_additive=True),
    ),
    f"""SELECT center_id, listing, make_timestamp(local_us - {_INTO_HOUR}) AS local_hour,
        make_timestamptz(start_us - {_INTO_HOUR}) AS hour_start_at, sum(incidents)::BIGINT AS incidents
    FROM ({by_local_clock(_QUARTERS)})
    GROUP BY ALL""",
    ("center_id", "listing", "hour_start_at"),
    "SELECT hour(local_hour) AS hour, avg(incidents) FROM volume_by_hour "
    "WHERE listing = 'cad_incidents' GROUP BY 1 ORDER BY 1",
)

VOLUME_BY_TYPE = View(
    "volume_by_type",
    "One row per center, local day, kind of agency and incident type: how many CAD incidents were created.",
    (
        CENTER,
        LOCAL_DATE,
        AGENCY_TYPE,
        INCIDENT_TYPE,
        Column("incidents", "BIGINT", "CAD incidents created on that day.", is_additive=True),
    ),
    f"""WITH days AS ({ahead_by_day("cad_incidents")})
    SELECT center_id, local_date, agency_type, incident_type, count(*) AS incidents
    FROM (
        SELECT cad_incidents.center_id, agency_type, incident_type, ({LOCAL_CREATED_AT})::DATE AS local_date
        FROM cad_incidents JOIN days ON {on_day("cad_incidents")})
    GROUP BY ALL""",
    ("center_id", "local_date", "agency_type", "incident_type"),
    "SELECT incident_type, sum(incidents) FROM volume_by_type "
    "WHERE local_date >= DATE '2024-03-01' GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
)

REPEAT_LOCATIONS = View(
    "repeat_locations",
    "One row per address that had more than one CAD incident. Addresses are compared without regard to "
    "capitals and repeated spaces, and not otherwise: 1 Main St and 1 Main Street are two. In the open zone "
    "an address is a block, with the CAD incidents of all its houses.",
    (
        CENTER,
        Column("address", "VARCHAR", "Address, block or intersection, in capitals.", "address"),
        Column("city", "VARCHAR", "City, in capitals; null where there is none.", "wording"),
        Column("cad_incidents", "BIGINT", "CAD incidents at that address.", is_additive=True),
        Column("first_at", "TIMESTAMPTZ", "created_at of the first of them."),
        Column("last_at", "TIMESTAMPTZ", "created_at of the last of them."),
        Column("local_first_at", "TIMESTAMP", "first_at by the center's clock."),
        Column("local_last_at", "TIMESTAMP", "last_at by the center's clock."),
    ),
    f"""SELECT center_id, address, city, cad_incidents, first_at, last_at,
        {local("first_at")} AS local_first_at, {local("last_at")} AS local_last_at
    FROM (
        SELECT center_id, upper(trim(regexp_replace(address, '\\s+', ' ', 'g'))) AS address,
            nullif(upper(trim(city)), '') AS city,
            sum(cad_incidents)::BIGINT AS cad_incidents, min(first_at) AS first_at, max(last_at) AS last_at
        FROM (
            SELECT center_id, address, city, count(*) AS cad_incidents, min(created_at) AS first_at,
                max(created_at) AS last_at
            FROM cad_incidents WHERE address IS NOT NULL GROUP BY center_id, address, city)
        GROUP BY ALL)
        LEFT JOIN centers USING (center_id)
    WHERE cad_incidents > 1 AND address <> ''""",
    ("center_id", "address", "city"),
    "FROM repeat_locations WHERE center_id = 'houston-tx' ORDER BY cad_incidents DESC LIMIT 10",
)
