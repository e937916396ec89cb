"""What the benchmark serves is the vendor's shape, the same each time, and nothing that could be real."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import listings
from bench.listings import Listing, rendered
from bench.rows import iter_rows, record_id
from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.record_types import RECORD_TYPES

RESOURCES = ("incident_events", "cad_incidents")


@pytest.mark.parametrize("resource", RESOURCES)
def test_rows_are_typed_without_a_reject_or_an_unknown_field(resource: str) -> None:
    records = [json.loads(row.body) for row in iter_rows(resource, "center-00", range(300))]

    parsed = parse_records(records, RECORD_TYPES[resource])

    assert not parsed.rejects
    assert parsed.table["extra"].null_count == 300


@pytest.mark.parametrize("resource", RESOURCES)
def test_rows_are_the_same_each_time(resource: str) -> None:
    first, second = (list(iter_rows(resource, "center-00", range(50))) for _ in range(2))

    assert first == second


def test_caller_numbers_are_synthetic() -> None:
    rows = iter_rows("incident_events", "center-00", range(300))

    assert all(re.fullmatch(r"\+130355501\d\d", json.loads(row.body)["caller_phone_number"]) for row in rows)


def test_a_changed_row_keeps_its_id_and_its_creation() -> None:
    before, after = (
        json.loads(next(iter_rows("cad_incidents", "center-00", range(7, 8), revision=revision)).body)
        for revision in (0, 1)
    )

    assert before["id"] == after["id"] == record_id("center-00", 7)
    assert before["created_at"] == after["created_at"]
    assert before["updated_at"] < after["updated_at"]


def test_a_listing_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "DATA_DIR", tmp_path)
    listing = Listing("center-00", "cad_incidents", 25, page_size=10)

    first = rendered(listing)
    monkeypatch.setattr(listings, "_render", None)
    second = rendered(listing)

    assert first == second
    bodies = first.bodies.read_bytes()
    pages = [json.loads(bodies[a:b]) for a, b in zip(first.offsets, first.offsets[1:], strict=False)]
    assert [len(page) for page in pages] == [10, 10, 5]
