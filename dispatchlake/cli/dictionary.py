"""`dispatchlake dictionary`: what the tables, views, macros and columns of the lake mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from dispatchlake.cli.terminal import console, errors, table
from dispatchlake.errors import ConfigError

if TYPE_CHECKING:  # DuckDB takes a while to import: not for --help
    from dispatchlake.lake.dictionary import Entry


def dictionary(name: str | None = None, /, *, markdown: Path | None = None) -> None:
    """Show what the lake holds, and what each column of it means.

    Args:
        name: A table, view or macro, such as response_times; all of them, by a line each, if not given.
        markdown: Write the whole dictionary of this version to this file instead; no lake is needed.
    """
    if markdown is not None:
        if name:
            raise ConfigError("A page is of the whole dictionary: give an object or --markdown, not both.")
        _write(markdown)
        return
    from dispatchlake.lake.dictionary import read

    if name is None:
        rows = [[entry.object, entry.kind, entry.meaning] for entry in read()]
        console.print(table(["object", "kind", "what it is"], rows))
        console.print(
            "\nIts columns: dispatchlake dictionary OBJECT. In SQL: FROM dictionary", soft_wrap=True
        )
        return
    _show(read(name))


def _show(described: list[Entry]) -> None:
    head, *columns = described
    console.print(f"[bold]{head.object}[/] ({head.kind}). {escape(head.meaning)}\n", soft_wrap=True)
    rows = [
        [entry.column_name, entry.role, entry.type, entry.unit or "", entry.meaning, _marks(entry)]
        for entry in columns
    ]
    console.print(table(["column", "role", "type", "unit", "meaning", ""], rows))
    if head.example:
        console.print(f"\nFor example: {escape(head.example)}", soft_wrap=True)


def _marks(entry: Entry) -> str:
    marks = [
        *(["key"] if entry.is_key else []),
        *(["must not be summed"] if entry.must_not_be_summed else []),
        *([f"personal: {entry.pii}"] if entry.pii != "none" else []),
    ]
    return ", ".join(marks)


def _write(target: Path) -> None:
    from dispatchlake.lake.dictionary_page import page

    try:
        target.write_text(page())
    except OSError as error:
        raise ConfigError(f"{target} could not be written: {error.strerror}.") from None
    errors.print(f"Written to {target}", soft_wrap=True)
