"""The receiver killed again and again while the vendor sends: what was acknowledged is kept, and only that.

Longer and faster: DISPATCHLAKE_RECEIVER_SECONDS=600 DISPATCHLAKE_DELIVERIES_PER_S=500.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.guarantees.ledger import Ledger
from tests.guarantees.receiving import Receiving, Sender, kill_again_and_again, lost_and_doubled
from tests.sandbox_process import SandboxProcess

SECONDS = float(os.environ.get("DISPATCHLAKE_RECEIVER_SECONDS", "12"))
PER_S = float(os.environ.get("DISPATCHLAKE_DELIVERIES_PER_S", "100"))
KILL_EVERY_S = min(20.0, SECONDS / 5)
PER_INCIDENT = 10
"""Deliveries an incident comes to, at least, on average."""


@pytest.mark.fault("receiver killed while the vendor sends")
def test_a_receiver_killed_while_the_vendor_retries(tmp_path: Path, ledger: Ledger) -> None:
    incidents = int(SECONDS * PER_S / PER_INCIDENT) + 1
    start = "2024-03-01T00:00:00Z"
    made_up = {"count": incidents, "starts_at": start, "span_s": 86_400, "seed": 5}
    config = {"dataset": {"synthetic": made_up}, "epoch": "2024-03-08T00:00:00Z"}
    with SandboxProcess({"centers": {"c": config}}) as sandbox, Receiving(tmp_path / "data") as receiving:
        sender = Sender(sandbox, receiving, "c")
        sender.aim(bearer=receiving.webhooks("issue", "c"))
        receiving.start()
        receiving.wait_until_ready()
        planned = sender.begin(rate_per_s=PER_S, connections=16, duplicated=0.05)
        assert planned >= SECONDS * PER_S, "there is something to send until the end"
        for _ in range(kill_again_and_again(receiving, seconds=SECONDS, every_s=KILL_EVERY_S)):
            ledger.tried()
        standing = sender.wait(limit_s=120 + SECONDS)
        assert standing["acknowledged"] == planned
        assert standing["answers"].get("not sent", 0), "kills were noticed"
        told = sender.bodies()
        receiving.kill()
        kept = receiving.kept("c")
        ledger.count(*lost_and_doubled(kept, told))
        print(standing, {"kept": kept.total(), "bodies": len(kept)})  # noqa: T201 - shown with -s
        assert {*kept} == {*told}
