"""What the lake would make of a page of records, in plain values, without a lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.model import Resource


@dataclass(frozen=True, slots=True)
class RecordsPreview:
    """How a page's records would be typed.

    Attributes:
        typed: Records that would land.
        reasons: Why others would be quarantined, the commonest first, with their number; no value is named.
        newest_updated_at: Newest change among those that would land.
        changed: Id and time of change of the one that changed last after it was created, if any did.
    """

    typed: int
    reasons: tuple[tuple[str, int], ...]
    newest_updated_at: datetime | None
    changed: tuple[str, datetime] | None


def preview_records(records: Sequence[Any], resource: Resource) -> RecordsPreview:
    """Type the records as a load would, and say what became of them."""
    record_type = record_type_of(resource)
    parsed = parse_records(records, record_type)
    rows = parsed.table.select([record_type.key, "created_at", "updated_at"]).to_pylist()
    later = [
        (row["updated_at"], row[record_type.key]) for row in rows if row["created_at"] < row["updated_at"]
    ]
    updated_at, identity = max(later, default=(None, ""))
    return RecordsPreview(
        typed=len(rows),
        reasons=tuple(Counter(reject.reason for reject in parsed.rejects).most_common()),
        newest_updated_at=max((row["updated_at"] for row in rows), default=None),
        changed=(identity, updated_at) if updated_at else None,
    )
