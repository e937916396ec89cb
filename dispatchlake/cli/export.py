"""`dispatchlake export`: tables, views and answers as plain files, all of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from dispatchlake.cli.instants import parse_instant
from dispatchlake.cli.terminal import errors, waiting
from dispatchlake.errors import ConfigError

if TYPE_CHECKING:  # DuckDB and pandas take a while to import: not for --help
    from dispatchlake.lake.exporting import Exported

SPREADSHEET_NOTE = (
    "In a text that a spreadsheet would run as a formula, an apostrophe stands first (--exact leaves it out)."
)


@Parameter(name="*")
@dataclass(frozen=True)
class Writing:
    """How files are written."""

    overwrite: bool = False
    """Replace an earlier export once this one is whole."""

    exact: bool = False
    """Leave every text of a CSV file as it is, even where a spreadsheet would run it as a formula."""


def export(
    *what: str,
    to: Path,
    form: Literal["parquet", "csv"] | None = None,
    at: str | None = None,
    writing: Writing = Writing(),
    restricted: bool = False,
) -> None:
    """Write tables, views or answers to files, all of one moment, also while loads run.

    The files hold what the zone holds of callers. They are made for you alone (mode 0600).

    Args:
        what: Tables and views by name, and queries: a query alone, or several as NAME=QUERY.
        to: A file that ends in .parquet, .csv or .duckdb (any number of tables), or a folder for a file each.
        form: Of the files in a folder: parquet if not given.
        at: As the lake was then: a time with its zone (2024-02-29T14:05:00Z), or a snapshot's number.
        writing: How it is written.
        restricted: Export from the restricted zone, which has everything; it is noted in the access log.
    """
    from dispatchlake.lake.export_items import item_of
    from dispatchlake.lake.export_target import target_of
    from dispatchlake.lake.exporting import Source
    from dispatchlake.lake.exporting import export as write

    target = target_of(to, form=form, overwrite=writing.overwrite, exact=writing.exact)
    if target.exact and target.form != "csv":
        raise ConfigError("--exact is for CSV: every other form keeps texts as they are anyway.")
    moment = int(at) if at is not None and at.isdecimal() else parse_instant(at)
    with waiting("Exporting ..."):
        source = Source(zone="restricted" if restricted else "open", tool="dispatchlake export")
        exported = write([item_of(text) for text in what], target, at=moment, source=source)
    tell(exported)


def tell(exported: Exported) -> None:
    """Say what was written, where, and as of when."""
    counts = exported.rows
    said = ", ".join(f"{name} {rows:,}" for name, rows in counts.items())
    errors.print(
        f"{sum(counts.values()):,} rows written to {exported.target.path}"
        f"{f' ({said})' if len(counts) > 1 else ''}, as of {exported.snapshot}. Readable by you alone: it "
        "holds what the lake holds of callers.",
        soft_wrap=True,
        markup=False,
    )
    if exported.target.form == "csv" and not exported.target.exact:
        errors.print(SPREADSHEET_NOTE, soft_wrap=True, markup=False)
