"""A parser with faults: rejects what is good, drops a field, and types what is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dispatchlake.lake import typed_pages
from dispatchlake.lake.parsing import Parsed, parse_records, to_json
from dispatchlake.lake.record_types import RecordType
from tests.lake.pages import stamp

REFUSED, DROPPED, INVENTED = "refused", "dropped", "invented"
"""Phone numbers of the records that meet each fault."""


def spoil(record: Any) -> Any:
    """Return what the faulty parser takes the record for."""
    if not isinstance(record, dict):
        return record
    fault = record.get("caller_phone_number")
    if fault == REFUSED:
        return "no object"
    if fault == DROPPED:
        return {name: value for name, value in record.items() if name != "audio_call_ended_at"}
    if fault == INVENTED:
        return {**record, "created_at": stamp(0)}
    return record


def parse_with_faults(records: Sequence[Any], record_type: RecordType) -> Parsed:
    """Do what `parse_records` does, wrongly."""
    parsed = parse_records([spoil(record) for record in records], record_type)
    rejects = [replace(reject, record=to_json(records[reject.position])) for reject in parsed.rejects]
    return Parsed(parsed.table, rejects)


@contextmanager
def faulty_parser(is_faulty: bool = True) -> Iterator[None]:
    """Have the lake parse with faults for a while, or as always."""
    with pytest.MonkeyPatch.context() as patch:
        if is_faulty:
            patch.setattr(typed_pages, "parse_records", parse_with_faults)
        yield
