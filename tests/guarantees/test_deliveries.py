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

SECONDS = float(os.environ.get("DISPATCHLAKE_RECEIVER_SECONDS", "6"))
PER_S = float(os.environ.get("DISPATCHLAKE_DELIVERIES_PER_S", "100"))
KILL_EVERY_S = min(20.0, SECONDS / 2)
CENTERS = 3
PER_INCIDENT = 12
"""Deliveries an incident comes to, at least, on average."""


@pytest.mark.fault("receiver and landing killed while the vendor sends")
def test_killed_while_the_vendor_retries(tmp_path: Path, ledger: Ledger) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    incidents = int(SECONDS * PER_S / CENTERS / PER_INCIDENT) + 1
    made_up = {"count": incidents, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}
    with (
        SandboxProcess() as sandbox,
        Receiving(settings.data_dir) as receiving,
        Landing(settings.data_dir) as landing,
    ):
        receiving.start()
        landing.start()
        receiving.wait_until_ready()
        senders = [Sender(sandbox, receiving, f"center-{number}") for number in range(CENTERS)]
        for sender in senders:
            config = {"dataset": {"synthetic": made_up}, "epoch": "2024-03-08T00:00:00Z"}
            sandbox.put_center(sender.center_id, config)
            sender.aim(bearer=receiving.webhooks("issue", sender.center_id, "--new"))
        for sender in senders:
            planned = sender.begin(rate_per_s=PER_S / CENTERS, duplicated=0.05, same_second=0.2)
            assert planned >= SECONDS * PER_S / CENTERS, "there is something to send until the end"
        for _ in range(kill_again_and_again([receiving, landing], seconds=SECONDS, every_s=KILL_EVERY_S)):
            ledger.tried()
        standings = [sender.wait(limit_s=120 + 2 * SECONDS) for sender in senders]
        landing.kill()
        land_deliveries(settings)
        for sender, standing in zip(senders, standings, strict=True):
            assert standing["acknowledged"] == standing["planned"]
            assert standing["answers"].get("not sent", 0), "kills were noticed"
            assert not receiving.kept(sender.center_id)
            stored = archived(settings.lake_dir, sender.center_id)
            print(standing, f"{stored.total()} archived")  # noqa: T201 - shown with -s
            ledger.count(*lost_and_doubled(stored, sender.bodies()))
            ledger.count(*lost_and_invented(settings.lake_dir, sender.center_id, sender.pushed()))
