"""What the command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """Return a plain table; numbers are set right and grouped, absent values are shown as a dot."""
    grid = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    content = [list(row) for row in rows]
    for position, column in enumerate(columns):
        is_number = any(isinstance(row[position], int | float) for row in content)
        grid.add_column(column, justify="right" if is_number else "left", header_style="dim", overflow="fold")
    for row in content:
        grid.add_row(*(_cell(value) for value in row))
    return grid


def _cell(value: Any) -> str:
    if value is None:
        return "·"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return escape(", ".join(str(item) for item in value))
    return escape(str(value))
