"""Equal content has one hash, however it was written; anything else has another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.parsing import parse_records
from dispatchlake.lake.record_types import CAD_INCIDENTS, INCIDENT_EVENTS, MEDIA, RecordType
from dispatchlake.lake.staging import Staging, laid_out
from dispatchlake.lake.typed_pages import type_pages
from dispatchlake.lake.version_hash import version_hashes
from tests.lake.pages import incident, page, stamp


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def hashes(
    database: duckdb.DuckDBPyConnection, *records: dict[str, Any], record_type: RecordType = CAD_INCIDENTS
) -> list[str]:
    """Return the hash of each record, in order."""
    staging = Staging(lambda: database, record_type)
    staging.add(type_pages([ArchivedPage("raw", page(*records))], record_type))
    assert not staging.quarantined
    with laid_out(database, [staging]):
        rows = database.execute("SELECT version_hash FROM staged ORDER BY receive_order").fetchall()
    return [row[0] for row in rows]


def are_one(database: duckdb.DuckDBPyConnection, *records: dict[str, Any]) -> bool:
    distinct = set(hashes(database, *records))
    assert len(distinct) in {1, len(records)}, "either all equal or all different"
    return len(distinct) == 1


def test_a_time_has_one_hash_in_whatever_form_it_is_written(database: duckdb.DuckDBPyConnection) -> None:
    forms = [
        "2024-03-04 17:19:08 UTC",
        "2024-03-04T17:19:08Z",
        "2024-03-04T17:19:08.000Z",
        "2024-03-04 10:19:08 -0700",
        "2024-03-04T22:49:08.000000+05:30",
        "2024-03-05 07:19:08 +1400",
    ]

    assert are_one(database, *(incident(closed_at=form) | {"created_at": form} for form in forms))


def test_a_field_that_is_null_and_one_that_is_missing_are_one(database: duckdb.DuckDBPyConnection) -> None:
    assert are_one(database, incident(), incident(address=None), incident(closed_at=None, units=None))


def test_a_number_has_one_hash_as_integer_and_as_float(database: duckdb.DuckDBPyConnection) -> None:
    assert are_one(database, incident(lat=29, lng=-95), incident(lat=29.0, lng=-95.0))


def test_the_order_of_fields_makes_no_difference(database: duckdb.DuckDBPyConnection) -> None:
    record = incident(address="a", city="b", zone={"x": 1, "y": 2}, other=3)
    backwards = dict(reversed(record.items())) | {"zone": {"y": 2, "x": 1}}

    assert are_one(database, record, backwards)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"address": "a", "city": "bc"}, {"address": "ab", "city": "c"}, id="border moved"),
        pytest.param({"address": "abc"}, {"city": "abc"}, id="field moved"),
        pytest.param({"address": "a|city:1:b"}, {"address": "a", "city": "b"}, id="text that looks like two"),
        pytest.param({"address": "a|city:b"}, {"address": "a", "city": "b"}, id="or like these"),
        pytest.param({"address": ""}, {}, id="empty and null"),
        pytest.param({"address": "null"}, {}, id="null as a text"),
        pytest.param({"address": "a"}, {"address": "a "}, id="trailing space"),
        pytest.param({"address": "a"}, {"address": "A"}, id="case"),
        pytest.param({"address": "\u00e4"}, {"address": "a\u0308"}, id="ways to compose"),
        pytest.param({"units": ["a", "b"]}, {"units": ["b", "a"]}, id="order of a list"),
        pytest.param({"units": ["a,b"]}, {"units": ["a", "b"]}, id="border in a list"),
        pytest.param({"units": ['a","b']}, {"units": ["a", "b"]}, id="quotes in a list"),
        pytest.param({"units": [None]}, {"units": ["null"]}, id="null in a list"),
        pytest.param({"units": []}, {}, id="empty list and null"),
        pytest.param({"units": []}, {"units": [""]}, id="empty list and empty text"),
        pytest.param({"alarm_level": 0}, {}, id="zero and null"),
        pytest.param({"lat": 29.7604}, {"lat": 29.76040000000001}, id="last digit"),
        pytest.param({"lat": 0.1}, {"lat": 0.30000000000000004}, id="numbers"),
        pytest.param({"lat": 95}, {}, id="out of range and null"),
        pytest.param({"lat": 95}, {"lat": 96}, id="two out of range"),
        pytest.param({"closed_at": stamp(0)}, {"entered_at": stamp(0)}, id="time moved"),
        pytest.param({"closed_at": stamp(0)}, {"closed_at": stamp(1)}, id="a second"),
        pytest.param(
            {"closed_at": "2024-03-01T00:00:00.000001Z"}, {"closed_at": stamp(0)}, id="a microsecond"
        ),
        pytest.param({"zone": 1}, {"zone": "1"}, id="type of an unknown field"),
        pytest.param({"zone": 1}, {"zones": 1}, id="name of an unknown field"),
        pytest.param({"zone": None}, {}, id="unknown null"),
        pytest.param({"zone": [1, 2]}, {"zone": [12]}, id="list in an unknown field"),
    ],
)
def test_different_content_has_another_hash(
    database: duckdb.DuckDBPyConnection, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert not are_one(database, incident() | one, incident() | other)


def test_each_field_counts(database: duckdb.DuckDBPyConnection) -> None:
    values: dict[str, Any] = {
        "text": "x",
        "boolean": True,
        "integer": 1,
        "number": 1.5,
        "instant": stamp(99),
        "texts": ["x"],
    }
    for record_type in (INCIDENT_EVENTS, CAD_INCIDENTS):
        changed = [incident() | {field.source: values[field.kind]} for field in record_type.fields]

        distinct = set(hashes(database, incident(), *changed, record_type=record_type))

        assert len(distinct) == len(changed) + 1


texts = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
contents = st.fixed_dictionaries(
    {"address": texts, "city": texts, "units": st.none() | st.lists(texts, max_size=3)},
    optional={"zone": texts, "Zone": texts},
)


@given(one=contents, other=contents)
def test_hashes_are_equal_exactly_where_contents_are(
    database: duckdb.DuckDBPyConnection, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert are_one(database, incident() | one, incident() | other) == (one == other)


media = st.lists(
    st.fixed_dictionaries(
        {}, optional={"id": st.sampled_from("ab"), "incident_id": texts, "media_type": texts}
    ),
    max_size=5,
)


@given(records=media)
def test_a_hash_is_of_name_and_value_whatever_other_records_hold(records: list[dict[str, Any]]) -> None:
    sources = {"media_id": "id", "incident_id": "incident_id", "kind": "media_type"}

    found = version_hashes(parse_records(records, MEDIA).table, MEDIA).to_pylist()

    for record, hashed in zip(records, found, strict=True):
        values = {name: record.get(source) for name, source in sources.items()}
        content = "\0".join(f"{name}={value}" for name, value in values.items() if value is not None)
        assert hashed == hashlib.sha256(content.encode()).hexdigest()[:32]
