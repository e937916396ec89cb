"""The benchmark of deliveries: both servers keep what they answer, and a lost one is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import deliveries
from bench.deliveries import NotKept, Server
from bench.delivery_load import Load


def test_floor_and_ours_keep_what_they_answer() -> None:
    (found,) = deliveries.deliveries(1, seconds=0.3, at_once=(2,))
    assert found.value > 0
    assert "floor" in found.detail
    assert "ours" in found.detail


def test_a_delivery_that_was_answered_and_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def forgetful(folder: Path) -> Iterator[Server]:
        with deliveries.floor(folder) as server:
            yield replace(server, kept=lambda: server.kept() - 1)

    monkeypatch.setitem(deliveries.SERVERS, "floor", forgetful)
    with pytest.raises(NotKept):
        deliveries.measure("floor", 1, 0.1)


def test_percentiles() -> None:
    load = Load(2.0, [number / 100 for number in range(1, 101)])
    assert (load.per_s, load.percentile_s(50), load.percentile_s(99)) == (50, 0.5, 0.99)
    assert Load(1.0, [0.25]).percentile_s(99) == 0.25
