"""The dictionary: what every table, view, macro and column means, in rows.

Made of the declarations alone. The table `dictionary` has these rows, and docs/data-dictionary.md shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import reading
from dispatchlake.lake.declared import Column, Macro, Table, View
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.sql import registered
from dispatchlake.lake.views import MACROS, VIEWS

_NUMBERS = {"BIGINT", "DOUBLE"}
_UNITS_BY_TYPE = {"TIMESTAMPTZ": "instant, UTC", "TIMESTAMP": "the center's clock", "DATE": "day"}
_UNITS_BY_ENDING = {
    "_s": "seconds",
    "seconds": "seconds",
    "_bytes": "bytes",
    "lat": "degrees",
    "lng": "degrees",
}

Kind = Literal["table", "view", "macro"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the dictionary; `analyst_tables.DICTIONARY` explains each field."""

    object: str
    kind: Kind
    position: int
    role: Literal["object", "parameter", "column", "result"]
    column_name: str | None
    type: str | None
    meaning: str
    unit: str | None = None
    source_field: str | None = None
    pii: str = "none"
    is_key: bool | None = None
    must_not_be_summed: bool | None = None
    example: str | None = None


def entries() -> list[Entry]:
    """Return the whole dictionary: tables, views, macros, each followed by its parameters and columns."""
    found: list[Entry] = []
    for table in TABLES:
        found += _entries(table, "table", "column", table.columns)
    for view in VIEWS:
        found += _entries(view, "view", "column", view.columns)
    for macro in MACROS:
        found += _entries(macro, "macro", "column" if macro.is_table else "result", macro.columns)
    return found


def _entries(
    declared: Table | View | Macro,
    kind: Kind,
    role: Literal["column", "result"],
    columns: Sequence[Column],
) -> list[Entry]:
    parameters = declared.parameters if isinstance(declared, Macro) else ()
    kinds = sorted({column.pii for column in columns} - {"none"})
    head = Entry(
        declared.name,
        kind,
        0,
        "object",
        None,
        None,
        declared.comment,
        pii=", ".join(kinds) or "none",
        example=None if isinstance(declared, Table) else declared.example,
    )
    asked = [
        _entry(declared.name, kind, "parameter", place, column) for place, column in enumerate(parameters, 1)
    ]
    answered = [
        _entry(declared.name, kind, role, place, column, is_key=column.name in declared.key)
        for place, column in enumerate(columns, 1 + len(parameters))
    ]
    return [head, *asked, *answered]


def _entry(
    name: str,
    kind: Kind,
    role: Literal["parameter", "column", "result"],
    position: int,
    column: Column,
    *,
    is_key: bool | None = None,
) -> Entry:
    return Entry(
        name,
        kind,
        position,
        role,
        column.name,
        column.type,
        column.comment,
        unit=unit_of(column),
        source_field=column.source_field or None,
        pii=column.pii,
        is_key=is_key,
        must_not_be_summed=None if column.type not in _NUMBERS else not column.is_additive,
    )


def unit_of(column: Column) -> str | None:
    """Return the unit of a column's values, which its type and name say; None if they have none."""
    if column.type in _UNITS_BY_TYPE:
        return _UNITS_BY_TYPE[column.type]
    if column.type not in _NUMBERS:
        return None
    return next((unit for ending, unit in _UNITS_BY_ENDING.items() if column.name.endswith(ending)), None)


def write(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace what the lake's dictionary says by what this version says, in the caller's transaction."""
    names = [field.name for field in fields(Entry)]
    rows = entries()
    said = pa.table({name: [getattr(row, name) for row in rows] for name in names})
    connection.execute("DELETE FROM dictionary")
    with registered(connection, "said", said):
        connection.execute(f"INSERT INTO dictionary ({', '.join(names)}) SELECT {', '.join(names)} FROM said")


def read(name: str | None = None, *, lake_dir: Path | None = None) -> list[Entry]:
    """Return what the lake's dictionary says of one object, or of each object by itself.

    Raises:
        ConfigError: There is no lake, or nothing of that name in it.
        LakeError: The lake was not opened for writing since this version was installed.
    """
    names = ", ".join(field.name for field in fields(Entry))
    which = "object = $name" if name else "role = 'object'"
    with reading.connect_unnoted(lake_dir) as connection:
        try:
            rows = connection.execute(
                f"SELECT {names} FROM dictionary WHERE {which} ORDER BY kind, object, position",
                {"name": name} if name else {},
            ).fetchall()
        except duckdb.CatalogException as error:
            raise LakeError(
                "The lake has no dictionary yet: an older version of dispatchlake made it. The next ingest "
                "run brings it up to date."
            ) from error
    if not rows:
        raise ConfigError(
            f"There is no table, view or macro {name!r} in the lake. See: dispatchlake dictionary"
        )
    return [Entry(*row) for row in rows]
