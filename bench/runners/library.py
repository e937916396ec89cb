"""Ours, as a library: `ingest_cell` for each center and resource, without Prefect."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from pydantic import SecretStr

from bench.measure import Job, Meter
from bench.sampling import Sampler
from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import CenterFacts, LoadSummary, open_lake
from dispatchlake.model import Credentials, DispatchCenter, Paging, ResourceOverride, Scope
from dispatchlake.settings import Settings


def center_of(job: Job, center_id: str) -> DispatchCenter:
    """Return a center as it would be registered, its rate budget out of the way."""
    override = ResourceOverride(
        paging=Paging(page_size=job.page_size, max_pages=100_000), since_param=job.options.get("since_param")
    )
    return DispatchCenter(
        center_id=center_id,
        name=center_id,
        base_url=job.base_url,
        credentials={
            Scope(resource): Credentials(
                client_id=job.client_id(center_id, resource), client_secret=SecretStr("synthetic")
            )
            for resource in job.resources
        },
        max_requests_per_s=1000,
        resources=dict.fromkeys(job.resources, override),
    )


def main() -> None:
    """Land every cell of the job, so many at once as it says, and look on if it says so."""
    job = Job.of_command_line()
    settings = Settings(data_dir=Path(job.out_dir), lock_wait_s=600)
    centers = {center_id: center_of(job, center_id) for center_id in job.centers}
    cells = [(center_id, resource) for center_id in job.centers for resource in job.resources]

    def land(cell: tuple[str, str]) -> LoadSummary:
        center_id, resource = cell
        return ingest_cell(centers[center_id], resource, settings=settings, run_id="bench")

    at_once = job.options.get("at_once", 1)
    sampler = Sampler() if job.options.get("is_sampled") else None
    # As the flow does: the lake stays open from one cell to the next, and has heard of all centers.
    with sampler or contextlib.nullcontext(), Meter() as meter, open_lake(settings) as lake:
        lake.remember_centers(CenterFacts(one.center_id, one.name, one.time_zone) for one in centers.values())
        if at_once == 1:
            summaries = [land(cell) for cell in cells]
        else:
            with ThreadPoolExecutor(at_once) as pool:
                summaries = list(pool.map(land, cells))
    meter.report(
        ("dispatchlake", "httpx", "orjson", "pyarrow", "duckdb"),
        rows=sum(one.records for one in summaries),
        changed=sum(one.changed for one in summaries),
        load_s=sum(one.seconds for one in summaries),
        spent=asdict(sampler.spent) if sampler else {},
    )


if __name__ == "__main__":
    main()
