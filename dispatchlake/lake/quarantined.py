"""What lies in quarantine and why, without a value of any record: names of fields, JSON types and lengths.

Read-only. Setting aside is `commit`'s business, letting go `retyping`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake import reading
from dispatchlake.lake.centers import archived_centers, refuse_unarchived
from dispatchlake.payload import decode_json

EXAMPLES = 2
"""Records of each reason whose shape is told."""

_MOST_FIELDS = 40
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
"""What a field may be called to be named; anything else could be content that was taken for a name."""


@dataclass(frozen=True, slots=True)
class Example:
    """One record set aside, by where it is and how it is made, never by what it says.

    Attributes:
        raw_id: Its page: raw_pages.raw_id.
        position: Its place among the page's records, from 0.
        shape: Each field and its JSON type, or the record's own type where it is no object.
    """

    raw_id: str
    position: int
    shape: str


@dataclass(frozen=True, slots=True)
class QuarantineReason:
    """Why records of one center's listing were set aside, how many, and when they came."""

    center_id: str
    resource: str
    reason: str
    records: int
    first_received_at: datetime
    last_received_at: datetime
    examples: tuple[Example, ...]


def quarantine_reasons(
    lake_dir: Path | None = None, *, center_ids: tuple[str, ...] = ()
) -> list[QuarantineReason]:
    """Return why records were set aside, by center and listing, the commonest reason first.

    Args:
        lake_dir: Home of the lake; the one of this installation's settings if not given.
        center_ids: Centers to look at; all if none is given.

    Raises:
        ConfigError: There is no lake yet, or a center is named that it has no page of.
    """
    where = "WHERE center_id IN (SELECT unnest($centers))" if center_ids else ""
    query = f"""
        SELECT center_id, resource, reason, count(*) AS records, min(received_at), max(received_at),
            min({{'at': received_at, 'position': position, 'raw_id': raw_id, 'record': record}}, $examples)
        FROM quarantine {where} GROUP BY center_id, resource, reason
        ORDER BY center_id, resource, records DESC, reason"""
    parameters: dict[str, Any] = {"examples": EXAMPLES}
    if center_ids:
        parameters["centers"] = list(center_ids)
    with reading.connect_unnoted(lake_dir) as connection:
        try:
            if center_ids:
                refuse_unarchived(center_ids, archived_centers(connection))
            rows = connection.execute(query, parameters).fetchall()
        except duckdb.Error as error:  # its text may quote a value
            raise LakeError(f"The quarantine cannot be read ({type(error).__name__}).") from error
    return [
        QuarantineReason(center_id, resource, reason, records, first, last, tuple(map(_example, examples)))
        for center_id, resource, reason, records, first, last, examples in rows
    ]


def _example(found: dict[str, Any]) -> Example:
    return Example(found["raw_id"], found["position"], shape(decode_json(found["record"].encode())))


def shape(record: Any) -> str:
    """Return how a record is made: `id text(36), lat number, units list(2)`, in characters and items."""
    if not isinstance(record, dict):
        return _type(record)
    fields = [f"{_name(name)} {_type(value)}" for name, value in record.items()]
    if len(fields) > _MOST_FIELDS:
        fields[_MOST_FIELDS:] = [f"and {len(fields) - _MOST_FIELDS} more"]
    return ", ".join(fields) or "object(0)"


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else f"(a name of {len(name)} characters)"


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return f"text({len(value)})"
    return f"{'list' if isinstance(value, list) else 'object'}({len(value)})"
