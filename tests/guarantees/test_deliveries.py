"""Receiver and landing killed again and again while the vendor sends: nothing is lost, nothing is doubled.

Longer and faster: DISPATCHLAKE_RECEIVER_SECONDS=600 DISPATCHLAKE_DELIVERIES_PER_S=500.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatchlake.landing import land_deliveries
from dispatchlake.settings import Settings
from tests.guarantees.ledger import Ledger
from tests.guarantees.receiving import Landing, Receiving, Sender, kill_again_and_again, lost_and_doubled
from tests.sandbox_process import SandboxProcess
from tests.truth.pushed import archived, lost_and_invented

SECONDS = float(os.environ.get("DISPATCHLAKE_RECEIVER_SECONDS", "15"))
PER_S = float(os.environ.get("DISPATCHLAKE_DELIVERIES_PER_S", "100"))
KILL_EVERY_S = min(20.0, SECONDS / 3)
PER_INCIDENT = 10
"""Deliveries an incident comes to, at least, on average."""


@pytest.mark.fault("receiver and landing killed while the vendor sends")
def test_killed_while_the_vendor_retries(tmp_path: Path, ledger: Ledger) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    incidents = int(SECONDS * PER_S / PER_INCIDENT) + 1
    start = "2024-03-01T00:00:00Z"
    made_up = {"count": incidents, "starts_at": start, "span_s": 86_400, "seed": 5}
    config = {"dataset": {"synthetic": made_up}, "epoch": "2024-03-08T00:00:00Z"}
    with (
        SandboxProcess({"centers": {"c": config}}) as sandbox,
        Receiving(settings.data_dir) as receiving,
        Landing(settings.data_dir) as landing,
    ):
        sender = Sender(sandbox, receiving, "c")
        sender.aim(bearer=receiving.webhooks("issue", "c"))
        receiving.start()
        landing.start()
        receiving.wait_until_ready()
        planned = sender.begin(rate_per_s=PER_S, connections=16, duplicated=0.05, same_second=0.2)
        assert planned >= SECONDS * PER_S, "there is something to send until the end"
        for _ in range(kill_again_and_again([receiving, landing], seconds=SECONDS, every_s=KILL_EVERY_S)):
            ledger.tried()
        standing = sender.wait(limit_s=120 + SECONDS)
        assert standing["acknowledged"] == planned
        assert standing["answers"].get("not sent", 0), "kills were noticed"
        landing.kill()
        land_deliveries(settings)
        told, stored = sender.bodies(), archived(settings.lake_dir, "c")
        print(standing, f"{stored.total()} archived")  # noqa: T201 - shown with -s
        assert not receiving.kept("c")
        ledger.count(*lost_and_doubled(stored, told))
        ledger.count(*lost_and_invented(settings.lake_dir, "c", sender.pushed()))
