"""What analysts ask of a large lake, each question once on a fresh connection and then again."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.measure import Job, Meter
from bench.rows import record_id
from dispatchlake.lake.reading import connect

AGAIN = 3

_ONE = f"center_id = 'center-02' AND cad_incident_id = '{record_id('center-02', 1234)}'"
# Of a record that is linked, whose incident's id is made of its own; see `bench.large_lake`.
_INCIDENT = f"center_id = 'center-02' AND incident_id = md5('{record_id('center-02', 1234)}')::UUID::VARCHAR"
_HALF_WAY = (
    """(SELECT to_timestamp((epoch(min(created_at)) + epoch(max(created_at))) / 2) FROM cad_incidents)"""
)
_LAST_DAYS = "(SELECT max(created_at) - INTERVAL 16 DAY FROM cad_incidents)"
COMMON = {
    "complete through": "FROM complete_through",
    "response_times: percentiles by center": """SELECT center_id,
        quantile_cont(call_to_dispatch_s, [0.5, 0.9, 0.99]) FROM response_times GROUP BY 1""",
    "response_times: by local hour": """SELECT hour(local_created_at), avg(call_to_dispatch_s)
        FROM response_times GROUP BY 1""",
    "response_percentiles: one month": """FROM response_percentiles(
        '2024-02-01 00:00:00 UTC', '2024-03-01 00:00:00 UTC')""",
    "volume_by_hour": "SELECT center_id, hour(local_hour), sum(incidents) FROM volume_by_hour GROUP BY ALL",
    "volume_by_type": "SELECT local_date, sum(incidents) FROM volume_by_type GROUP BY 1",
    "repeat_locations": "FROM repeat_locations ORDER BY cad_incidents DESC LIMIT 10",
    "cad_incidents_as_of: half-way": f"SELECT count(*) FROM cad_incidents_as_of({_HALF_WAY})",
    "cad_incidents_at_source: half-way": f"SELECT count(*) FROM cad_incidents_at_source({_HALF_WAY})",
    "completeness: gaps": "SELECT center_id, count(*) FROM completeness WHERE is_gap GROUP BY ALL",
    "is_complete": "SELECT is_complete('center-01', 'cad_incidents', TIMESTAMPTZ '2024-02-01 00:00:00 UTC')",
    "incident_timeline: one incident": f"FROM incident_timeline WHERE {_INCIDENT}",
    "best_location: one incident": f"FROM best_location WHERE {_INCIDENT}",
    "best_location: all, by family": "SELECT service_family, count(*) FROM best_location GROUP BY 1",
    "cad_links: one incident": f"FROM cad_links WHERE {_INCIDENT}",
    "data_quality_since: the last days of one center": f"""SELECT check_name, sum(failed)
        FROM data_quality_since({_LAST_DAYS}) WHERE center_id = 'center-02' GROUP BY 1""",
}
"""Common questions of the shipped views."""

OTHERS = {
    "counts by hour": "SELECT date_trunc('hour', created_at) AS hour, count(*) FROM cad_incidents GROUP BY 1",
    "counts by hour, time_bucket": """SELECT time_bucket(INTERVAL 1 HOUR, created_at) AS hour, count(*)
        FROM cad_incidents GROUP BY 1""",
    "counts by center and type": "SELECT center_id, incident_type, count(*) FROM cad_incidents GROUP BY ALL",
    "percentiles of response time": """SELECT center_id,
        quantile_cont(epoch(dispatched_at - call_received_at), [0.5, 0.9, 0.99])
        FROM cad_incidents GROUP BY 1""",
    "percentiles of response time, in microseconds": """SELECT center_id,
        quantile_cont((epoch_us(dispatched_at) - epoch_us(call_received_at)) / 1e6, [0.5, 0.9, 0.99])
        FROM cad_incidents GROUP BY 1""",
    "latest version of one incident": f"""SELECT * FROM cad_incident_versions WHERE {_ONE}
        ORDER BY updated_at DESC LIMIT 1""",
    "one month of one center": """SELECT count(*), avg(alarm_level) FROM cad_incidents
        WHERE center_id = 'center-01' AND created_at >= '2024-02-01' AND created_at < '2024-03-01'""",
    "data_quality: all": "SELECT table_name, check_name, sum(failed) FROM data_quality GROUP BY ALL",
}
"""As analysts write them without a view; and an audit of all there ever was, which nobody waits for daily."""


def main() -> None:
    """Ask every question of the lake below the job's folder."""
    job = Job.of_command_line()
    lake_dir = Path(job.out_dir) / "lake"
    found = {name: _ask(lake_dir, question) for name, question in (COMMON | OTHERS).items()}
    with Meter() as meter:
        pass
    meter.report(("dispatchlake", "duckdb"), queries=found)


def _ask(lake_dir: Path, question: str) -> dict[str, float]:
    with connect(lake_dir) as connection:
        seconds = []
        for _ in range(1 + AGAIN):
            began_s = time.perf_counter()
            answer = connection.execute(question).fetchall()
            seconds.append(time.perf_counter() - began_s)
    return {"first_s": seconds[0], "again_s": statistics.median(seconds[1:]), "answered": len(answer)}


if __name__ == "__main__":
    main()
