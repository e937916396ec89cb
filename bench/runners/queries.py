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
QUESTIONS = {
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
    "complete through": "FROM complete_through",
}


def main() -> None:
    """Ask every question of the lake below the job's folder."""
    job = Job.of_command_line()
    found = {name: _ask(Path(job.out_dir) / "lake", question) for name, question in QUESTIONS.items()}
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
