"""Fixtures of the guarantees, and the table that `make guarantees` ends with."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.guarantees.bound import UNTIL_S, spread, time_is_up
from tests.guarantees.ledger import FAULT, Ledger, fault_of, lines


@pytest.fixture
def ledger(record_property: Callable[[str, object], None]) -> Ledger:
    """Where a test notes its trials, under what it says that it tries."""
    return Ledger(record_property)


@pytest.hookimpl(trylast=True)  # what shuffles tests has done so
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test say what it tries; where time is short, let none be tried twice before all are once."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        item.user_properties.append((FAULT, fault_of(item)))
    if not math.isinf(UNTIL_S):
        others = [item for item in items if item not in ours]
        items[:] = [*others, *spread(ours)]


def pytest_runtest_setup() -> None:
    """Begin nothing that could not end in time."""
    if time_is_up():
        pytest.skip("no time is left to try it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, and what it cost."""
    stats = terminalreporter.stats
    ended = [r for outcome in ("passed", "failed") for r in stats.get(outcome, []) if r.when == "call"]
    reports = [
        report
        for report in [*ended, *stats.get("skipped", [])]
        if report.nodeid.startswith("tests/guarantees/")
    ]
    table = Table(title="Guarantees", title_justify="left")
    for name in ("fault", "times tried", "left out", "lost", "doubled", "verdict"):
        table.add_column(name)
    for name, line in sorted(lines(reports).items()):
        verdict = "[green]held[/]" if line.tried else "not tried"
        if line.failed:
            verdict = f"[red]{line.failed} FAILED[/]"
        left_out = f"{line.left_out:,}" if line.left_out else ""
        table.add_row(name, f"{line.tried:,}", left_out, f"{line.lost:,}", f"{line.doubled:,}", verdict)
    if any(report.skipped for report in reports):
        table.caption = "left out: tests for which no time was left, or that this machine cannot run; "
        table.caption += "all of them: make guarantees MINUTES=60"
    Console().print("", table)
