"""Fixtures of the guarantees, and the table that `make guarantees` ends with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from tests.guarantees.ledger import Ledger, lines


@pytest.fixture
def ledger(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Ledger:
    """Where a test notes its trials, under the name that its mark `fault` gives."""
    mark = request.node.get_closest_marker("fault")
    return Ledger(mark.args[0], record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, and what it cost."""
    stats = terminalreporter.stats
    ended = [r for outcome in ("passed", "failed") for r in stats.get(outcome, []) if r.when == "call"]
    reports = [report for report in ended if report.nodeid.startswith("tests/guarantees/")]
    table = Table(
        "fault", "times tried", "lost", "doubled", "verdict", title="Guarantees", title_justify="left"
    )
    for name, line in sorted(lines(reports).items()):
        verdict = f"[red]{line.failed} FAILED[/]" if line.failed else "[green]held[/]"
        table.add_row(name, f"{line.tried:,}", f"{line.lost:,}", f"{line.doubled:,}", verdict)
    Console().print("", table)
