from __future__ import annotations

from collections.abc import Iterator

import pytest

from dispatchlake.settings import Settings
from dispatchlake.spool import Spool
from dispatchlake.webhooks.sources import Failures
from tests.webhooks.receiving import Receiving


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with Receiving(settings=Settings(data_dir=tmp_path_factory.mktemp("receiver"))) as running:
        yield running


@pytest.fixture
def receiving(_running: Receiving, caplog: pytest.LogCaptureFixture) -> Receiving:
    """A receiver with one center that has one bearer token; nothing waits, and nobody has failed."""
    caplog.set_level("INFO")
    return begun_anew(_running)


def begun_anew(running: Receiving) -> Receiving:
    """Return a receiver that several tests share as the first of them found it."""
    with Spool.open(running.settings.spool_dir) as spool:
        for center_id in spool.centers():
            waiting = spool.waiting(center_id, max_count=1_000_000, max_bytes=1 << 40)
            spool.forget([delivery.raw_id for delivery in waiting])
    running.receiver._failures = Failures()
    return running
