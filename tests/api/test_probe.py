"""What a listing calls its first page, found out while it changes; `tests/cli/test_check.py` has the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest

from dispatchlake.api import CenterClient, Fetched, probe
from dispatchlake.model import Paging, Resource
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

LISTING = "incident_events"


@pytest.mark.parametrize(("first_page", "configured"), [(0, 1), (1, 0)])
def test_a_record_that_comes_to_the_front_meanwhile_is_on_no_other_page(
    sandbox: SandboxProcess, state_dir: Path, first_page: int, configured: Literal[0, 1]
) -> None:
    """Newest first, a new record before each request: page 1 brings one that the first request did not."""
    start = datetime.now(UTC).replace(microsecond=0)
    stamps = [f"{start + timedelta(minutes=number):%FT%TZ}" for number in range(20)]
    versions = [
        {"visible_at": at, "record": {"id": f"r{number}", "created_at": at, "updated_at": at}}
        for number, at in enumerate(stamps)
    ]
    center = put_center(
        sandbox,
        sandbox_side={
            "paging": "page_unnamed",
            "first_page": first_page,
            "dataset": {"records": {LISTING: versions}},
            "epoch": stamps[9],
        },
        override={"paging": Paging(style="page", first_page=configured)},
    )

    class WhileItGrows(CenterClient):
        def fetch(self, resource: Resource, url: httpx.URL) -> Fetched:
            sandbox.advance_clock(60)
            return super().fetch(resource, url)

    with WhileItGrows(center, state_dir=state_dir) as client:
        resource = center.resource(LISTING)
        first = probe.fetch_first(client, resource)

        assert probe.probe_first_page(client, resource, first) == first_page
