"""What the open zone shows of each column: nothing, unless what the column may reveal was declared here.

Two things must be said of a column before the open zone shows it: its class of personal information, where
the column is declared (`record_types`, `schemas`), and, where that class is `none`, its name in `HARMLESS`: a
list that a person reads who answers for it. Of any other column nothing is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dispatchlake.lake.blocks import to_block
from dispatchlake.lake.declared import Column, Table
from dispatchlake.lake.record_types import EVENT_TYPES, RECORD_TYPES, Pii
from dispatchlake.lake.schemas import TABLES

TokenKind = Literal["", "phone", "fingerprint", "id or fingerprint"]
"""What is put in the place of a value once it was read: see `tokens`."""

UNPUBLISHED = frozenset(
    {
        *("raw_pages", "chain_heads"),
        *("erasures", "erasure_keys", "legal_holds", "retention_rules", "retention_runs"),
        *("publication", "service_classes", "dictionary", "view_editions"),
    }
)
"""Tables that the open zone has without rows of the restricted one: pages as received and the chain over
them, whose hashes are of whole bodies; what was removed and must not be; and what each lake has of its own,
such as the open zone's book."""

_PHONE_LIKE = r"\p{N}([^A-WYZa-wyz]*\p{N}){6}"
"""What looks like a telephone number: seven digits or more, of any script, with no letter from A to Z but an
x between them. How much else is between them tells nothing: people put dots, brackets and blanks there. A
class of all letters would be exact, and takes DuckDB longer to prepare than a small column to read."""

_AT = r"[@\x{FE6B}\x{FF20}]"
"""Also the small and the wide one of other keyboards."""

_MAIL_IN_ADDRESS = rf"\S{_AT}|{_AT}\S|{_AT}.*\."
"""Some centers write an intersection with an @: it has a blank on either side, and no domain after it."""

_DEGREES = r"\p{N}([.,\x{66B}]\p{N}{3}|\s*\x{B0})"
_LONGEST_WORDING = 100
"""Characters; what a center has a list for is shorter."""


@dataclass(frozen=True, slots=True)
class OpenColumn:
    """How one column comes into the open zone.

    Attributes:
        sql: What is read of the restricted zone.
        token: What is put in the place of each value that was read; "" leaves it.
    """

    name: str
    sql: str
    token: TokenKind = ""


def _shown(column: str, _decimals: int) -> str:
    return column


def _dialled(column: str, _decimals: int) -> str:
    """Return a telephone number if there is one: all that say there is none would share a token."""
    return f"CASE WHEN regexp_matches({column}, '\\p{{N}}') THEN {column} END"


def _whether(column: str, _decimals: int) -> str:
    """Return of a link only whether there is one."""
    return f"CASE WHEN {column} <> '' THEN 'hidden' ELSE {column} END"


def _rounded(column: str, decimals: int) -> str:
    return f"round({column}, {decimals})"


def _wording(column: str, _decimals: int) -> str:
    return _unless(f"{_PHONE_LIKE}|{_AT}", column, column)


def _block(column: str, _decimals: int) -> str:
    return _unless(f"{_PHONE_LIKE}|{_MAIL_IN_ADDRESS}|{_DEGREES}", column, to_block(column))


def _unless(revealing: str, column: str, shown: str) -> str:
    """Return null for a text that is too long for its column or has anywhere in it what reveals somebody."""
    return (
        f"CASE WHEN length({column}) <= {_LONGEST_WORDING} "
        f"AND NOT regexp_matches({column}, '{revealing}', 's') THEN {shown} END"
    )


def _postal_area(column: str, _decimals: int) -> str:
    """Return a postal code without what follows its first five characters, which names a side of a street."""
    return (
        f"CASE WHEN regexp_matches({column}, '^[0-9A-Za-z][0-9A-Za-z -]{{2,9}}$') THEN left({column}, 5) END"
    )


_TREATMENTS: Mapping[Pii, tuple[Callable[[str, int], str], TokenKind]] = {
    "none": (_shown, ""),
    "phone": (_dialled, "phone"),
    "address": (_block, ""),
    "postal code": (_postal_area, ""),
    "coordinates": (_rounded, ""),
    "link": (_whether, ""),
    "wording": (_wording, ""),
    "fingerprint": (_shown, "fingerprint"),
    "id or fingerprint": (_shown, "id or fingerprint"),
}
"""By class; of a class that is not here, such as free text and everything, nothing is shown."""

