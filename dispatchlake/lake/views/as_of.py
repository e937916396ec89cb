"""The lake as of a moment, in two senses: what we knew then, and what was true at the source then.

A row of the current table that is old enough is the answer: the newest of all versions is the newest of
fewer. Only for incidents that changed after the moment are versions compared.
"""

from __future__ import annotations

from typing import Literal

from dispatchlake.lake.declared import Column, Macro
from dispatchlake.lake.record_types import CAD_INCIDENTS, INCIDENT_EVENTS, RecordType
from dispatchlake.lake.schemas import record_columns

_SENSES = {
    "as_of": (
        "received_at",
        "as it was known to us at t: the newest of the versions received until then",
        "Moment, by our clock; what was received at that very moment is known.",
    ),
    "at_source": (
        "updated_at",
        "as it was at the source at t: the newest of the versions made until then, whenever we heard of them",
        "Moment, by the source's clock; what changed at that very moment has changed.",
    ),
}


def _macro(record_type: RecordType, sense: Literal["as_of", "at_source"]) -> Macro:
    stamp, meaning, moment = _SENSES[sense]
    columns = record_columns(record_type)
    names = ", ".join(column.name for column in columns)
    key = f"center_id, {record_type.key}"
    name = f"{record_type.current}_{sense}"
    return Macro(
        name,
        f"One row per {record_type.noun} {meaning}. Shaped like {record_type.current}.",
        (Column("t", "TIMESTAMPTZ", moment),),
        columns,
        f"""SELECT {names} FROM {record_type.current} WHERE {stamp} <= t::TIMESTAMPTZ
    UNION ALL
    SELECT {names} FROM {record_type.versions}
    WHERE {stamp} <= t::TIMESTAMPTZ AND ({key}) IN (
        SELECT ({key}) FROM {record_type.current} WHERE {stamp} > t::TIMESTAMPTZ)
    QUALIFY row_number() OVER (
        PARTITION BY {key}
        ORDER BY updated_at DESC, {record_type.tie_break} IS NOT NULL DESC, received_at DESC, version_hash
    ) = 1""",
        f"SELECT count(*) FROM {name}(TIMESTAMPTZ '2024-03-01 14:05:00 UTC') WHERE center_id = 'houston-tx'",
        key=("center_id", record_type.key),
    )


AS_OF: tuple[Macro, ...] = tuple(
    _macro(record_type, sense)
    for record_type in (INCIDENT_EVENTS, CAD_INCIDENTS)
    for sense in ("as_of", "at_source")
)
