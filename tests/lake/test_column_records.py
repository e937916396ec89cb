"""Pages decoded straight to columns: whatever the bytes, what `payload` and `parsing` make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.column_records import ColumnDecoder, ColumnRecords, decode_columns
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.lake.typed_pages import TypedPages, type_pages
from dispatchlake.model import RESOURCES, Resource
from dispatchlake.payload import Payload, PayloadError, decode_page, values_of
from tests.examples import examples
from tests.lake.pages import incident, incidents, page, stamp
from tests.lake.test_parsing import VALUES, records_of

EVENTS, CAD = RESOURCES["incident_events"], RESOURCES["cad_incidents"]

FULL = {field.source: VALUES[field.kind] for field in record_type_of(CAD).fields} | {"id": "i1"}
"""A record with every field."""


def typed(resource: Resource, *pages: Sequence[Any]) -> TypedPages:
    """Type the records of pages."""
    empty = page(resource=resource.name)
    archived = [
        ArchivedPage(f"raw-{number}", replace(empty, records=records)) for number, records in enumerate(pages)
    ]
    return type_pages(archived, record_type_of(resource))


def decoded(decode: Any, body: bytes, resource: Resource) -> Payload | str:
    """Return what is made of a body, or why nothing is."""
    try:
        payload: Payload = decode(body, resource)
    except PayloadError as error:
        return f"{type(error).__name__}: {error}"
    return payload


def assert_same(body: bytes, resource: Resource, decode: Any = decode_columns) -> bool:
    """Compare both ways of reading a body; say whether it was read as columns."""
    expected, found = decoded(decode_page, body, resource), decoded(decode, body, resource)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return False
    assert found.envelope == expected.envelope
    assert len(found.records) == len(expected.records)
    assert list(found.records) == list(expected.records)
    for name in (resource.id_field, resource.changed_field):
        assert values_of(found.records, name) == values_of(expected.records, name)
    assert typed(resource, found.records) == typed(resource, expected.records)
    return isinstance(found.records, ColumnRecords)


ENVELOPES = (
    "%s",
    " \n%s\r\n",
    '{"data": %s}',
    '{"meta": {"total": 3, "next": "?page=2"}, "data": %s, "has_more": true}',
    '{"title": "a [b", "data": %s}',
    '{"data": %s, "title": "b] a"}',
    '{"data": %s, "errors": []}',
    '{"first": [], "data": %s}',
    '{"data": {"items": %s}}',
    '{"data": %s, "data": 5}',
    '{"data": 5, "data": %s}',
    '{"errors": %s}',
)


@examples(400)
@given(data=st.data())
def test_any_body_comes_to_what_it_came_to_without_columns(data: st.DataObject) -> None:
    """Any records in any envelope, written in any way, and then spoiled at any place."""
    resource = data.draw(st.sampled_from([EVENTS, CAD]))
    resource = resource.model_copy(update={"records_key": data.draw(st.sampled_from([None, "data"]))})
    of_type = records_of(record_type_of(resource))
    records = data.draw(st.lists(of_type | st.just(FULL) | st.just(incident()), max_size=4))
    array = json.dumps(
        records,
        ensure_ascii=data.draw(st.booleans()),
        indent=data.draw(st.sampled_from([None, 1])),
    )
    body = (data.draw(st.sampled_from(ENVELOPES)) % array).encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 3)))
        body = body[:start] + data.draw(st.binary(max_size=3) | st.sampled_from(SPOILERS)) + body[end:]

    named = data.draw(st.just(frozenset[str]()) | st.frozensets(st.sampled_from(sorted(FULL)), min_size=10))
    assert_same(body, resource, partial(decode_columns, named=named))


SPOILERS = (
    b"NaN",
    b"-0",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"]",
    b"}",
    b'"',
    b"\n",
    b"\xff",
    b"[[",
    b"}{",
    b",",
)


@pytest.mark.parametrize("envelope", ENVELOPES[:4])
def test_pages_as_centers_send_them_are_columns(envelope: str) -> None:
    resource = CAD.model_copy(update={"records_key": "data"})
    records = [FULL, incident("i2"), {**FULL, "id": "i3", "address": "Straße 5", "units": [None, "é"]}]

    for written in (
        json.dumps(records),
        json.dumps(records, ensure_ascii=False),
        json.dumps(records, indent=2),
    ):
        assert assert_same((envelope % written).encode(), resource)


def test_an_empty_page_is_read() -> None:
    assert_same(b"[]", CAD)
    assert_same(b'{"data": []}', CAD)


@pytest.mark.parametrize(
    "more",
    [
        '"lat": NaN',
        '"lat": -Infinity',
        '"lat": -0',
        '"lat": 9007199254740993',
        '"lat": 1' + "0" * 400,
        '"lat": 1e999',
        '"lat": "1"',
        '"lat": true',
        '"alarm_level": 1.0',
        '"alarm_level": 1e2',
        '"alarm_level": 9223372036854775808',
        '"alarm_level": true',
        '"units": "E1"',
        '"units": [1]',
        '"units": [["E1"]]',
        '"id": 7',
        '"id": "again"',
        '"id": null',
        '"address": {"street": "x"}',
        '"address": "\\ud800"',
        '"address": "a\nb"',
        '"address": "\xff"',
        '"zone": "unknown"',
        '"zone": null',
        "",
    ],
)
def test_what_arrow_would_take_otherwise_is_not_left_to_it(more: str) -> None:
    """Numbers that are none or are rounded, other types, names that come twice or are not known."""
    body = f"[{json.dumps(incident('i1'))[:-1]}, {more}}}, {json.dumps(incident('i2'))}]".encode("latin-1")

    assert not assert_same(body, CAD)


@pytest.mark.parametrize(
    "between", ['], "records": [', ']}{"records": [', ']}\n{"records": [', "], [", "]]", "][", "], 1, ["]
)
def test_no_body_closes_what_it_was_put_into(between: str) -> None:
    body = f"[{json.dumps(incident('i1'))}{between}{json.dumps(incident('i2'))}]".encode()

    assert not assert_same(body, CAD)


@pytest.mark.parametrize("before", ["", '[{"zone": ', '[{"units": ', '[{"id": ', '{"meta": '])
@pytest.mark.parametrize("nested", ["[", '{"a": '])
def test_a_page_nested_a_million_times_is_refused_as_ever(before: str, nested: str) -> None:
    """Arrow reads what is nested by calling itself: it must have turned away before the stack is full."""
    deep = nested * 1_000_000
    bottom = "1" + ("]" if nested == "[" else "}") * 1_000_000

    for body in (f"{before}{deep}", f"{before}{deep}{bottom}{'}]' if '[' in before else ''}"):
        with pytest.raises(PayloadError, match="nested too deeply"):
            decode_columns(body.encode(), CAD)


def test_two_columns_of_one_field_are_read_as_ever() -> None:
    resource = CAD.model_copy(update={"changed_field": "closed_at"})

    assert not assert_same(json.dumps([FULL]).encode(), resource)


def test_columns_are_typed_beside_objects_in_the_order_they_came() -> None:
    pages = [
        incidents(3),
        [incident("new", zone="unknown"), {"id": None}],
        [FULL, incident("i8")],
        [incident("i9") | {"created_at": "no time"}, incident("i10")],
    ]
    bodies = [json.dumps(records).encode() for records in pages]
    records = [decode_columns(body, CAD).records for body in bodies]
    assert [isinstance(one, ColumnRecords) for one in records] == [True, False, True, True]

    together = typed(CAD, *records)

    assert together == typed(CAD, *pages)
    assert together.records["receive_order"].to_pylist() == [0, 1, 2, 3, 5, 6, 8]
    assert together.rejects.select(["raw_id", "position"]).to_pylist() == [
        {"raw_id": "raw-1", "position": 1},
        {"raw_id": "raw-3", "position": 0},
    ]


def test_a_record_is_decoded_for_whoever_asks_for_it() -> None:
    records = decode_columns(json.dumps(incidents(5)).encode(), EVENTS).records

    assert isinstance(records, ColumnRecords)
    assert records[2] == incidents(5)[2]
    assert list(records[1:3]) == incidents(5)[1:3]


def test_a_reading_expects_the_fields_that_its_pages_have_named() -> None:
    decode = ColumnDecoder()
    pages = [
        [],
        incidents(3),
        [incident("i3", address="Main St")],
        [incident("i4"), incident("i5", address="Main St")],
        [incident("i6", city=None)],
        [incident("i7", city=None), FULL],
        [FULL],
        [incident("i8", zone="unknown")],
        [incident("i9")],
    ]
    bodies = [json.dumps(records).encode() for records in pages]

    records = [decode(body, CAD).records for body in bodies]

    is_columns = [isinstance(one, ColumnRecords) for one in records]
    assert is_columns == [False, True, False, True, False, False, True, False, True]
    assert typed(CAD, *records) == typed(CAD, *pages)
    assert isinstance(decode(json.dumps(incidents(2)).encode(), EVENTS).records, ColumnRecords), (
        "each listing"
    )


@examples(100)
@given(data=st.data())
def test_whatever_pages_came_before_a_page_comes_to_the_same(data: st.DataObject) -> None:
    names = st.sampled_from([field.source for field in record_type_of(CAD).fields] + ["zone"])
    extra = st.dictionaries(names, st.none() | st.just("x") | st.just(stamp(5)), max_size=3)
    records = extra.map(lambda more: incident() | more)
    decode = ColumnDecoder()

    for written in data.draw(st.lists(st.lists(records, max_size=3), max_size=5)):
        assert_same(json.dumps(written).encode(), CAD, decode)
