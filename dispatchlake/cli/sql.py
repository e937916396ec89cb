"""`dispatchlake sql`: the lake, read-only, one question or many."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from dispatchlake.cli.export import tell
from dispatchlake.cli.terminal import console, errors
from dispatchlake.errors import ConfigError, DispatchLakeError

if TYPE_CHECKING:  # DuckDB and pandas take a while to import: not for --help
    from dispatchlake.lake.reading import Session
    from dispatchlake.settings import Zone

MAX_ROWS_SHOWN = 100
_TOOL = "dispatchlake sql"

_HELP = "End a statement with ; to run it. Tables: SHOW TABLES; Columns: DESCRIBE incidents; Leave: Ctrl-D"


def sql(
    query: str | None = None,
    /,
    *,
    csv: Path | None = None,
    parquet: Path | None = None,
    exact: bool = False,
    restricted: bool = False,
) -> None:
    """Ask the lake a question in SQL, or open it for many; read-only, also while a load runs.

    It is the open zone that is asked: callers' numbers are tokens, coordinates rounded, free text left out.

    Args:
        query: The question; without one, an interactive prompt opens.
        csv: Write the answer to this CSV file instead of showing it; one of that name is replaced.
        parquet: Write the answer to this Parquet file instead of showing it; the same.
        exact: Leave texts in CSV as they are, even where a spreadsheet would run them as a formula.
        restricted: Ask the restricted zone, which has everything; who asks is noted in the access log.
    """
    from dispatchlake.lake.reading import reading_session

    zone: Zone = "restricted" if restricted else "open"
    if csv and parquet:
        raise ConfigError("Give --csv or --parquet, not both.")
    target = csv or parquet
    if query is None:
        if target:
            raise ConfigError("An export needs a question: dispatchlake sql 'SELECT ...' --csv FILE")
        with reading_session(zone=zone, tool=_TOOL) as session:
            _prompt(session, "restricted> " if restricted else "lake> ")
    elif target:
        from dispatchlake.lake.export_items import Item
        from dispatchlake.lake.export_target import Target
        from dispatchlake.lake.exporting import Source, export

        file = Target(target, "csv" if csv else "parquet", overwrite=True, exact=exact)
        tell(export([Item("answer", query)], file, source=Source(zone=zone, tool=_TOOL)))
    else:
        with reading_session(zone=zone, tool=_TOOL) as session:
            _show(session, query)


def _show(session: Session, query: str) -> None:
    session.show(query, max_rows=MAX_ROWS_SHOWN, max_width=console.width)


def _prompt(session: Session, prompt: str) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it gives input() a history and line editing
    errors.print(_HELP)
    statement = ""
    while True:
        try:
            line = input("   ... " if statement else prompt)
        except EOFError:
            console.print()
            return
        statement = f"{statement}\n{line}".strip()
        if statement.endswith(";"):
            try:
                _show(session, statement.rstrip(";"))
            except DispatchLakeError as error:
                errors.print(str(error), markup=False)
            statement = ""
