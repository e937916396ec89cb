"""The work pool that deployments are run by, and whether a worker serves it."""

from __future__ import annotations

from datetime import datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

NAME = "dispatchlake"
"""Name of the work pool in `prefect.yaml`."""


def ensure_work_pool() -> None:
    """Create the work pool, for processes, if there is none of its name; one that is there stays as it is."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(NAME)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(
                    name=NAME,
                    type=ProcessWorker.type,
                    description="Runs the deployments of dispatchlake, each run as a process of its worker.",
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                )
            )


def is_served_by(worker: str, *, since: datetime) -> bool:
    """Say whether this worker has said since then that it serves the work pool."""
    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    with get_client(sync_client=True) as client:
        return any(
            one.name == worker and one.last_heartbeat_time is not None and one.last_heartbeat_time >= since
            for one in client.read_workers_for_work_pool(NAME, worker_filter=online)
        )
