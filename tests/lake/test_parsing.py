"""Records to typed columns: any JSON goes in, and each record comes out typed or set aside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dispatchlake.lake import parsing
from dispatchlake.lake.parsing import Parsed, parse_records, to_json
from dispatchlake.lake.record_types import CAD_INCIDENTS, INCIDENT_EVENTS, Field, RecordType, record_type_of
from dispatchlake.model import RESOURCES
from tests.lake.pages import incident, instant, stamp
from tests.lake.test_timestamps import reference as parse_time

CAD_TEXTS = [field.source for field in CAD_INCIDENTS.fields if field.kind == "text" and not field.required]
CAD_TIMES = [field.source for field in CAD_INCIDENTS.fields if field.kind == "instant" and not field.required]


def parse(*records: Any, record_type: RecordType = CAD_INCIDENTS) -> Parsed:
    return parse_records(records, record_type)


def row(record: Any, record_type: RecordType = CAD_INCIDENTS) -> dict[str, Any]:
    """Parse one record that must be taken."""
    parsed = parse(record, record_type=record_type)
    assert not parsed.rejects, parsed.rejects[0].reason
    (typed,) = parsed.table.to_pylist()
    return dict(typed)


def reason(record: Any, record_type: RecordType = CAD_INCIDENTS) -> str:
    """Parse one record that must be set aside, among others that must not."""
    parsed = parse(incident("before"), record, incident("after"), record_type=record_type)
    assert parsed.table["position"].to_pylist() == [0, 2], "the rest of the page lands"
    (reject,) = parsed.rejects
    assert reject.position == 1
    assert json.loads(reject.record) == record
    return reject.reason


def test_a_record_of_every_field_keeps_every_value() -> None:
    record = (
        incident("c1", updated=60)
        | {name: f"value of {name}" for name in CAD_TEXTS}
        | {name: stamp(number) for number, name in enumerate(CAD_TIMES)}
        | {"alarm_level": 2, "lat": 29.7604, "lng": -95, "units": ["E7", "L7", "E7"]}
    )

    typed = row(record)

    for name in CAD_TEXTS:
        assert typed[name] == f"value of {name}"
    for number, name in enumerate(CAD_TIMES):
        assert typed["call_received_at" if name == "received_at" else name] == instant(number)
    assert typed["cad_incident_id"] == "c1"
    assert (typed["created_at"], typed["updated_at"]) == (instant(0), instant(60))
    assert (typed["alarm_level"], typed["lat"], typed["lng"]) == (2, 29.7604, -95.0)
    assert typed["units"] == ["E7", "L7", "E7"]
    assert typed["extra"] is None


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("record_type", [INCIDENT_EVENTS, CAD_INCIDENTS], ids=lambda t: t.resource)
def test_an_optional_field_that_is_missing_or_null_is_null(record_type: RecordType, present: bool) -> None:
    optional = [field for field in record_type.fields if not field.required]
    record = incident() | ({field.source: None for field in optional} if present else {})

    typed = row(record, record_type)

    assert {typed[field.name] for field in optional} == {None}
    assert typed["extra"] is None


@pytest.mark.parametrize("name", ["id", "created_at", "updated_at"])
def test_a_required_field_that_is_missing_null_or_empty_sets_its_record_aside(name: str) -> None:
    record = incident()

    assert reason({key: value for key, value in record.items() if key != name}) == f"{name}: missing"
    assert reason(record | {name: None}) == f"{name}: missing"
    assert reason(record | {name: ""}) in {f"{name}: missing", f"{name}: not a time with a zone"}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("id", [True, 1.5, [], {}, 2**64, -(2**64), "a\0b", "caf\ufffd"], "id: not a text"),
        ("address", [7, 0.5, False, ["x"], {"x": 1}, "NUL \0"], "address: not a text"),
        ("alarm_level", ["2", 1.0, True, [], {}, 2**63, -(2**63) - 1], "alarm_level: not an integer"),
        ("lat", ["29.7", False, [29.7], {}, 10**400, 2**53 + 1], "lat: not a number"),
        ("units", ["E7", 7, {}, ["E7", 7], [["E7"]], ["E7", {}], ["E\0"]], "units: not a list of texts"),
        ("closed_at", [1705314600, 1.5, True, [], {}], "closed_at: not a time with a zone"),
        ("closed_at", ["2024-01-15 10:30:00", "soon", ""], "closed_at: not a time with a zone"),
        ("updated_at", ["2024-01-15", "2024-02-30 10:30:00 UTC"], "updated_at: not a time with a zone"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_sets_its_record_aside_by_field_and_never_by_value(
    name: str, values: list[Any], expected: str
) -> None:
    assert {reason(incident() | {name: value}) for value in values} == {expected}


def test_a_flag_is_true_or_false_and_nothing_that_looks_like_it() -> None:
    lookalikes: list[Any] = [0, 1, "true", [], 1.0]
    for value in lookalikes:
        wrong = incident() | {"is_audio_live": value}
        assert reason(wrong, INCIDENT_EVENTS) == "is_audio_live: not a boolean"
    assert row(incident(is_audio_live=False), INCIDENT_EVENTS)["is_audio_live"] is False


@pytest.mark.parametrize("record", [None, True, 1, 1.5, "text", [], [incident()]])
def test_a_record_that_is_no_object_is_set_aside(record: Any) -> None:
    assert reason(record) == "the record is not an object"


def test_the_first_field_in_declared_order_gives_the_reason() -> None:
    assert reason({"address": 7, "updated_at": "soon", "lat": "x"}) == "id: missing"
    assert reason({"id": "c1", "address": 7, "lat": "x"}) == "address: not a text"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (17, "17"), (-1, "-1"), (2**63, "9223372036854775808")]
)
def test_an_integer_id_is_taken_as_text(number: int, text: str) -> None:
    assert row(incident(number))["cad_incident_id"] == text


def test_fields_we_do_not_know_are_kept_as_json() -> None:
    unknown = {"zone": {"b": [1, 2.5, None, True], "a": "ä"}, "": "no name", "position": 3, "extra": {"x": 1}}

    assert json.loads(row(incident() | unknown)["extra"]) == unknown


def test_the_order_of_unknown_fields_makes_no_difference() -> None:
    forth = row(incident() | {"a": {"x": 1, "y": 2}, "b": 1})
    back = row({"b": 1, "a": {"y": 2, "x": 1}} | incident())

    assert forth["extra"] == back["extra"]


@pytest.mark.parametrize(
    ("name", "outside"),
    [("lat", [90.000001, -90.5, 1e300, 4000]), ("lng", [180.000001, -181, 1e300, 4000])],
)
def test_coordinates_no_place_has_are_null_and_kept_beside(name: str, outside: list[float]) -> None:
    for value in outside:
        typed = row(incident(zone="kept", **{name: value}))
        assert typed[name] is None
        assert json.loads(typed["extra"]) == {"zone": "kept", name: value}


@pytest.mark.parametrize(
    ("lat", "lng"), [(90, 180), (-90, -180), (0, 0), (-0.0, 0.0), (89.999999, -179.999999)]
)
def test_coordinates_up_to_the_poles_and_the_date_line_are_taken(lat: float, lng: float) -> None:
    typed = row(incident(lat=lat, lng=lng))

    assert (typed["lat"], typed["lng"], typed["extra"]) == (lat, lng, None)


def test_only_one_coordinate_out_of_range_leaves_the_other() -> None:
    typed = row(incident(lat=29.7, lng=-950))

    assert (typed["lat"], typed["lng"], json.loads(typed["extra"])) == (29.7, None, {"lng": -950})


def test_no_records_at_all_give_an_empty_table_of_the_same_columns() -> None:
    assert parse().table.schema == parse(incident()).table.schema
    assert parse().table.num_rows == parse(1, 2).table.num_rows == 0


def test_what_was_set_aside_does_not_show_in_a_repr() -> None:
    parsed = parse({"caller": "a secret place"})

    assert "secret" not in repr(parsed.rejects)


def test_what_cannot_be_written_as_json_says_so() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]

    for value in (nested, {"n": 10**5000, "surrogate": "\ud800"}, [float("inf"), 10**30]):
        assert "see the raw page" in json.loads(to_json(value))


# --- any JSON value -------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=()), max_size=8)
"""Also NUL and lone surrogates, which JSON can write."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)
sensible = {
    "text": any_text,
    "boolean": st.booleans(),
    "integer": st.integers(-(2**63) - 1, 2**63),
    "number": st.floats(-200, 200) | st.integers(-(2**53) - 1, 2**53 + 1),
    "instant": st.sampled_from([stamp(0), "2024-01-15T10:30:00.5-07:00", "2024-01-15 10:30:00"]),
    "texts": st.lists(any_text | st.none(), max_size=3),
}


