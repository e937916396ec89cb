"""The table of `make guarantees` says what was counted, and nothing where nobody counted."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from tests.guarantees.ledger import FAULT, Ledger, Line, lines
from tests.guarantees.table import NOT_COUNTED, print_table


def report(
    *notes: tuple[str, object],
    outcome: Literal["passed", "failed", "skipped"] = "passed",
    when: Literal["setup", "call", "teardown"] = "call",
    fault: str = "a fault",
) -> pytest.TestReport:
    """Return what pytest says of one test, with what its ledger noted."""
    properties: list[tuple[str, object]] = [(FAULT, fault), *notes]
    where = ("tests/guarantees/test_x.py", 1, "test_x")
    return pytest.TestReport(
        where[0] + "::test_x", where, {}, outcome, None, when, user_properties=properties
    )


@pytest.fixture
def notes() -> list[tuple[str, object]]:
    return []


@pytest.fixture
def ledger(notes: list[tuple[str, object]]) -> Ledger:
    return Ledger(lambda name, value: notes.append((name, value)))


def test_where_nobody_counted_nothing_is_said_to_be_lost(
    notes: list[tuple[str, object]], ledger: Ledger
) -> None:
    ledger.tried()

    assert lines([report(*notes), report()]) == {"a fault": Line(tried=2)}


def test_what_was_counted_is_added_up(notes: list[tuple[str, object]], ledger: Ledger) -> None:
    ledger.tried()
    ledger.tried()
    ledger.compare_rows([(1, "a"), (2, ["b"])], [(2, ["b"]), (1, "a")])
    assert lines([report(*notes)]) == {"a fault": Line(tried=2, lost=0, doubled=0)}

    with pytest.raises(AssertionError, match="2 rows are lost, 1 doubled or invented"):
        ledger.compare_rows([(1,), (1,)], [(1,), (2,), (3,)])
    expected = Line(tried=2, lost=2, doubled=1, failed=1)
    assert lines([report(*notes, outcome="failed")]) == {"a fault": expected}


@pytest.mark.parametrize(("when", "tried"), [("setup", 0), ("call", 1), ("teardown", 0)])
def test_a_test_that_fails_anywhere_has_failed_and_is_tried_by_its_call_alone(when: Any, tried: int) -> None:
    assert lines([report(outcome="failed", when=when)]) == {"a fault": Line(tried=tried, failed=1)}


def test_a_test_whose_process_died_has_failed() -> None:
    """As pytest-xdist says it, which knows of it no more than its name."""
    when: Any = "???"
    crashed = pytest.TestReport("tests/guarantees/test_x.py::test_x", ("", None, ""), {}, "failed", "", when)

    assert lines([crashed]) == {"test_x": Line(failed=1)}


class Terminal:
    """What pytest hands to whoever sums up a run."""

    def __init__(self, **stats: list[object]) -> None:
        self.stats = stats


def shown(terminal: Any, capsys: pytest.CaptureFixture[str]) -> str:
    print_table(terminal)
    return capsys.readouterr().out


def test_the_table_tells_counted_from_not_counted_and_failed_from_held(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    notes: list[tuple[str, object]],
    ledger: Ledger,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ledger.count(0, 0)

    table = shown(
        Terminal(
            passed=[report(*notes, fault="counted"), report(fault="not counted")],
            error=[report(outcome="failed", when="setup", fault="not set up")],
            skipped=[report(outcome="skipped", when="setup", fault="not tried")],
        ),
        capsys,
    )

    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines() if "│" in line
    ]
    assert rows == [
        ["counted", "1", "", "0", "0", "held"],
        ["not counted", "1", "", NOT_COUNTED, NOT_COUNTED, "held"],
        ["not set up", "0", "", NOT_COUNTED, NOT_COUNTED, "1 FAILED"],
        ["not tried", "0", "1", NOT_COUNTED, NOT_COUNTED, "not tried"],
    ]
    assert f"{NOT_COUNTED}: the test fails if the promise is broken, and counts no rows" in table
    assert "left out: tests for which no time was left" in table


def test_a_run_without_guarantees_ends_without_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    other = pytest.TestReport("tests/test_words.py::test_x", ("", None, ""), {}, "passed", None, "call")

    assert not shown(Terminal(passed=[other]), capsys)
