"""The floor: fetch, decode, one Arrow table and one Parquet file for so many pages, and nothing else.

Nothing is archived, typed, merged or committed; times stay text. What any pipeline in Python costs at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import Job, Meter

PAGES_PER_GROUP = 64


def iter_pages(
    client: httpx.Client, job: Job, center_id: str, resource: str
) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each page, following the Link header."""
    client_id = job.client_id(center_id, resource)
    answer = client.post("/oauth/token", json={"client_id": client_id, "client_secret": "synthetic"})
    client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    url: str | None = f"/v1/{resource}?per_page={job.page_size}"
    while url:
        response = client.get(url)
        response.raise_for_status()
        yield orjson.loads(response.content)
        url = response.links.get("next", {}).get("url")


def land(client: httpx.Client, job: Job, center_id: str, resource: str, path: Path) -> int:
    """Write one listing to one Parquet file; return its number of records."""
    writer: pq.ParquetWriter | None = None
    records: list[dict[str, Any]] = []
    count = 0

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist(records)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        records.clear()

    for number, page in enumerate(iter_pages(client, job, center_id, resource), 1):
        records += page
        count += len(page)
        if number % PAGES_PER_GROUP == 0:
            flush()
    if records:
        flush()
    if writer:
        writer.close()
    return count


def main() -> None:
    """Land every listing of the job, one after the other."""
    job = Job.of_command_line()
    out_dir = Path(job.out_dir)
    with Meter() as meter, httpx.Client(base_url=job.base_url) as client:
        rows = sum(
            land(client, job, center_id, resource, out_dir / f"{center_id}.{resource}.parquet")
            for center_id in job.centers
            for resource in job.resources
        )
    meter.report(("httpx", "orjson", "pyarrow"), rows=rows)


if __name__ == "__main__":
    main()
