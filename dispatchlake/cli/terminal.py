"""What the command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dispatchlake.errors import ConfigError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_UNBOUNDED = 10_000
"""Characters a line where a table may be as wide as it likes."""


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is being waited for: a spinner on a terminal, else a line."""
    if errors.is_terminal:
        with errors.status(text):
            yield
    else:
        errors.print(text)
        yield


def confirmed(question: str) -> bool:
    """Ask a person and return whether the answer was yes.

    Raises:
        ConfigError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} There is nobody to ask: say so with --yes.")
    errors.print(f"{question} [y/N] ", end="", markup=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """Return a plain table; numbers are set right and grouped, absent values are shown as a dot."""
    grid = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    content = [list(row) for row in rows]
    for position, column in enumerate(columns):
        is_number = any(isinstance(row[position], int | float) for row in content)
        grid.add_column(
            column,
            justify="right" if is_number else "left",
            header_style="dim",
            overflow="fold",
            no_wrap=is_number,
        )
    for row in content:
        grid.add_row(*(_cell(value) for value in row))
    return grid


def fitting_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, least_wanted: Sequence[str]
) -> tuple[Table, list[str]]:
    """Return a table without those columns that the terminal has no room for, and their names.

    Folded into a column as wide as a word, no figure can be read.

    Args:
        columns: Names of all.
        rows: A value for each of them.
        least_wanted: Columns that may be left out, the first one first.
    """
    content = [list(row) for row in rows]
    left_out: list[str] = []
    while True:
        places = [place for place, column in enumerate(columns) if column not in left_out]
        grid = table(
            [columns[place] for place in places], [[row[place] for place in places] for row in content]
        )
        room = console.options.update(max_width=_UNBOUNDED)
        if len(left_out) == len(least_wanted) or console.measure(grid, options=room).maximum <= console.width:
            return grid, left_out
        left_out.append(least_wanted[len(left_out)])


def _cell(value: Any) -> str | Text:
    if isinstance(value, Text):
        return value
    text = str(value)
    if value is None:
        text = "·"
    elif isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, int | float):
        text = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    elif isinstance(value, datetime):
        text = f"{value.astimezone(UTC):%F %T}Z"
    elif isinstance(value, list):
        text = ", ".join(str(item) for item in value)
    return escape(text)
