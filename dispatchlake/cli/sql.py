"""`dispatchlake sql`: the lake, read-only, one question or many."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from dispatchlake.cli.terminal import console, errors, table
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.settings import load_settings

if TYPE_CHECKING:
    from dispatchlake.lake.reading import Reader

MAX_ROWS_SHOWN = 200

_HELP = "End a statement with ; to run it. Tables: SHOW TABLES; Columns: DESCRIBE incidents; Leave: Ctrl-D"


def sql(
    query: str | None = None,
    /,
    *,
    csv: Path | None = None,
    parquet: Path | None = None,
) -> None:
    """Ask the lake a question in SQL, or open it for many; read-only, also while a load runs.

    Args:
        query: The question; without one, an interactive prompt opens.
        csv: Write the answer to this CSV file instead of showing it.
        parquet: Write the answer to this Parquet file instead of showing it.
    """
    from dispatchlake.lake.reading import Reader

    if csv and parquet:
        raise ConfigError("Give --csv or --parquet, not both.")
    if query is None and (csv or parquet):
        raise ConfigError("An export needs a question: dispatchlake sql 'SELECT ...' --csv FILE")
    with Reader.open(load_settings().lake_dir) as reader:
        if query is None:
            _prompt(reader)
        elif csv or parquet:
            target = csv or parquet
            assert target is not None  # noqa: S101 - for the type checker
            rows = reader.export(query, target, "csv" if csv else "parquet")
            errors.print(f"{rows:,} rows written to {target}")
        else:
            _show(reader, query)


def _show(reader: Reader, query: str) -> None:
    columns, rows, more = reader.preview(query, MAX_ROWS_SHOWN)
    console.print(table(columns, rows))
    if more:
        errors.print(
            f"The first {MAX_ROWS_SHOWN} rows are shown; export all with --csv FILE or --parquet FILE."
        )


def _prompt(reader: Reader) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it gives input() a history and line editing
    errors.print(_HELP)
    statement = ""
    while True:
        try:
            line = input("   ... " if statement else "lake> ")
        except EOFError:
            console.print()
            return
        statement = f"{statement}\n{line}".strip()
        if statement.endswith(";"):
            try:
                _show(reader, statement.rstrip(";"))
            except DispatchLakeError as error:
                errors.print(str(error), markup=False)
            statement = ""
