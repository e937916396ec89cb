"""The grid: every cell in its place, by colour and by number."""

from __future__ import annotations

from datetime import date, timedelta

from dispatchlake.backfill import Slice
from dispatchlake.backfill.grid import FAILED, READ, UNDER_WAY, Grid, days_of
from dispatchlake.windows import Window
from tests.backfill.asking import FIRST, covered, midnight, plan, reading, source


def lines(grid: Grid) -> list[str]:
    return grid.to_markdown("How it goes").splitlines()


def test_each_day_stands_in_its_month_and_its_block() -> None:
    found = plan(first_day=date(2024, 2, 27), last_day=date(2024, 3, 12))
    grid = Grid(found)

    assert lines(grid)[-2:] == [
        "| center-a | cad_incidents | 2024-02 |  |  | ◾◾◾◾◾ ◾⬜⬜⬜ 0/3 |",
        "| center-a | cad_incidents | 2024-03 | ⬜⬜⬜⬜⬜ ⬜⬜⬜⬜⬜ 0/10 | ⬜⬜ 0/2 |  |",
    ]


def test_colours_and_numbers_follow_what_becomes_of_the_cells() -> None:
    grid = Grid(plan(covered(0, 1), covered(4, 5, "failed"), mode="missing"))
    grid.mark(reading(1), READ, records=1200)
    grid.mark(reading(2), FAILED)
    grid.mark(reading(3), UNDER_WAY)

    text = lines(grid)
    assert text[0] == "**How it goes**"
    assert "| center-a | cad_incidents | 5 | 1 | 1 | 1 | 1 | 40 % | 1,200 |" in text
    assert "| center-a | cad_incidents | 2024-03 | 🟦🟩🟥🟨🟫 2/5 |  |  |" in text
    assert grid.headline() == ("1 of 3 cells read, 1 failed, 1 left, 1 were complete before; 1,200 records")
    assert any("🟫 failed before, not asked for" in line for line in text)


def test_longer_slices_are_rows_of_thirty() -> None:
    found = plan(last_day=FIRST, slice_days=7, first_day=FIRST - timedelta(days=500))
    rows = [line for line in lines(Grid(found)) if "⬜⬜" in line]

    assert len(rows) == -(-len(found.cells) // 30)
    assert rows[0].startswith(f"| center-a | cad_incidents | {FIRST - timedelta(days=500)} to ")
    assert sum(row.count("⬜") for row in rows) == len(found.cells)


def test_a_very_large_grid_has_a_square_a_block() -> None:
    sources = [source(f"center-{number}") for number in range(50)]
    grid = Grid(plan(sources=sources, days=90, confirm_cells=4500))
    grid.mark(reading(0, "center-0"), FAILED)

    assert "| center-0 | cad_incidents | 2024-03 | 🟥 0/10 | ⬜ 0/10 | ⬜ 0/11 |" in lines(grid)


def test_nothing_to_read_says_so() -> None:
    assert Grid(plan(covered(0, 5))).headline() == "Nothing to read: 5 cells are complete"


def test_all_and_nothing_are_said_only_where_they_are_true() -> None:
    sources = [source()]
    grid = Grid(plan(sources=sources, days=400, first_day=date(2023, 3, 1), last_day=date(2024, 4, 3)))
    grid.mark(reading(0), READ)
    assert "| 1 % |" in lines(grid)[4]


def test_days_that_follow_one_another_are_one_span() -> None:
    slices = [
        Slice(FIRST + timedelta(days=n), FIRST + timedelta(days=n), Window(midnight(n), midnight(n + 1)))
        for n in (3, 0, 1, 6)
    ]

    assert days_of(slices) == "2024-03-01 to 2024-03-02, 2024-03-04, 2024-03-07"
