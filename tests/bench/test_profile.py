"""The profile says where processor time went: to whoever works, not to whoever waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench import listings, sampling
from bench.profile import profile_table, profiled
from bench.sampling import Sampler

HERE = Path(__file__)


def work(until_s: float) -> None:
    while time.thread_time() < until_s:
        sum(range(1000))


def wait(over: threading.Event) -> None:
    over.wait(60)


def test_who_works_in_any_thread_is_told_and_who_waits_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_OURS", HERE.parent)
    sampling._name.cache_clear()
    over = threading.Event()
    waiter = threading.Thread(target=wait, args=(over,))
    worker = threading.Thread(target=work, args=(0.3,))
    began_s = time.thread_time()
    with Sampler() as sampler:
        waiter.start()
        worker.start()
        work(began_s + 0.3)
        worker.join()
        over.set()
        waiter.join()
    sampling._name.cache_clear()

    spent = sampler.spent
    assert 0.5 < spent.own["test_profile: work"] < 0.7
    assert spent.own.get("test_profile: wait", 0.0) < 0.05
    of_this_test = f"test_profile: {test_who_works_in_any_thread_is_told_and_who_waits_is_not.__qualname__}"
    assert 0.25 < spent.within[of_this_test] < 0.4, "the other thread was not called by it"
    assert spent.own.get(of_this_test, 0.0) < 0.05


def test_most_of_what_ours_takes_is_told_by_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "DATA_DIR", tmp_path)

    found = profiled(2_000)

    own, within = found.more["spent"]["own"], found.more["spent"]["within"]
    assert 0.6 * found.cpu_s < sum(own.values()) < 1.1 * found.cpu_s
    assert within["ingest: ingest_cell"] > 0.2 * found.cpu_s
    console = Console(width=200)
    with console.capture() as captured:
        console.print(profile_table(found))
    (most,) = (name for name, seconds in own.items() if seconds == max(own.values()))
    lines = captured.get().splitlines()
    assert "2,000 records" in lines[0]
    assert any(most in line for line in lines)
    assert "in none of ours" in captured.get()
