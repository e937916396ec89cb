"""What one writes in an afternoon: a loop of requests, a pandas frame per center, times parsed, Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import requests

from bench.measure import Job, Meter


def fetch(job: Job, center_id: str, resource: str) -> list[dict[str, Any]]:
    """Return all records of one listing, following the Link header."""
    records: list[dict[str, Any]] = []
    with requests.Session() as session:
        fields = {"client_id": job.client_id(center_id, resource), "client_secret": "synthetic"}
        answer = session.post(f"{job.base_url}/oauth/token", json=fields, timeout=60)
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        url: str | None = f"{job.base_url}/v1/{resource}?per_page={job.page_size}"
        while url:
            response = session.get(url, timeout=60)
            response.raise_for_status()
            records += response.json()
            url = response.links.get("next", {}).get("url")
    return records


def land(job: Job, center_id: str, resource: str, path: Path) -> int:
    """Write one listing to one Parquet file; return its number of records."""
    frame = pd.DataFrame(fetch(job, center_id, resource))
    for name in frame.columns:
        if name.endswith("_at"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
    frame["center_id"] = center_id
    frame.to_parquet(path, index=False)
    return len(frame)


def main() -> None:
    """Land every listing of the job, one after the other."""
    job = Job.of_command_line()
    with Meter() as meter:
        rows = sum(
            land(job, center_id, resource, Path(job.out_dir) / f"{center_id}.{resource}.parquet")
            for center_id in job.centers
            for resource in job.resources
        )
    meter.report(("requests", "pandas", "pyarrow"), rows=rows)


if __name__ == "__main__":
    main()
