"""The grid of a backfill: its cells, what is known of each, and the readings that fill it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain, zip_longest
from typing import Literal

from dispatchlake.backfill.days import (
    DaysAre,
    Slice,
    cut_days,
    refuse_days,
    refuse_future,
    span_label,
    zone_of,
)
from dispatchlake.errors import ConfigError
from dispatchlake.model import Resource
from dispatchlake.windows import Covered, Window

Mode = Literal["missing", "missing and failed", "everything again"]

CellState = Literal["complete", "failed", "missing"]

CELLS_UNCONFIRMED = 1000
"""A grid of more cells is read only after a person has confirmed their number."""

MOST_CELLS = 50_000
"""Beyond it nobody could read the grid, nor wait for it."""

_EVER = datetime.min.replace(tzinfo=UTC)
_Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for.

    Attributes:
        first_day: Included, as is `last_day`.
        slice_days: Days in one cell.
        confirm_cells: The number of cells, typed by a person who has seen that there are many; else 0.
    """

    first_day: date
    last_day: date
    days_are: DaysAre = "center local time"
    slice_days: int = 1
    mode: Mode = "missing and failed"
    confirm_cells: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One listing of one center, and whether it can be asked for a span of time."""

    center_id: str
    resource: str
    time_zone: str
    is_cell_by_cell: bool

    @classmethod
    def of(cls, center_id: str, time_zone: str, resource: Resource) -> Source:
        """Return the source that a center's listing is.

        Only with both bounds can a cell be read alone. Without, each reading is of the whole listing or of
        all since a moment: so there is one, and it fills every cell.
        """
        both = resource.since_param is not None and resource.until_param is not None
        return cls(center_id, resource.name, time_zone, both)


@dataclass(frozen=True, slots=True)
class GridCell:
    """One center x resource x slice: what was known of it before, and whether it is to be read."""

    center_id: str
    resource: str
    slice: Slice
    before: CellState
    is_asked: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read at once, and committed at once: one cell, or all asked cells of a source."""

    center_id: str
    resource: str
    slices: tuple[Slice, ...]

    @property
    def windows(self) -> tuple[Window, ...]:
        """Return the span of each slice."""
        return tuple(one.window for one in self.slices)

    @property
    def days(self) -> str:
        """Return the days for a person."""
        span = span_label(self.slices[0].first, self.slices[-1].last)
        return span if len(self.slices) == 1 else f"{span}, one reading"

    @property
    def name(self) -> str:
        """Return what its task run is called."""
        return f"{self.center_id} {self.resource} {self.days}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole grid, and the readings that fill what is asked for of it, in fair order between centers."""

    cells: tuple[GridCell, ...]
    readings: tuple[Reading, ...]

    @property
    def asked(self) -> int:
        """Return how many cells are to be read."""
        return sum(cell.is_asked for cell in self.cells)


def plan_backfill(
    request: Request,
    sources: Sequence[Source],
    covered: Mapping[tuple[str, str], Sequence[Covered]],
    *,
    now: datetime,
    run_id: str,
) -> Plan:
    """Return the grid that a request means, given what was read before.

    Args:
        request: What a person asks for.
        sources: What can be read.
        covered: Rows of `coverage` by center id and resource.
        now: Nothing after it is read.
        run_id: A run that goes on where it was interrupted does not read what it has read itself.

    Raises:
        ConfigError: The days are in the wrong order or in the future, or the grid is too large, or its size
            has not been confirmed.
    """
    refuse_days(request.first_day, request.last_day)
    zones = {source.center_id: zone_of(source.time_zone, request.days_are) for source in sources}
    for center_id, zone in zones.items():
        refuse_future(center_id, request.last_day, zone=zone, now=now)
    _refuse_size(request, len(sources))
    cells: list[GridCell] = []
    by_source: list[list[Reading]] = []
    for source in sources:
        slices = cut_days(
            request.first_day,
            request.last_day,
            slice_days=request.slice_days,
            zone=zones[source.center_id],
            now=now,
        )
        of_source = _cells(
            source, slices, covered.get((source.center_id, source.resource), ()), request, run_id
        )
        cells += of_source
        by_source.append(_readings(source, of_source))
    turns = chain.from_iterable(zip_longest(*by_source))
    return Plan(tuple(cells), tuple(reading for reading in turns if reading is not None))


