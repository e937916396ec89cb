"""dlt, as its documentation shows it: `rest_api` or Arrow tables, to Parquet files or a DuckDB.

`options["form"]` says which: `parquet` (files, types inferred), `typed` (DuckDB, columns declared), `merge`
(the same, merged by key as ours does), `arrow` (tables made here, so that dlt need not look at each value).
Lists stay one JSON column: a child table for the units would cost dlt more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.paginators import HeaderLinkPaginator
from dlt.sources.rest_api import rest_api_resources

from bench.measure import Job, Meter

PAGES_PER_TABLE = 64

_TYPES = {
    "cad_incidents": {
        **dict.fromkeys(
            ("received_at", "dispatched_at", "closed_at", "created_at", "updated_at"), "timestamp"
        ),
        **dict.fromkeys(("lat", "lng"), "double"),
        "alarm_level": "bigint",
        "units": "json",
    },
    "incident_events": dict.fromkeys(("audio_call_ended_at", "created_at", "updated_at"), "timestamp"),
}


def client_of(job: Job, center_id: str, resource: str) -> dict[str, Any]:
    """Return how one listing is reached."""
    auth = OAuth2ClientCredentials(
        access_token_url=f"{job.base_url}/oauth/token",
        client_id=job.client_id(center_id, resource),
        client_secret="synthetic",
    )
    return {"base_url": job.base_url, "auth": auth, "paginator": HeaderLinkPaginator()}


def rest_api_resource(job: Job, center_id: str, resource: str) -> Any:
    """Return one listing as `rest_api` reads it, each record with its center."""
    declared: dict[str, Any] = {
        "name": f"{center_id}_{resource}",
        "table_name": resource,
        "endpoint": {"path": f"v1/{resource}", "params": {"per_page": job.page_size}},
    }
    if job.options["form"] in {"typed", "merge"}:
        declared["columns"] = {name: {"data_type": kind} for name, kind in _TYPES[resource].items()}
    if job.options["form"] == "merge":
        declared |= {"write_disposition": "merge", "primary_key": ["center_id", "id"]}
    config = {"client": client_of(job, center_id, resource), "resources": [declared]}
    (found,) = rest_api_resources(config)
    return found.add_map(lambda record: {"center_id": center_id, **record})


def arrow_resource(job: Job, center_id: str, resource: str) -> Any:
    """Return one listing as typed Arrow tables."""

    def tables() -> Iterator[pa.Table]:
        client = RESTClient(**client_of(job, center_id, resource))
        records: list[dict[str, Any]] = []
        pages = client.paginate(f"/v1/{resource}", params={"per_page": job.page_size})
        for number, page in enumerate(pages, 1):
            records += page
            if number % PAGES_PER_TABLE == 0:
                yield typed(records, center_id)
                records = []
        if records:
            yield typed(records, center_id)

    return dlt.resource(tables, name=f"{center_id}_{resource}", table_name=resource)


def typed(records: list[dict[str, Any]], center_id: str) -> pa.Table:
    """Return records as a table, its times parsed."""
    table = pa.Table.from_pylist(records)
    for index, name in enumerate(table.column_names):
        if name.endswith("_at"):
            table = table.set_column(index, name, table[name].cast(pa.timestamp("us", "UTC")))
    return table.append_column("center_id", pa.array([center_id] * len(table)))


def main() -> None:
    """Land every listing of the job in one run of one pipeline."""
    job = Job.of_command_line()
    out_dir = Path(job.out_dir)
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(out_dir))
    form = job.options["form"]
    is_database = form in {"typed", "merge"}
    make = arrow_resource if form == "arrow" else rest_api_resource
    with Meter() as meter:
        destination = (
            dlt.destinations.duckdb(str(out_dir / "landed.duckdb"))
            if is_database
            else dlt.destinations.filesystem(f"file://{out_dir}/landed")
        )
        pipeline = dlt.pipeline(
            "bench", pipelines_dir=str(out_dir / "pipelines"), destination=destination, dataset_name="bench"
        )
        source = [make(job, center_id, name) for center_id in job.centers for name in job.resources]
        for resource in source:
            resource.max_table_nesting = 0
        info = pipeline.run(source, loader_file_format="parquet")
        info.raise_on_failed_jobs()
    meter.report(("dlt", "pyarrow", "duckdb"))


if __name__ == "__main__":
    main()
