"""Times are told as measured, and as they come to at the speed of the machine on which the goals were set."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from bench import listings, ruler
from bench.processes import Measurement
from bench.report import findings_table
from bench.ruler import REFERENCE_FLOOR_S, REFERENCE_ROWS, Ruler, beside_ruler, ruler_of
from bench.scenarios import Finding

QUESTION = Finding("a question", 1.5, "s", 1.0, "first 1,500 ms", waits=0.0)
LISTINGS = Finding("listings", 1.6, "x", 1.3, "8.0 s", waits=1.0)
MEMORY = Finding("memory", 500.0, "MB", 600.0, "one cell")


def floor(seconds: float) -> Measurement:
    return Measurement(seconds, seconds, 0, 0)


def test_the_floor_of_the_reference_is_one() -> None:
    assert ruler_of([floor(REFERENCE_FLOOR_S)], REFERENCE_ROWS).slowness == 1.0


def test_one_slow_floor_of_many_moves_nothing() -> None:
    floors = [floor(seconds) for seconds in (1.0, 1.0, 1.0, 9.0)]
    assert ruler_of(floors, REFERENCE_ROWS) == ruler_of(floors[:1], REFERENCE_ROWS)


def test_what_waits_stays_and_the_rest_shrinks() -> None:
    here = Ruler(4.0)
    assert here.at_reference(QUESTION) == pytest.approx(1.5 / 4)
    assert here.at_reference(LISTINGS) == pytest.approx(1.0 + 0.6 / 4)
    assert here.at_reference(MEMORY) is None, "neither memory nor a ratio changes with speed"


def test_a_machine_that_is_faster_than_the_reference_gains_nothing() -> None:
    assert Ruler(0.5).at_reference(QUESTION) == 3.0


def test_what_was_missed_here_is_told_as_missed() -> None:
    told = shown([QUESTION, MEMORY], Ruler(4.0))

    question, memory = (next(line for line in told if name in line) for name in ("a question", "memory"))
    assert "1.50 s" in question
    assert "missed" in question
    assert "0.38 met" in question
    assert "500.00 MB" in memory
    assert memory.count("met") == 1
    assert "4.0 times as long" in " ".join(told)


def test_without_a_ruler_nothing_is_reckoned() -> None:
    told = "\n".join(shown([QUESTION], None))

    assert "missed" in told
    assert "met" not in told
    assert "its speed" not in told


def test_without_a_goal_there_is_no_verdict() -> None:
    told = "\n".join(shown([Finding("audit", 4.0, "s", math.inf, "", waits=0.0)], Ruler(4.0)))

    assert "1.00" in told
    assert "met" not in told
    assert "missed" not in told


def shown(findings: list[Finding], by: Ruler | None) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(findings_table(findings, by))
    return captured.get().splitlines()


def test_the_floor_is_timed_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "DATA_DIR", tmp_path)
    monkeypatch.setattr(ruler, "ROWS", 100)
    order: list[str] = []
    monkeypatch.setattr(ruler, "measure", lambda *_: (order.append("floor"), floor(1.0))[1])

    found, by = beside_ruler(lambda: (order.append("work"), [QUESTION])[1])

    assert found == [QUESTION]
    assert by == ruler_of([floor(1.0)], 100)
    assert order == ["floor", "floor", "work", "floor", "floor"]
