"""The grid of a backfill as a person reads it: by colour and by number, while it is filled and afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from dispatchlake.backfill.days import Slice, span_label
from dispatchlake.backfill.planning import GridCell, Plan, Reading

READ, BEFORE, UNDER_WAY, AGAIN, FAILED, TO_DO, LEFT_ALONE = "🟩", "🟦", "🟨", "🟧", "🟥", "⬜", "🟫"
_NOTHING = "◾"

LEGEND = {
    READ: "read in this run",
    BEFORE: "complete before",
    UNDER_WAY: "being read",
    AGAIN: "failed, will be tried again",
    FAILED: "failed",
    TO_DO: "to do",
    LEFT_ALONE: "failed before, not asked for",
    _NOTHING: "other days",
}

SQUARES = 4000
"""With more cells than this, a block of the grid is one square and a number."""

_BLOCKS = ((1, 10), (11, 20), (21, 31))
_SLICES_A_ROW, _SLICES_A_BLOCK = 30, 10

_Key = tuple[str, str]


class Grid:
    """What has become of each cell up to now."""

    def __init__(self, plan: Plan) -> None:
        self._cells: dict[_Key, list[GridCell]] = {}
        self._marks: dict[_Key, dict[Slice, str]] = {}
        self._records: Counter[_Key] = Counter()
        self._is_large = len(plan.cells) > SQUARES
        for cell in plan.cells:
            key = (cell.center_id, cell.resource)
            self._cells.setdefault(key, []).append(cell)
            rest = BEFORE if cell.before == "complete" else LEFT_ALONE
            self._marks.setdefault(key, {})[cell.slice] = TO_DO if cell.is_asked else rest

    def mark(self, reading: Reading, mark: str, *, records: int = 0) -> None:
        """Set what has become of a reading's cells, and count what it brought."""
        key = (reading.center_id, reading.resource)
        self._marks[key].update(dict.fromkeys(reading.slices, mark))
        self._records[key] += records

    def count(self, *marks: str) -> int:
        """Return how many cells have one of these marks."""
        return sum(mark in marks for of_one in self._marks.values() for mark in of_one.values())

    @property
    def asked(self) -> int:
        """Return how many cells this run is to read."""
        return self.count(READ, FAILED, UNDER_WAY, AGAIN, TO_DO)

    @property
    def ended(self) -> int:
        """Return how many cells this run is through with."""
        return self.count(READ, FAILED)

    @property
    def records(self) -> int:
        """Return how many records changed within what was read."""
        return sum(self._records.values())

    def headline(self) -> str:
        """Return the run in one sentence of numbers."""
        if not self.asked:
            rest = f", {left:,} failed before" if (left := self.count(LEFT_ALONE)) else ""
            return f"Nothing to read: {self.count(BEFORE):,} cells are complete{rest}"
        parts = [f"{self.count(READ):,} of {self.asked:,} cells read"]
        if failed := self.count(FAILED):
            parts.append(f"{failed:,} failed")
        if left := self.asked - self.ended:
            parts.append(f"{left:,} left")
        if before := self.count(BEFORE):
            parts.append(f"{before:,} were complete before")
        return f"{', '.join(parts)}; {self.records:,} records"

    def to_markdown(self, headline: str) -> str:
        """Return the whole grid, under a headline: numbers by listing, then a square a cell."""
        used = {mark for marks in self._marks.values() for mark in marks.values()} | {READ, FAILED, TO_DO}
        legend = " · ".join(f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in used)
        return "\n".join([f"**{headline}**", "", *self._numbers(), "", legend, "", *self._squares()])

    def _numbers(self) -> Iterator[str]:
        yield "| center | resource | cells | read | failed | left | before | complete | records |"
        yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for key, marks in self._marks.items():
            found = Counter(marks.values())
            left = found[TO_DO] + found[UNDER_WAY] + found[AGAIN]
            share = (found[READ] + found[BEFORE]) / len(marks)
            yield (
                f"| {key[0]} | {key[1]} | {len(marks):,} | {found[READ]:,} | {found[FAILED]:,} | {left:,} "
                f"| {found[BEFORE]:,} | {_percent(share)} | {self._records[key]:,} |"
            )

    def _squares(self) -> Iterator[str]:
        is_daily = all(c.slice.first == c.slice.last for cells in self._cells.values() for c in cells)
        columns = (
            [f"{first}-{last}" for first, last in _BLOCKS]
            if is_daily
            else [f"{n + 1}-{n + _SLICES_A_BLOCK}" for n in range(0, _SLICES_A_ROW, _SLICES_A_BLOCK)]
        )
        yield f"| center | resource | {'month' if is_daily else 'days'} | {' | '.join(columns)} |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for key, cells in self._cells.items():
            slices = [cell.slice for cell in cells]
            for label, blocks in _by_month(slices) if is_daily else _by_number(slices):
                texts = [self._block(key, block) for block in blocks]
                yield f"| {key[0]} | {key[1]} | {label} | {' | '.join(texts)} |"

    def _block(self, key: _Key, block: Sequence[Slice | None]) -> str:
        marks = [self._marks[key][one] if one else _NOTHING for one in block]
        known = Counter(mark for mark in marks if mark != _NOTHING)
        if not known:
            return ""
        number = f"{known[READ] + known[BEFORE]}/{known.total()}"
        if not self._is_large:
            fives = ("".join(marks[at : at + 5]) for at in range(0, len(marks), 5))  # where a line may break
            return f"{' '.join(fives)} {number}"
        worst = next(
            mark for mark in (FAILED, UNDER_WAY, AGAIN, TO_DO, LEFT_ALONE, READ, BEFORE) if known[mark]
        )
        return f"{worst} {number}"


def _by_month(slices: Sequence[Slice]) -> Iterator[tuple[str, list[list[Slice | None]]]]:
    """Yield each month and its days in three blocks, a place for each day up to the last asked for."""
    for month, of_month in groupby(slices, key=lambda one: f"{one.first:%Y-%m}"):
        by_day = {one.first.day: one for one in of_month}
        last = max(by_day)
        yield month, [[by_day.get(day) for day in range(first, min(end, last) + 1)] for first, end in _BLOCKS]


def _by_number(slices: Sequence[Slice]) -> Iterator[tuple[str, list[list[Slice | None]]]]:
    """Yield rows of thirty slices in three blocks."""
    for begin in range(0, len(slices), _SLICES_A_ROW):
        row = slices[begin : begin + _SLICES_A_ROW]
        blocks = [list(row[at : at + _SLICES_A_BLOCK]) for at in range(0, _SLICES_A_ROW, _SLICES_A_BLOCK)]
        yield span_label(row[0].first, row[-1].last), [list[Slice | None](block) for block in blocks]


def _percent(share: float) -> str:
    """Return a share in percent; all and nothing are said only where they are true."""
    return f"{min(99, max(1, round(100 * share)))} %" if 0 < share < 1 else f"{share:.0%}".replace("%", " %")


def days_of(slices: Iterable[Slice]) -> str:
    """Return slices for a person, those that follow one another as one span."""
    spans: list[Slice] = []
    for one in sorted(slices, key=lambda each: each.window.start or each.window.end):
        if spans and spans[-1].window.end == one.window.start:
            spans[-1] = Slice(spans[-1].first, one.last, one.window)
        else:
            spans.append(one)
    return ", ".join(one.label for one in spans)