VALUES: dict[str, Any] = {
    "text": "x",
    "boolean": True,
    "integer": 3,
    "number": 1.5,
    "instant": stamp(7),
    "texts": ["a", "b"],
}
"""One of each kind that nothing is wrong with."""


def records_of(record_type: RecordType) -> st.SearchStrategy[Any]:
    """Records that are mostly right, so that each wrong value is met on its own too."""
    fields = {field.source: sensible[field.kind] | st.none() | json_values for field in record_type.fields}
    right = {
        "id": st.text("abc", min_size=1),
        "created_at": st.just(stamp(0)),
        "updated_at": st.just(stamp(1)),
    }
    some = st.lists(st.sampled_from([*fields]), max_size=4, unique=True)
    changes = some.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))
    return json_values | st.builds(
        lambda base, unknown, changed: base | unknown | changed,
        st.fixed_dictionaries(right),
        st.dictionaries(any_text, json_values, max_size=2),
        changes,
    )


NOUNS = {
    "text": "a text",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "instant": "a time with a zone",
    "texts": "a list of texts",
}


def reference(record: Any, record_type: RecordType) -> tuple[str | None, dict[str, Any]]:
    """The rules in plain Python, one value at a time: a reason, or the columns."""
    if not isinstance(record, dict):
        return "the record is not an object", {}
    columns, reasons = {}, []
    for field in record_type.fields:
        value, problem = reference_value(record.get(field.source), field)
        columns[field.name] = value
        reasons += [f"{field.source}: {problem}"] if problem else []
    return (reasons[0] if reasons else None), columns


