"""The queries of the views that compare what REST and what webhooks told us of incidents.

A version that both told us of is one version, under the source that brought it first; `incident_sightings`
has the other. So an incident was seen by a source if a version or a sighting of it is that source's.
"""

from __future__ import annotations

SOURCES_QUERY = """
SELECT center_id, incident_id, any_value(created_at) AS created_at,
    bool_or(source = 'rest') AS by_rest,
    bool_or(source = 'webhook') AS by_webhook,
    min(received_at) FILTER (source = 'rest') AS first_by_rest_at,
    min(received_at) FILTER (source = 'webhook') AS first_by_webhook_at
FROM (
    SELECT v.center_id, incident_id, c.created_at, v.source, v.received_at
    FROM incident_versions AS v JOIN incidents AS c USING (center_id, incident_id)
    UNION ALL
    SELECT s.center_id, incident_id, c.created_at, s.source, s.received_at
    FROM incident_sightings AS s JOIN incidents AS c USING (center_id, incident_id))
GROUP BY center_id, incident_id
"""

RECONCILIATION_QUERY = """
SELECT center_id, (created_at AT TIME ZONE 'UTC')::DATE AS day,
    count(*) AS incidents,
    count(*) FILTER (by_rest AND by_webhook) AS by_both,
    count(*) FILTER (NOT by_webhook) AS by_rest_only,
    count(*) FILTER (NOT by_rest) AS by_webhook_only
FROM incident_sources GROUP BY ALL
"""
