"""What lies in quarantine can be told without telling what it says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake
from dispatchlake.lake.quarantined import QuarantineReason, quarantine_reasons, shape
from tests.examples import examples
from tests.lake.pages import CENTER, END, Center, cell, incident, load, page


def test_reasons_are_counted_by_center_and_listing(lake: Lake, lake_dir: Path) -> None:
    bad = {"id": "secret"}
    pages = [
        page(incident(), bad, "secret 1", received_at=END),
        page("secret 2", "secret 3", received_at=END + timedelta(hours=1), sequence=2),
    ]
    lake.load(pages, cell=cell(), run_id="run")
    load(lake, "secret", center_id="center-b", resource="cad_incidents")

    found = quarantine_reasons(lake_dir)

    assert [(one.center_id, one.resource, one.reason, one.records) for one in found] == [
        (CENTER, "incident_events", "the record is not an object", 3),
        (CENTER, "incident_events", "created_at: missing", 1),
        ("center-b", "cad_incidents", "the record is not an object", 1),
    ]
    first = found[0]
    assert (first.first_received_at, first.last_received_at) == (END, END + timedelta(hours=1))
    assert [(example.position, example.shape) for example in first.examples] == [
        (2, "text(8)"),
        (0, "text(8)"),
    ]
    assert [example.shape for example in found[1].examples] == ["id text(6)"]
    assert "secret" not in repr(found)
    assert quarantine_reasons(lake_dir, center_ids=("center-b",)) == found[2:]
    with pytest.raises(ConfigError, match=r"center center-x\. Archived are: center-a, center-b\."):
        quarantine_reasons(lake_dir, center_ids=("center-x",))


def test_an_example_is_found_in_the_archive(center: Center, shared_dir: Path) -> None:
    center.load(incident(), "no object")

    (found,) = quarantine_reasons(shared_dir, center_ids=(center.center_id,))

    (example,) = found.examples
    assert center.ask(f"SELECT body FROM raw_pages WHERE raw_id = '{example.raw_id}'")
    assert isinstance(found, QuarantineReason)
    assert example.position == 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "null"),
        (True, "boolean"),
        (-1.5, "number"),
        ("secret", "text(6)"),
        ([1, 2], "list(2)"),
        ({}, "object(0)"),
        (
            {"id": "secret", "units": ["a"], "place": {"lat": 1}, "ended": None, "is_live": False, "n": 12},
            "id text(6), units list(1), place object(1), ended null, is_live boolean, n number",
        ),
        ({"+1 555-0123": 1, "x" * 41: 2, "Jane Doe": 3}, ", ".join(
            f"(a name of {length} characters) number" for length in (11, 41, 8)
        )),
        ({f"field_{n}": n for n in range(42)}, ", ".join(
            [*(f"field_{n} number" for n in range(40)), "and 2 more"]
        )),
    ],
)  # fmt: skip
def test_a_record_is_told_by_its_shape(record: Any, expected: str) -> None:
    assert shape(record) == expected


values = st.recursive(
    st.text("äöü0123456789", min_size=4),
    lambda v: st.lists(v, min_size=1) | st.dictionaries(st.text("äöü"), v),
)


@examples(30)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), values))
def test_no_value_is_ever_in_a_shape(record: dict[str, Any]) -> None:
    told = shape(record)

    assert not set(told) & set("äöü")
    assert all(len(number) < 4 for number in told.replace(")", "(").split("(")[1::2])


def test_asking_where_there_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        quarantine_reasons(tmp_path)
