"""Bringing a lake's views, macros, classes of service and dictionary to what this version says.

Views change more often than tables, and no row depends on them: so they are no migrations. Each time a
process first opens the lake for writing, what the lake has is compared with what is declared, by one digest;
where it differs all is made anew in one transaction. A lake of a newer version keeps the newer ones.
"""

from __future__ import annotations

import functools
import hashlib
import re
from datetime import UTC, datetime

import duckdb

import dispatchlake
from dispatchlake.lake import dictionary, service_classes
from dispatchlake.lake.sql import first_row, quoted
from dispatchlake.lake.views import MACROS, VIEWS


@functools.cache
def digest() -> str:
    """Return the SHA-256 of all that this version would make."""
    said = repr((VIEWS, MACROS, dictionary.entries(), service_classes.EDITION, service_classes.CLASSES))
    return hashlib.sha256(said.encode()).hexdigest()


def is_due(connection: duckdb.DuckDBPyConnection) -> bool:
    """Say whether the lake has other views than this version's, and not those of a newer one."""
    row = first_row(connection, "SELECT release, digest FROM view_editions")
    if row is None:
        return True
    release, had = row
    return had != digest() and _order(release) <= _order(dispatchlake.__version__)


def renew(connection: duckdb.DuckDBPyConnection) -> None:
    """Make all of them anew, and drop those that are declared no more, in the caller's transaction."""
    for name, kind in _gone(connection):
        connection.execute(f'DROP {kind} IF EXISTS "{name}"')
    for view in VIEWS:
        connection.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.query}")
        connection.execute(f"COMMENT ON VIEW {view.name} IS {quoted(view.comment)}")
    for macro in MACROS:
        body = f"TABLE {macro.query}" if macro.is_table else macro.query
        connection.execute(f"CREATE OR REPLACE MACRO {macro.call} AS {body}")
    _write_classes(connection)
    dictionary.write(connection)
    connection.execute("DELETE FROM view_editions")
    connection.execute(
        "INSERT INTO view_editions VALUES (?, ?, ?)",
        [dispatchlake.__version__, digest(), datetime.now(UTC)],
    )


def _gone(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return views and macros that an older version made and this one does not know, and how to drop each."""
    known = {*(view.name for view in VIEWS), *(macro.name for macro in MACROS)}
    rows = connection.execute(
        """SELECT object, kind, bool_or(role = 'result') FROM dictionary WHERE kind IN ('view', 'macro')
        GROUP BY ALL"""
    ).fetchall()
    return [
        (name, "VIEW" if kind == "view" else "MACRO" if is_function else "MACRO TABLE")
        for name, kind, is_function in rows
        if name not in known
    ]


def _write_classes(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DELETE FROM service_classes")
    values = ", ".join(["(?, ?, ?, ?)"] * len(service_classes.CLASSES))
    connection.execute(
        f"INSERT INTO service_classes VALUES {values}",
        [value for row in service_classes.CLASSES for value in row],
    )


def _order(release: str) -> tuple[int, ...]:
    """Return a release as numbers that can be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", release))
