"""Where a caller is, as well as is known: one of the location reports of each incident.

Every report stays in `caller_locations`; the rule is a view, so it can change without touching a record.
"""

from __future__ import annotations

from dispatchlake.lake.declared import Column, View
from dispatchlake.lake.views.common import CENTER, INCIDENT

FAR_M = 200_000
"""Farther than this from the middle of a center's CAD incidents is out of its area: farther than any county
is wide, nearer than the other end of a state."""

_METRES_A_DEGREE = 111_195.0


def _metres(lat: str, lng: str) -> str:
    """Return the distance to the middle of the center's area as SQL: on a plane, near enough for 200 km."""
    across = f"({lng} - mid_lng) * cos(radians(mid_lat))"
    return f"{_METRES_A_DEGREE} * sqrt(power({lat} - mid_lat, 2) + power({across}, 2))"


def _middle(degrees: str) -> str:
    """Return the median as SQL, to a hundredth of a degree: near enough for 200 km, and in half the time."""
    return f"quantile_disc(({degrees} * 100)::SMALLINT, 0.5) / 100"


# Coordinates that no place on Earth has lie in `extra`: of a swapped pair in most of America, the longitude.
_QUERY = f"""
WITH areas AS (
    SELECT center_id, {_middle("lat")} AS mid_lat, {_middle("lng")} AS mid_lng
    FROM cad_incidents WHERE lat <> 0 AND lng <> 0
        AND center_id IN (SELECT DISTINCT center_id FROM caller_locations)
    GROUP BY center_id),
placed AS (
    SELECT *, coalesce(lat, TRY_CAST(extra->>'$.lat' AS DOUBLE)) AS sent_lat,
        coalesce(lng, TRY_CAST(extra->>'$.lng' AS DOUBLE)) AS sent_lng
    FROM caller_locations),
judged AS (
    SELECT placed.center_id, incident_id, location_id, lat, lng, location_source,
        created_at AS captured_at, received_at, version_hash,
        coalesce(service_family, 'unknown') AS service_family,
        sent_lat IS NULL OR sent_lng IS NULL AS is_missing,
        sent_lat = 0 AND sent_lng = 0 AS is_zero,
        {_metres("sent_lat", "sent_lng")} > {FAR_M} AND {_metres("sent_lng", "sent_lat")} <= {FAR_M}
            AS is_swapped,
        {_metres("sent_lat", "sent_lng")} > {FAR_M} AS is_far,
        lat IS NULL OR lng IS NULL AS is_no_place,
        regexp_matches(coalesce(location_source, ''), 'spoken|transcript', 'i') AS is_spoken
    FROM placed
        LEFT JOIN service_classes
            ON service_classes.class_of_service = upper(trim(placed.class_of_service))
        LEFT JOIN areas ON areas.center_id = placed.center_id),
flagged AS (
    SELECT *, list_filter([
        CASE WHEN is_missing THEN 'missing' END,
        CASE WHEN is_zero THEN 'zero' END,
        CASE WHEN is_swapped AND NOT coalesce(is_zero, false) THEN 'swapped' END,
        CASE WHEN (is_far OR (is_no_place AND NOT is_missing)) AND NOT coalesce(is_swapped, false)
            AND NOT coalesce(is_zero, false) THEN 'out of area' END],
        flag -> flag IS NOT NULL) AS flags
    FROM judged),
graded AS (
    SELECT *, CASE
        WHEN len(flags) > 0 THEN 4
        WHEN is_spoken THEN 3
        WHEN service_family IN ('wireless_p0', 'wireless_p1') THEN 2
        ELSE 1 END AS grade
    FROM flagged)
SELECT center_id, incident_id, lat, lng, location_source, service_family, captured_at, fixes,
    CASE grade WHEN 1 THEN 'newest fix' WHEN 2 THEN 'newest fix, of a tower' WHEN 3 THEN 'newest spoken'
        ELSE 'newest of flagged ones' END AS rule,
    flags, location_id
FROM (
    SELECT *, (count(DISTINCT location_id) OVER (PARTITION BY center_id, incident_id)) AS fixes
    FROM graded
    QUALIFY row_number() OVER (
        PARTITION BY center_id, incident_id
        ORDER BY grade, captured_at DESC NULLS LAST, received_at DESC, version_hash) = 1)
"""

BEST_LOCATION = View(
    "best_location",
    "One row per incident with a caller's location: the best of its fixes, all of which stay in "
    "caller_locations. The rule: the newest fix that is not flagged and not a tower's (phase 0 or I); else "
    "the newest of a tower; else the newest that was spoken; else the newest flagged one, to be distrusted. "
    "Nothing is mended: a swapped pair stays swapped.",
    (
        CENTER,
        INCIDENT,
        Column("lat", "DOUBLE", "Latitude as sent; null if out of range.", "coordinates"),
        Column("lng", "DOUBLE", "Longitude as sent; null if out of range.", "coordinates"),
        Column("location_source", "VARCHAR", "Where the location is from; the vendor's word.", "wording"),
        Column("service_family", "VARCHAR", "Family of class_of_service by service_classes; else unknown."),
        Column("captured_at", "TIMESTAMPTZ", "When the location was captured."),
        Column("fixes", "BIGINT", "Location reports of the incident, by location_id.", is_additive=True),
        Column(
            "rule",
            "VARCHAR",
            "Why this one: newest fix; newest fix, of a tower; newest spoken; newest of flagged ones.",
        ),
        Column(
            "flags",
            "VARCHAR[]",
            f"What is wrong with it: missing, zero (0, 0), swapped, out of area (more than {FAR_M // 1000} "
            "km from the median of the center's CAD incidents, or no place on Earth); empty if nothing. "
            "In the open zone what is no place on Earth is missing, also of a swapped pair.",
        ),
        Column(
            "location_id",
            "VARCHAR",
            "caller_locations.location_id of the one that was taken.",
            "id or fingerprint",
        ),
    ),
    _QUERY,
    ("center_id", "incident_id"),
    "SELECT service_family, rule, count(*) FROM best_location WHERE len(flags) = 0 GROUP BY ALL",
)