def _refuse_size(request: Request, sources: int) -> None:
    days = (request.last_day - request.first_day).days + 1
    slices = -(-days // request.slice_days)
    cells = sources * slices
    counted = f"{sources:,} listings x {slices:,} slices = {cells:,} cells"
    if cells > MOST_CELLS:
        raise ConfigError(
            f"The grid is too large: {counted}. A run takes {MOST_CELLS:,} at most; use longer slices, fewer "
            "days or fewer centers."
        )
    if cells > CELLS_UNCONFIRMED and request.confirm_cells != cells:
        raise ConfigError(
            f"The grid is large: {counted}. To read all of it, confirm: enter {cells} as the number of "
            "cells (confirm_cells). Else use longer slices, fewer days or fewer centers."
        )


def _cells(
    source: Source, slices: Iterable[Slice], rows: Sequence[Covered], request: Request, run_id: str
) -> list[GridCell]:
    known = _Known(rows, run_id)
    cells = []
    for one in slices:
        before = known.state(one.window)
        asked = {
            "missing": before == "missing",
            "missing and failed": before != "complete",
            "everything again": not known.was_read_by_this_run(one.window),
        }[request.mode]
        cells.append(GridCell(source.center_id, source.resource, one, before, asked))
    return cells


def _readings(source: Source, cells: Sequence[GridCell]) -> list[Reading]:
    slices = [cell.slice for cell in cells if cell.is_asked]
    groups = [(one,) for one in slices] if source.is_cell_by_cell else [tuple(slices)] if slices else []
    return [Reading(source.center_id, source.resource, group) for group in groups]


class _Known:
    """What the coverage of one source says of a span of time.

    What a failed backfill left is failed until a later one has read it, also where it was complete before:
    who reads a span again has a reason.
    """

    def __init__(self, rows: Sequence[Covered], run_id: str) -> None:
        complete = [row for row in rows if row.state == "complete"]
        self._complete = _joined(_span(row.window) for row in complete)
        self._own = _joined(_span(row.window) for row in complete if row.run_id == run_id)
        self._failed = [
            rest
            for row in rows
            if row.state == "failed" and row.kind == "backfill"
            for rest in _without(
                _span(row.window),
                _joined(
                    _span(other.window)
                    for other in complete
                    if other.kind == "backfill" and other.updated_at > row.updated_at
                ),
            )
        ]

    def state(self, window: Window) -> CellState:
        start, end = _span(window)
        if any(failed_start < end and start < failed_end for failed_start, failed_end in self._failed):
            return "failed"
        return "complete" if _is_within((start, end), self._complete) else "missing"

    def was_read_by_this_run(self, window: Window) -> bool:
        return _is_within(_span(window), self._own)


def _span(window: Window) -> _Span:
    return (window.start or _EVER, window.end)


def _joined(spans: Iterable[_Span]) -> list[_Span]:
    """Return the union of spans as the fewest, in order."""
    joined: list[_Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _is_within(span: _Span, joined: Sequence[_Span]) -> bool:
    place = bisect_right(joined, span[0], key=lambda one: one[0]) - 1
    return place >= 0 and span[1] <= joined[place][1]


def _without(span: _Span, joined: Sequence[_Span]) -> list[_Span]:
    """Return what is left of a span without others."""
    left: list[_Span] = []
    start, end = span
    for cut_start, cut_end in joined:
        if start < min(cut_start, end):
            left.append((start, min(cut_start, end)))
        start = max(start, cut_end)
    if start < end:
        left.append((start, end))
    return left