_OF_ANY_RECORD = frozenset({"center_id", "received_at", "source", "raw_id", "created_at"})
_CAD_TIMES = frozenset(
    {
        "call_received_at",
        "entered_at",
        "dispatched_at",
        "responding_at",
        "on_scene_at",
        "transport_at",
        "hospital_at",
        "closed_at",
    }
)
_INCIDENT = _OF_ANY_RECORD | {"updated_at", "incident_id", "is_audio_live", "audio_call_ended_at"}
_CAD_INCIDENT = (
    _OF_ANY_RECORD
    | _CAD_TIMES
    | {"updated_at", "cad_incident_id", "cad_partner_incident_id", "incident_id", "alarm_level", "units"}
)

HARMLESS: Mapping[str, frozenset[str]] = {
    "incidents": _INCIDENT,
    "incident_versions": _INCIDENT,
    "cad_incidents": _CAD_INCIDENT,
    "cad_incident_versions": _CAD_INCIDENT,
    "incident_sightings": frozenset(
        {"center_id", "incident_id", "source", "created_at", "received_at", "raw_id"}
    ),
    "caller_locations": _OF_ANY_RECORD | {"location_id", "incident_id"},
    "media": _OF_ANY_RECORD | {"incident_id"},
    "cad_notes": _OF_ANY_RECORD | {"note_id", "incident_id", "cad_partner_incident_id"},
    "cad_locations": _OF_ANY_RECORD | {"incident_id", "cad_partner_incident_id"},
    "quarantine": frozenset({"center_id", "resource", "reason", "raw_id", "position", "received_at"}),
    "coverage": frozenset(
        {
            "center_id",
            "resource",
            "kind",
            "state",
            "window_start",
            "window_end",
            "records",
            "attempts",
            "last_error",
            "run_id",
            "updated_at",
        }
    ),
    "watermarks": frozenset({"center_id", "resource", "watermark_at", "run_id"}),
    "runs": frozenset(
        {
            "run_id",
            "center_id",
            "resource",
            "state",
            "error",
            "pages",
            "records",
            "new",
            "changed",
            "unchanged",
            "quarantined",
            "oldest_created_at",
            "newest_updated_at",
            "started_at",
            "seconds",
            "kind",
            "error_class",
            "logins",
            "last_received_at",
        }
    ),
    "alerts": frozenset({"center_id", "resource", "condition", "since_at", "told_at"}),
    "media_files": frozenset(
        {"center_id", "state", "size_bytes", "error", "attempts", "tried_at", "asked_at", "answer"}
    ),
    "centers": frozenset({"center_id", "name", "time_zone", "updated_at"}),
}
"""By table, the columns that reveal nothing of a person and are shown as they are."""


def open_columns(table: Table, *, decimals: int) -> tuple[OpenColumn, ...]:
    """Return how each column of a table comes into the open zone, in the table's order.

    Args:
        table: As declared.
        decimals: Decimal places that coordinates keep.
    """
    return tuple(_open_column(table, column, decimals) for column in table.columns)


def _open_column(table: Table, column: Column, decimals: int) -> OpenColumn:
    treatment = _TREATMENTS.get(column.pii)
    if treatment is None or (column.pii == "none" and not is_harmless(table, column)):
        return OpenColumn(column.name, f"NULL::{column.type}")
    expression, token = treatment
    return OpenColumn(column.name, expression(f'"{column.name}"', decimals), token)


def is_harmless(table: Table, column: Column) -> bool:
    """Say whether somebody has declared that a column reveals nothing of a person."""
    return column.name in HARMLESS.get(table.name, frozenset())


def published_tables() -> tuple[Table, ...]:
    """Return the tables that the open zone has rows of: those of which something may be shown."""
    return tuple(
        table
        for table in TABLES
        if table.name not in UNPUBLISHED
        and any(is_harmless(table, column) or column.pii != "none" for column in table.columns)
    )


def version_columns() -> Mapping[str, tuple[str, ...]]:
    """Return, of the tables of records, the columns that tell each row from any other."""
    identities: dict[str, tuple[str, ...]] = {
        "incident_sightings": ("center_id", "incident_id", "version_hash", "source")
    }
    for record_type in (*RECORD_TYPES.values(), *EVENT_TYPES.values()):
        identity = ("center_id", record_type.key, "version_hash")
        identities[record_type.versions] = identity
        if record_type.current:
            identities[record_type.current] = identity
    return identities


def plan(columns: Iterable[OpenColumn], key: str) -> str:
    """Return a name of how a table is treated: another one means that the table must be made anew.

    Args:
        columns: As `open_columns` has them.
        key: The fingerprint of the key that tokens are made with.
    """
    described = "\n".join(f"{one.name}\t{one.sql}\t{one.token}" for one in columns)
    return hashlib.sha256(f"{key}\n{described}".encode()).hexdigest()[:16]
