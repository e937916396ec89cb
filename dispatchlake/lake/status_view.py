"""The query of the view `status`: how the live reading of each center and resource stands now.

Asks `coverage`, `runs` and `quarantine` only, never a table of records: what came is known from what each run
brought, so an hour counts rows by when we received them. That a center's clock is wrong, or that it sends old
records late, then changes nothing.
"""

from __future__ import annotations

HISTORY_DAYS = 28
"""Earlier days that an hour is compared with: four of each weekday."""

LEAST_DAYS = 3
"""Without so many earlier days nothing is called usual."""

STATUS_QUERY = f"""
WITH live AS (
    SELECT center_id, resource,
        max(window_end) FILTER (state = 'complete') AS complete_through,
        max(updated_at) FILTER (state = 'complete') AS last_success_at,
        max(updated_at) FILTER (state = 'failed') AS failed_at,
        arg_max(last_error, updated_at) FILTER (state = 'failed') AS error,
        coalesce(max(attempts) FILTER (state = 'failed'), 0) AS failures_in_a_row
    FROM coverage WHERE kind = 'ingest' GROUP BY ALL),
tries AS (
    SELECT center_id, resource, state, error, error_class, logins, new + changed AS rows,
        coalesce(kind, 'ingest') = 'ingest' AS is_live,
        started_at + to_milliseconds((seconds * 1000)::BIGINT) AS ended_at,
        greatest(floor((epoch(now()) - epoch(started_at) - seconds) / 3600), 0)::BIGINT AS hours_ago
    FROM runs WHERE started_at > now() - INTERVAL {HISTORY_DAYS + 2} DAY),
failures AS (
    SELECT center_id, resource, max(ended_at) AS failed_at, arg_max(error, ended_at) AS error,
        arg_max(error_class, ended_at) AS error_class
    FROM tries WHERE state = 'failed' AND is_live GROUP BY ALL),
logins AS (
    SELECT center_id, resource, sum(logins)::BIGINT AS logins FROM tries WHERE hours_ago = 0 GROUP BY ALL),
hours AS (
    SELECT center_id, resource, hours_ago, sum(rows)::BIGINT AS rows
    FROM tries WHERE state = 'landed' AND is_live AND hours_ago < {(HISTORY_DAYS + 1) * 24} GROUP BY ALL),
usual AS (
    SELECT center_id, resource, median(rows) AS rows FROM hours
    WHERE hours_ago >= 24 AND hours_ago % 24 = 0 GROUP BY ALL HAVING count(*) >= {LEAST_DAYS}),
quiet AS (
    SELECT center_id, resource,
        min(hours_ago) FILTER (rows > 0) AS hours_without_rows,
        coalesce(sum(rows) FILTER (hours_ago = 0), 0)::BIGINT AS rows_last_hour
    FROM hours GROUP BY ALL),
days AS (
    SELECT center_id, resource, hours_ago // 24 AS days_ago, sum(rows) AS rows
    FROM hours JOIN quiet USING (center_id, resource)
    WHERE hours_ago % 24 < least(hours_without_rows, 24)
        AND hours_ago // 24 * 24 >= greatest(hours_without_rows, 24)
    GROUP BY ALL),
meanwhile AS (
    SELECT center_id, resource, median(rows) AS usual_rows, count(*) AS days,
        count(*) FILTER (rows = 0) AS days_without_rows
    FROM days GROUP BY ALL),
aside AS (
    SELECT center_id, resource, count(*) AS quarantined,
        count(*) FILTER (received_at > now() - INTERVAL 1 HOUR) AS quarantined_last_hour
    FROM quarantine GROUP BY ALL)
SELECT center_id, resource,
    complete_through,
    epoch(now()) - epoch(complete_through) AS lag_s,
    last_success_at,
    greatest(failures.failed_at, live.failed_at) AS last_failure_at,
    coalesce(failures.error, live.error) AS last_error,
    failures.error_class AS last_error_class,
    coalesce(failures_in_a_row, 0) AS failures_in_a_row,
    coalesce(rows_last_hour, 0) AS rows_last_hour,
    usual.rows AS usual_rows_per_hour,
    hours_without_rows,
    meanwhile.usual_rows AS usual_rows_meanwhile,
    coalesce(meanwhile.days, 0) AS days_compared,
    coalesce(days_without_rows, 0) AS days_without_rows,
    coalesce(quarantined, 0) AS quarantined,
    coalesce(quarantined_last_hour, 0) AS quarantined_last_hour,
    coalesce(logins.logins, 0) AS logins_last_hour
FROM (SELECT DISTINCT center_id, resource FROM coverage) AS cells
    LEFT JOIN live USING (center_id, resource)
    LEFT JOIN failures USING (center_id, resource)
    LEFT JOIN logins USING (center_id, resource)
    LEFT JOIN usual USING (center_id, resource)
    LEFT JOIN quiet USING (center_id, resource)
    LEFT JOIN meanwhile USING (center_id, resource)
    LEFT JOIN aside USING (center_id, resource)
"""