def reference_value(value: Any, field: Field) -> tuple[Any, str | None]:
    if field.source == "id" and type(value) is int and abs(value) < 2**64:
        value = str(value)
    if value is None or (field.source == "id" and value == ""):
        return None, "missing" if field.required else None
    if field.kind == "instant":
        value = parse_time(value) if isinstance(value, str) else None
    if not is_right_type(value, field.kind) or (field.source == "id" and "\ufffd" in value):
        return None, f"not {NOUNS[field.kind]}"
    if field.source in {"lat", "lng"} and abs(value) > {"lat": 90, "lng": 180}[field.source]:
        return None, None
    return value, None


def is_right_type(value: Any, kind: str) -> bool:
    if kind == "instant":
        return isinstance(value, datetime)
    if kind == "text":
        return isinstance(value, str) and is_unicode(value) and "\0" not in value
    if kind == "texts":
        return isinstance(value, list) and all(v is None or is_right_type(v, "text") for v in value)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return type(value) is int and -(2**63) <= value < 2**63
    return type(value) is float or (type(value) is int and abs(value) <= 2**53)


def is_unicode(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize("record_type", [INCIDENT_EVENTS, CAD_INCIDENTS], ids=lambda t: t.resource)
@given(data=st.data())
def test_any_json_is_typed_or_set_aside_as_plain_python_would(
    database: duckdb.DuckDBPyConnection, record_type: RecordType, data: st.DataObject
) -> None:
    records = data.draw(st.lists(records_of(record_type), max_size=6))
    expected = [reference(record, record_type) for record in records]

    parsed = parse_records(records, record_type)

    assert {r.position: r.reason for r in parsed.rejects} == {
        position: why for position, (why, _) in enumerate(expected) if why
    }
    kept = [position for position, (why, _) in enumerate(expected) if not why]
    assert parsed.table["position"].to_pylist() == kept
    for typed, position in zip(parsed.table.to_pylist(), kept, strict=True):
        for name, value in expected[position][1].items():
            assert typed[name] == value
    texts = [*parsed.table["extra"].to_pylist(), *(r.record for r in parsed.rejects)]
    database.execute("SELECT CAST(unnest($texts::VARCHAR[]) AS JSON)", {"texts": texts}).fetchall()


@pytest.mark.parametrize("record_type", [INCIDENT_EVENTS, CAD_INCIDENTS], ids=lambda t: t.resource)
@given(data=st.data())
def test_a_record_comes_to_the_same_whatever_stands_beside_it(
    record_type: RecordType, data: st.DataObject
) -> None:
    records = data.draw(st.lists(records_of(record_type), max_size=5))
    alone = [parse_records([record], record_type) for record in records]

    together = parse_records(records, record_type)

    rows = [row | {"position": at} for at, one in enumerate(alone) for row in one.table.to_pylist()]
    assert together.table.to_pylist() == rows
    assert [(r.position, r.reason, r.record) for r in together.rejects] == [
        (at, r.reason, r.record) for at, one in enumerate(alone) for r in one.rejects
    ]


def test_a_page_on_which_nothing_is_off_is_converted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    full = {field.source: VALUES[field.kind] for field in CAD_INCIDENTS.fields} | {"id": "i1"}
    records = [full, incident("i2"), incident("i3", zone={"new": 1}), incident("i4", lat=95)]
    expected = parse(*records, {"id": None}).table
    monkeypatch.setattr(parsing, "_parse_each", None)

    parsed = parse(*records)

    assert parsed.table.equals(expected)
    assert not parsed.rejects


def test_two_columns_may_come_of_one_field() -> None:
    record_type = record_type_of(RESOURCES["cad_incidents"].model_copy(update={"changed_field": "closed_at"}))
    record = incident() | {"closed_at": stamp(9)}

    (row,) = parse(record, record_type=record_type).table.to_pylist()

    assert row["updated_at"] == row["closed_at"] == instant(9)


@given(json_values)
def test_what_is_written_as_json_reads_back_the_same(value: Any) -> None:
    assume(is_unicode(all_texts(value)))

    assert json.loads(to_json(value)) == value


def all_texts(value: Any) -> str:
    """Return all texts of a JSON value, keys too, one after another."""
    if isinstance(value, dict):
        return "".join(key + all_texts(inner) for key, inner in value.items())
    if isinstance(value, list):
        return "".join(map(all_texts, value))
    return value if isinstance(value, str) else ""


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert to_json({"a\ud800": ["\udfff\U0001f600"]}) == '{"a\ufffd": ["\ufffd\U0001f600"]}'
