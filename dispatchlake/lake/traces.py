"""Texts that would betray a call that was erased: collected before, searched for after.

Ids, hashes, numbers, addresses, URLs and notes of the call's own. A text that another call has too, such as
the number of somebody who called twice, proves nothing and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from dispatchlake.lake.calls import Calls, doom, tables_of_calls
from dispatchlake.lake.record_types import CAD_INCIDENTS, EVENT_TYPES, Field

LEAST_LETTERS = 8
"""Shorter texts stand anywhere by chance; they are looked for as values of columns only."""

LEAST_LETTERS_OF_PROSE = 12
MOST_LETTERS = 48
"""Of a longer text its beginning and its end are looked for: databases cut long ones into pieces."""


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """A text of an erased call, and what it is: the name of a column, safe to show."""

    name: str
    text: str = field(repr=False)


def find_traces(connection: duckdb.DuckDBPyConnection, calls: Calls) -> list[Trace]:
    """Return what would betray the calls, as far as this lake has it."""
    doom(connection, calls)
    conditions = tables_of_calls(connection)
    found = {Trace("incident_id", one) for one in calls.incident_ids}
    found |= {Trace("cad_incident_id", one) for one in calls.cad_incident_ids}
    for record_type in {one.versions: one for one in (CAD_INCIDENTS, *EVENT_TYPES.values())}.values():
        table = record_type.versions
        if table not in conditions:
            continue
        for name, least in _telling(record_type.fields):
            column = f'"{name}"::VARCHAR'
            rows = connection.execute(
                f"""SELECT DISTINCT {column} AS text FROM {table}
                WHERE {conditions[table]} AND strlen({column}) >= {least}
                    AND NOT EXISTS (
                        SELECT 1 FROM {table} AS other
                        WHERE ({conditions[table]}) IS NOT TRUE
                            AND contains(other.{column}, {table}.{column}))""",
                {"center": calls.center_id},
            ).fetchall()
            found |= {Trace(name, part) for (text,) in rows for part in _parts(text)}
    return sorted(one for one in found if len(one.text.encode("utf-8", "replace")) >= LEAST_LETTERS)


def _telling(fields: tuple[Field, ...]) -> list[tuple[str, int]]:
    """Return the columns whose values tell a call from others, and how long such a value is at least."""
    telling = [("version_hash", LEAST_LETTERS)]
    for one in fields:
        if one.kind not in {"text", "json"}:
            continue
        if one.pii in {"address", "free text"}:
            telling.append((one.name, LEAST_LETTERS_OF_PROSE))
        elif one.is_id or one.has_urls or one.pii != "none" or one.name == "cad_partner_incident_id":
            telling.append((one.name, LEAST_LETTERS))
    return telling


def _parts(text: str) -> set[str]:
    return {text} if len(text) <= MOST_LETTERS else {text[:MOST_LETTERS], text[-MOST_LETTERS:]}
