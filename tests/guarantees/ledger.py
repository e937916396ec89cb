"""What the guarantees were put through: each fault, how often it was tried, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.guarantees.content import Content

FAULT = "fault"
"""The property by which a report says what its test tries."""
TRIED = "tried"
"""The property by which a report says that it was tried once more."""
COMPARED = "compared"
"""The property by which a report says how many rows a comparison with the truth found lost and doubled."""


class Ledger:
    """Counts of one test, shown in the table of `make guarantees`."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def tried(self) -> None:
        """Note that the fault has happened."""
        self._record(TRIED, 1)

    def compare(self, found: Content, expected: Content) -> None:
        """Note what was lost and doubled; fail if anything was."""
        lost = sum(len(e - f) for e, f in zip(expected.records, found.records, strict=True))
        doubled = found.repeated + sum(
            len(f - e) for e, f in zip(expected.records, found.records, strict=True)
        )
        self.count(lost, doubled)

    def compare_rows(self, found: Iterable[object], expected: Iterable[object]) -> None:
        """Note which rows were lost and which doubled, each as often as it is; fail if any was."""
        ours, theirs = Counter(map(repr, found)), Counter(map(repr, expected))
        self.count((theirs - ours).total(), (ours - theirs).total())

    def count(self, lost: int, doubled: int) -> None:
        """Note what was lost and doubled; fail if anything was."""
        self._record(COMPARED, [lost, doubled])
        assert (lost, doubled) == (0, 0), f"{lost} rows are lost, {doubled} doubled or invented"


@dataclass(slots=True)
class Line:
    """One fault of the table: trials, what they cost, and tests that failed or were left out.

    Attributes:
        lost: Rows, over all comparisons with the truth; None where nothing was compared by counting.
        doubled: The same.
    """

    tried: int = 0
    lost: int | None = None
    doubled: int | None = None
    failed: int = 0
    left_out: int = 0

    def add(self, lost: int, doubled: int) -> None:
        """Add what one comparison found."""
        self.lost, self.doubled = (self.lost or 0) + lost, (self.doubled or 0) + doubled


def fault_of(item: pytest.Item) -> str:
    """Return what a test tries: as its mark `fault` says, or else its name."""
    mark = item.get_closest_marker("fault")
    return mark.args[0] if mark else _name(item).removeprefix("test_").replace("_", " ")


def _name(item: pytest.Item) -> str:
    return getattr(item, "originalname", item.name)


def lines(reports: Iterable[pytest.TestReport]) -> dict[str, Line]:
    """Add up the reports' trials by fault; a test without a ledger is one, of which nothing is counted."""
    table: dict[str, Line] = {}
    for report in reports:
        # Of a process that died nobody has said what it tried.
        fault = dict(report.user_properties).get(FAULT, report.nodeid.rpartition("::")[2])
        line = table.setdefault(str(fault), Line())
        if report.skipped:
            line.left_out += 1
            continue
        line.failed += report.failed
        if report.when != "call":  # it could not be set up, or cleared away: what it tried, its call has told
            continue
        told: list[tuple[str, Any]] = report.user_properties
        line.tried += len([name for name, _ in told if name == TRIED]) or 1
        for name, value in told:
            if name == COMPARED:
                line.add(*value)
    return table
