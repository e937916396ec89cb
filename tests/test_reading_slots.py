"""So many listings are read at once; what waits for its commit lets others be read, unless it is large."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from dispatchlake import reading_slots
from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import CenterFacts, Lake
from dispatchlake.model import DispatchCenter, Page
from dispatchlake.reading_slots import CELLS_AT_ONCE, LIGHT_BYTES, READINGS_AT_ONCE, reading_slot
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.lake.pages import page
from tests.sandbox_process import SandboxProcess
from tests.waiting import wait_until

LIGHT = page(body=b"[]")
HEAVY = page(body=b"[]" + b" " * LIGHT_BYTES)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> threading.BoundedSemaphore:
    """Return the only slot of this test."""
    free = threading.BoundedSemaphore(1)
    monkeypatch.setattr(reading_slots, "_FREE", free)
    return free


def is_free(free: threading.BoundedSemaphore) -> bool:
    if free.acquire(blocking=False):
        free.release()
        return True
    return False


@pytest.mark.parametrize(("pages", "lets_others_read"), [([LIGHT, LIGHT], True), ([LIGHT, HEAVY], False)])
def test_others_are_read_once_all_pages_are_there_if_they_are_few(
    free: threading.BoundedSemaphore, pages: list[Page], lets_others_read: bool
) -> None:
    with reading_slot() as slot:
        for _ in slot.until_read(pages):
            assert not is_free(free)
        assert is_free(free) == lets_others_read
    assert is_free(free)


def test_a_reading_that_fails_gives_its_slot_back(free: threading.BoundedSemaphore) -> None:
    def broken() -> Iterator[Page]:
        yield LIGHT
        raise ConnectionError

    with pytest.raises(ConnectionError), reading_slot() as slot:
        list(slot.until_read(broken()))

    assert is_free(free)


def ingest_behind_the_lock(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter], readings: int
) -> int:
    """Ingest centers at once while another writer holds the lake; return how many are read by then."""

    def count_read() -> int:
        return sum("cad_incidents" in sandbox.counts(one.center_id)["requests"] for one in centers)

    def ingest(center: DispatchCenter) -> int:
        return ingest_cell(center, "cad_incidents", settings=settings, run_id="run").new

    with ThreadPoolExecutor(len(centers)) as pool:
        with FileLock(settings.lake_dir / "commit.lock"):
            landed = [pool.submit(ingest, center) for center in centers]
            wait_until(lambda: count_read() >= readings, lambda: f"{count_read()} of {readings}")
            # Whoever was still to come would take the slots that are free by now.
            time.sleep(0.5)
            found = count_read()
            assert not any(one.done() for one in landed)
        assert [one.result() for one in landed] == [200] * len(centers)
    return found


@pytest.mark.parametrize(("light_bytes", "readings"), [(LIGHT_BYTES, CELLS_AT_ONCE), (0, READINGS_AT_ONCE)])
def test_cells_that_wait_for_the_lake_keep_no_others_from_being_read(
    sandbox: SandboxProcess,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    light_bytes: int,
    readings: int,
) -> None:
    monkeypatch.setattr(reading_slots, "LIGHT_BYTES", light_bytes)
    records = {
        "dataset": {"synthetic": {"count": 200, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}}
    }
    centers = [put_center(sandbox, sandbox_side=records) for _ in range(CELLS_AT_ONCE)]
    with Lake.open(settings.lake_dir) as lake:
        lake.remember_centers(CenterFacts(one.center_id, one.name, one.time_zone) for one in centers)

        assert ingest_behind_the_lock(sandbox, settings, centers, readings) == readings
