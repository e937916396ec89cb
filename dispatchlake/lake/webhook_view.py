"""The query of the view `webhook_status`: what was delivered to us, by center and kind of webhook.

Asks `runs` and `quarantine` only. A delivery counts in the hour in which it landed. An hour in which none did
has no row in `runs`, so every hour since the first is counted here, unlike in `status`: that nothing came and
that we were down look the same, and whoever judges says so.
"""

from __future__ import annotations

from dispatchlake.lake.landed_runs import LANDING
from dispatchlake.lake.status_view import HISTORY_DAYS, LEAST_DAYS

SHOWN_DAYS = 90
"""Of what was not delivered for longer nothing is said."""

WEBHOOK_QUERY = f"""
WITH landings AS (
    SELECT center_id, resource, records, quarantined, last_received_at,
        started_at + to_milliseconds((seconds * 1000)::BIGINT) AS ended_at,
        greatest(floor((epoch(now()) - epoch(started_at) - seconds) / 3600), 0)::BIGINT AS hours_ago
    FROM runs WHERE kind = '{LANDING}' AND started_at > now() - INTERVAL {SHOWN_DAYS} DAY),
summed AS (
    SELECT center_id, resource, max(last_received_at) AS last_received_at, max(ended_at) AS last_landed_at,
        min(hours_ago) AS hours_without_deliveries,
        least(max(hours_ago), min(hours_ago) + {(HISTORY_DAYS + 1) * 24}) AS first_hours_ago,
        coalesce(sum(records) FILTER (hours_ago = 0), 0)::BIGINT AS deliveries_last_hour,
        coalesce(sum(quarantined) FILTER (hours_ago = 0), 0)::BIGINT AS quarantined_last_hour
    FROM landings GROUP BY ALL),
hours AS (
    SELECT center_id, resource, hours_ago, coalesce(sum(records), 0)::BIGINT AS records
    FROM (
        SELECT center_id, resource, unnest(range(first_hours_ago + 1)) AS hours_ago FROM summed)
        LEFT JOIN landings USING (center_id, resource, hours_ago)
    GROUP BY ALL),
usual AS (
    SELECT center_id, resource, median(records) AS records FROM hours
    WHERE hours_ago >= 24 AND hours_ago % 24 = 0 GROUP BY ALL HAVING count(*) >= {LEAST_DAYS}),
days AS (
    SELECT center_id, resource, hours_ago // 24 AS days_ago, sum(records) AS records
    FROM hours JOIN summed USING (center_id, resource)
    WHERE hours_ago % 24 < least(hours_without_deliveries, 24)
        AND hours_ago // 24 * 24 >= greatest(hours_without_deliveries, 24)
    GROUP BY ALL),
meanwhile AS (
    SELECT center_id, resource, median(records) AS usual_deliveries, count(*) AS days,
        count(*) FILTER (records = 0) AS days_without_deliveries
    FROM days GROUP BY ALL),
aside AS (
    SELECT center_id, resource, count(*) AS quarantined, arg_max(reason, received_at) AS last_reason
    FROM quarantine GROUP BY ALL)
SELECT center_id, resource, last_received_at, last_landed_at,
    deliveries_last_hour,
    usual.records AS usual_deliveries_per_hour,
    hours_without_deliveries,
    meanwhile.usual_deliveries AS usual_deliveries_meanwhile,
    coalesce(meanwhile.days, 0) AS days_compared,
    coalesce(days_without_deliveries, 0) AS days_without_deliveries,
    coalesce(quarantined, 0) AS quarantined,
    quarantined_last_hour,
    last_reason
FROM summed
    LEFT JOIN usual USING (center_id, resource)
    LEFT JOIN meanwhile USING (center_id, resource)
    LEFT JOIN aside USING (center_id, resource)
"""
