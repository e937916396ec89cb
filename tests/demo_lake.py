"""The lake that `make demo` makes, without Prefect: three dispatch centers with the sample's real records.

Made as two demos make it, six hours apart: first what each center has, then only what changed since.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import SecretStr

from dispatchlake.cli.demo import STEP_HOURS
from dispatchlake.cli.local_sandbox import CENTERS
from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import open_lake
from dispatchlake.lake.centers import CenterFacts
from dispatchlake.lake.publishing import publish
from dispatchlake.model import Credentials, DispatchCenter, ResourceOverride, Scope
from dispatchlake.settings import Settings
from tests.sandbox_process import SandboxProcess


def make_demo_lake(data_dir: Path, *, steps: int = 2) -> Settings:
    """Land the sample below a folder, in so many runs, and return the settings that find it there."""
    settings = Settings(data_dir=data_dir)
    with SandboxProcess() as sandbox:
        centers = [_put(sandbox, center_id) for center_id in CENTERS]
        with open_lake(settings) as lake:
            lake.remember_centers(CenterFacts(one.center_id, one.name, one.time_zone) for one in centers)
        for step in range(steps):
            sandbox.call("POST", "clock", {"elapsed_s": step * STEP_HOURS * 3600})
            for center in centers:
                for scope in Scope:
                    ingest_cell(center, str(scope), settings=settings, run_id=f"demo-{step}")
    publish(settings)
    return settings


def _put(sandbox: SandboxProcess, center_id: str) -> DispatchCenter:
    name, time_zone, epoch = CENTERS[center_id]
    credentials = {
        scope: Credentials(
            client_id=f"{center_id}-{scope}", client_secret=SecretStr(secrets.token_urlsafe(24))
        )
        for scope in Scope
    }
    sandbox.put_center(
        center_id,
        {
            "dataset": center_id,
            "epoch": epoch,
            "paging": "link",
            "credentials": {
                str(scope): {"client_id": c.client_id, "client_secret": c.client_secret.get_secret_value()}
                for scope, c in credentials.items()
            },
        },
    )
    return DispatchCenter(
        center_id=center_id,
        name=name,
        time_zone=time_zone,
        base_url=sandbox.url,
        credentials=credentials,
        max_requests_per_s=500,
        resources={
            str(scope): ResourceOverride(since_param="updated_since", until_param="updated_before")
            for scope in Scope
        },
    )
