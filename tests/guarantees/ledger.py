"""What the guarantees were put through: each fault, how often it was tried, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.guarantees.content import Content

PROPERTY = "guarantee"


class Ledger:
    """Counts of one test, shown in the table of `make guarantees`."""

    def __init__(self, fault: str, record: Callable[[str, object], None]) -> None:
        self._fault = fault
        self._record = record

    def tried(self) -> None:
        """Note that the fault has happened."""
        self._record(PROPERTY, [self._fault, 1, 0, 0])

    def compare(self, found: Content, expected: Content) -> None:
        """Note what was lost and doubled; fail if anything was."""
        lost = sum(len(e - f) for e, f in zip(expected.records, found.records, strict=True))
        doubled = found.repeated + sum(
            len(f - e) for e, f in zip(expected.records, found.records, strict=True)
        )
        self.count(lost, doubled)

    def count(self, lost: int, doubled: int) -> None:
        """Note what was lost and doubled; fail if anything was."""
        self._record(PROPERTY, [self._fault, 0, lost, doubled])
        assert (lost, doubled) == (0, 0), f"{lost} rows are lost, {doubled} doubled or invented"


@dataclass(slots=True)
class Line:
    """One fault of the table."""

    tried: int = 0
    lost: int = 0
    doubled: int = 0
    failed: int = 0


def lines(reports: Iterable[pytest.TestReport]) -> dict[str, Line]:
    """Add up the reports' trials by fault; a test without a ledger is one trial of its own name."""
    table: dict[str, Line] = {}
    for report in reports:
        noted: list[Any] = [value for name, value in report.user_properties if name == PROPERTY]
        name = report.nodeid.partition("[")[0].rpartition("::")[2].removeprefix("test_").replace("_", " ")
        for fault, tried, lost, doubled in noted or [[name, 1, 0, 0]]:
            line = table.setdefault(fault, Line())
            line.tried += tried
            line.lost += lost
            line.doubled += doubled
        line = table[noted[0][0] if noted else name]
        line.failed += report.failed
    return table
