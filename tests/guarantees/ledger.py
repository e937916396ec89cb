"""What the guarantees were put through: each fault, how often it was tried, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.guarantees.content import Content

FAULT = "fault"
"""The property by which a report says what its test tries."""
COUNTS = "counts"
"""The property by which a report says how often it was tried, and how many rows were lost and doubled."""


class Ledger:
    """Counts of one test, shown in the table of `make guarantees`."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def tried(self) -> None:
        """Note that the fault has happened."""
        self._record(COUNTS, [1, 0, 0])

    def compare(self, found: Content, expected: Content) -> None:
        """Note what was lost and doubled; fail if anything was."""
        lost = sum(len(e - f) for e, f in zip(expected.records, found.records, strict=True))
        doubled = found.repeated + sum(
            len(f - e) for e, f in zip(expected.records, found.records, strict=True)
        )
        self.count(lost, doubled)

    def count(self, lost: int, doubled: int) -> None:
        """Note what was lost and doubled; fail if anything was."""
        self._record(COUNTS, [0, lost, doubled])
        assert (lost, doubled) == (0, 0), f"{lost} rows are lost, {doubled} doubled or invented"


@dataclass(slots=True)
class Line:
    """One fault of the table: trials, what they cost, and tests that failed or were left out."""

    tried: int = 0
    lost: int = 0
    doubled: int = 0
    failed: int = 0
    left_out: int = 0


def fault_of(item: pytest.Item) -> str:
    """Return what a test tries: as its mark `fault` says, or else its name."""
    mark = item.get_closest_marker("fault")
    return mark.args[0] if mark else _name(item).removeprefix("test_").replace("_", " ")


def _name(item: pytest.Item) -> str:
    return getattr(item, "originalname", item.name)


def lines(reports: Iterable[pytest.TestReport]) -> dict[str, Line]:
    """Add up the reports' trials by fault; a test without a ledger is one trial."""
    table: dict[str, Line] = {}
    for report in reports:
        told = dict(report.user_properties)
        line = table.setdefault(str(told[FAULT]), Line())
        if report.skipped:
            line.left_out += 1
            continue
        noted: list[Any] = [value for name, value in report.user_properties if name == COUNTS]
        for tried, lost, doubled in noted or [[1, 0, 0]]:
            line.tried += tried
            line.lost += lost
            line.doubled += doubled
        line.failed += report.failed
    return table
