from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api import rate as rate_module
from dispatchlake.api.rate import LONGEST_PAUSE_S, RateBudget
from dispatchlake.errors import ConfigError, RateLimited


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 10_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_module, "monotonic_s", lambda: clock.now_s)
    return clock


def budget(folder: Path, clock: Clock | None = None, **changes: Any) -> RateBudget:
    fields = {"requests_per_s": 10.0, "patience_s": 60.0} | changes
    if clock is not None:
        fields["sleep"] = clock.sleep
    return RateBudget(folder, "center-a", **fields)


def test_a_second_of_requests_goes_at_once_and_the_rest_at_the_rate(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock)

    for _ in range(30):
        rate.take()

    assert clock.now_s == pytest.approx(10_002.0, abs=0.2)
    assert sum(1 for slept_s in clock.slept if slept_s > 0.01) == 20


@pytest.mark.parametrize("requests_per_s", [0.001, 0.1, 1, 3, 1000])
def test_the_first_request_never_waits(tmp_path: Path, clock: Clock, requests_per_s: float) -> None:
    budget(tmp_path, clock, requests_per_s=requests_per_s).take()

    assert clock.slept == []


def test_a_rate_below_one_a_second_is_kept(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock, requests_per_s=0.1)

    for _ in range(4):
        rate.take()

    assert clock.slept == pytest.approx([10, 10, 10])


def test_a_rate_of_less_than_one_an_hour_is_kept(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock, requests_per_s=1 / 7200)
    rate.take()

    with pytest.raises(RateLimited, match="no request may be sent for 7200 s"):
        rate.take()


@given(requests_per_s=st.floats(0.05, 200), count=st.integers(1, 60))
def test_no_window_holds_more_than_the_rate_and_a_burst_of_one_second(
    tmp_path_factory: pytest.TempPathFactory, requests_per_s: float, count: int
) -> None:
    clock, sent = Clock(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_module, "monotonic_s", lambda: clock.now_s)
        rate = budget(tmp_path_factory.mktemp("rates"), clock, requests_per_s=requests_per_s, patience_s=1e9)
        for _ in range(count):
            rate.take()
            sent.append(clock.now_s)

    for number, at_s in enumerate(sent):
        for later, later_s in enumerate(sent[number:], 1):
            assert later <= requests_per_s * (later_s - at_s) + max(1.0, requests_per_s) + 1e-3


def test_nothing_begins_before_a_pause_is_over(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock)
    rate.take()
    rate.pause(30)

    rate.take()

    assert clock.now_s >= 10_030


def test_a_pause_is_kept_by_every_other_budget_of_the_center(tmp_path: Path, clock: Clock) -> None:
    budget(tmp_path).pause(30)

    budget(tmp_path, clock).take()

    assert clock.now_s >= 10_030


def test_a_shorter_pause_does_not_end_a_longer_one(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock)
    rate.pause(30)
    rate.pause(1)

    rate.take()

    assert clock.now_s >= 10_030


def test_who_already_waits_for_a_slot_waits_for_a_pause_too(tmp_path: Path, clock: Clock) -> None:
    other = budget(tmp_path, requests_per_s=1)
    other.take()

    def sleep(seconds: float) -> None:
        if not clock.slept:
            other.pause(30)  # meanwhile, another process is asked to wait
        clock.sleep(seconds)

    RateBudget(tmp_path, "center-a", requests_per_s=1, patience_s=60, sleep=sleep).take()

    assert clock.now_s >= 10_030


def test_a_pause_beyond_patience_is_an_error_at_once_and_says_how_long(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock, patience_s=60)
    rate.pause(600)

    with pytest.raises(RateLimited, match="center-a: no request may be sent for 600 s") as caught:
        rate.take()

    assert caught.value.retry_after_s == 600
    assert clock.slept == []


def test_a_refused_slot_is_not_taken(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock, patience_s=60)
    rate.pause(61)
    for _ in range(100):
        with pytest.raises(RateLimited):
            rate.take()
    clock.now_s += 61

    rate.take()

    assert clock.slept == []


def test_an_insane_pause_is_cut_to_an_hour(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock, patience_s=LONGEST_PAUSE_S)
    rate.pause(1e12)

    rate.take()

    assert clock.now_s == pytest.approx(10_000 + LONGEST_PAUSE_S)


def test_other_centers_are_not_paused(tmp_path: Path, clock: Clock) -> None:
    budget(tmp_path, clock).pause(600)

    RateBudget(tmp_path, "center-b", requests_per_s=10, patience_s=60, sleep=clock.sleep).take()

    assert clock.slept == []


def test_a_file_of_another_boot_is_ignored(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget(tmp_path, clock).pause(600)
    monkeypatch.setattr(rate_module, "boot_id", lambda: "another boot")

    budget(tmp_path, clock).take()

    assert clock.slept == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"boot_id": "BOOT"}',
        b'{"boot_id": "BOOT", "slot_s": null, "paused_until_s": null}',
        b'{"boot_id": "BOOT", "slot_s": NaN, "paused_until_s": 0}',
        b'{"boot_id": "BOOT", "slot_s": 0, "paused_until_s": NaN}',
        b'{"boot_id": "BOOT", "slot_s": Infinity, "paused_until_s": Infinity}',
        b'{"boot_id": "BOOT", "slot_s": 1e15, "paused_until_s": 0}',
        b'{"boot_id": "BOOT", "slot_s": -1e300, "paused_until_s": 0}',
    ],
)
def test_a_spoiled_file_blocks_nobody_and_is_written_anew(
    tmp_path: Path, clock: Clock, content: bytes
) -> None:
    rate = budget(tmp_path, clock)
    path = tmp_path / "center-a.rate"
    path.write_bytes(content.replace(b"BOOT", rate_module.boot_id().encode()))

    rate.take()

    assert clock.slept == []
    assert json.loads(path.read_text())["slot_s"] == pytest.approx(9_999.2, abs=0.3)


def test_a_file_cut_off_by_a_crash_blocks_nobody(tmp_path: Path, clock: Clock) -> None:
    rate = budget(tmp_path, clock)
    rate.take()
    path = tmp_path / "center-a.rate"
    whole = path.read_bytes()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        rate.take()

    assert clock.slept == []


def test_the_folder_is_the_owners_alone(tmp_path: Path) -> None:
    budget(tmp_path / "rates").take()

    assert stat.S_IMODE((tmp_path / "rates").stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    rate = budget(tmp_path)
    (tmp_path / "center-a.rate").mkdir()

    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        rate.take()


def test_threads_and_processes_keep_one_rate_together(tmp_path: Path) -> None:
    """Sixty requests at 50 a second: the first second's worth at once, the last ten take 0.2 s at least."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dispatchlake.api.rate import RateBudget
rate = RateBudget(Path(sys.argv[1]), "center-a", requests_per_s=50, patience_s=60)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(5) as pool:
    list(pool.map(lambda _: rate.take(), range(20)))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    began_s = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"begin\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0

    assert time.monotonic() - began_s > 0.15
    slot_s = json.loads((tmp_path / "center-a.rate").read_text())["slot_s"]
    # Every one of them has moved the next free slot on by its share.
    assert slot_s >= rate_module.monotonic_s() - (time.monotonic() - began_s) - 1 + 60 / 50 - 0.1


def test_many_threads_take_as_many_slots(tmp_path: Path) -> None:
    rate = budget(tmp_path, requests_per_s=1000)
    before_s = rate_module.monotonic_s()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: rate.take(), range(320)))

    slot_s = json.loads((tmp_path / "center-a.rate").read_text())["slot_s"]
    assert slot_s >= before_s - 1 + 320 / 1000
