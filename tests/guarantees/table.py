"""The table that a test run ends with where guarantees were among its tests, as in `make guarantees`."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from tests.guarantees.ledger import Line, lines

_ENDED = ("passed", "failed", "error", "skipped")

NOT_COUNTED = "\N{EN DASH}"
"""Stands where nobody counted: what such a test compares, if it does, it compares in another way."""


def print_table(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, and what it cost; nothing where nothing was."""
    reports = [
        report
        for outcome in _ENDED
        for report in terminalreporter.stats.get(outcome, [])
        if isinstance(report, pytest.TestReport) and report.nodeid.startswith("tests/guarantees/")
    ]
    if not reports:
        return
    table = Table(title="Guarantees", title_justify="left")
    for name in ("fault", "times tried", "left out", "lost", "doubled", "verdict"):
        table.add_column(name)
    found = sorted(lines(reports).items())
    for fault, line in found:
        left_out = f"{line.left_out:,}" if line.left_out else ""
        cost = (_shown(line.lost), _shown(line.doubled))
        table.add_row(fault, f"{line.tried:,}", left_out, *cost, _verdict(line))
    table.caption = _caption([line for _, line in found])
    Console().print("", table)


def _shown(count: int | None) -> str:
    return NOT_COUNTED if count is None else f"{count:,}"


def _verdict(line: Line) -> str:
    if line.failed:
        return f"[red]{line.failed} FAILED[/]"
    return "[green]held[/]" if line.tried else "not tried"


def _caption(found: list[Line]) -> str:
    notes = []
    if any(line.tried and line.lost is None for line in found):
        notes.append(f"{NOT_COUNTED}: the test fails if the promise is broken, and counts no rows")
    if any(line.left_out for line in found):
        notes.append(
            "left out: tests for which no time was left, or that this machine cannot run; "
            "all of them: make guarantees MINUTES=60"
        )
    return "\n".join(notes)
