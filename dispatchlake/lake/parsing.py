"""Decoded records to a typed Arrow table, a column at a time; what cannot be typed is set aside.

Never raises on any JSON value. A record that is not an object, lacks a required field or has a field of
another type is rejected with a reason that names the field and never its value; the rest of its page lands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.record_types import Field, Kind, RecordType
from dispatchlake.lake.timestamps import INSTANT, is_unparsed, parse_instants
from dispatchlake.lake.url_queries import column_without_queries, without_queries

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "instant": INSTANT,
    "texts": pa.list_(pa.string()),
    "json": pa.string(),
}

_JSON_TYPES: dict[Kind, frozenset[type]] = {
    "text": frozenset({str, type(None)}),
    "boolean": frozenset({bool, type(None)}),
    "integer": frozenset({int, type(None)}),
    "number": frozenset({float, int, type(None)}),
    "instant": frozenset({str, type(None)}),
    "texts": frozenset({list, type(None)}),
    "json": frozenset({str, type(None)}),
}

RAW_TYPES = ARROW_TYPES | {"instant": pa.string()}
"""What a value is converted to first, and looked at as."""

_LENIENT = frozenset({"integer", "number", "texts"})
"""Kinds of which Arrow takes more than JSON's own type: 1.5 as 1, true as 1.0, "ab" as ["a", "b"]."""

_REFUSALS = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)

_A_FEW = 500
"""Records that are looked at one by one when something is off with one of them."""

_NOUNS: dict[Kind, str] = {
    "text": "a text",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "instant": "a time with a zone",
    "texts": "a list of texts",
    "json": "anything",
}

_COORDINATE_LIMITS_DEGREES = {"lat": 90.0, "lng": 180.0}


@dataclass(frozen=True, slots=True)
class Reject:
    """One record set aside.

    Attributes:
        position: Where it stood among the records, from 0.
        reason: Why, naming the field and never its value.
        record: The record as JSON.
    """

    position: int
    reason: str
    record: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of some records: `table` has the fields' columns, `extra` and `position`."""

    table: pa.Table
    rejects: list[Reject]

    def moved_on(self, by: int) -> Parsed:
        """Return the same of records that stood behind so many others."""
        rejects = [replace(reject, position=reject.position + by) for reject in self.rejects]
        return Parsed(counted_on(self.table, "position", by), rejects)


def counted_on(table: pa.Table, name: str, by: int) -> pa.Table:
    """Return a table whose column of that name counts from a later number."""
    if not by:
        return table
    return table.set_column(table.schema.get_field_index(name), name, pc.add(table[name], by))


def parse_records(records: Sequence[Any], record_type: RecordType) -> Parsed:
    """Type the records of some pages.

    Those among which nothing is off, as among nearly all, are converted at once, which takes a fifth of the
    time; the other way looks at each value of a few records around the one that is off. Both come to the
    same.
    """
    parsed = _parse_at_once(records, record_type)
    if parsed is not None:
        return parsed
    if len(records) <= _A_FEW:
        return _parse_each(records, record_type)
    return joined(
        [
            parse_records(records[start : start + _A_FEW], record_type).moved_on(start)
            for start in range(0, len(records), _A_FEW)
        ]
    )


def joined(parts: Sequence[Parsed]) -> Parsed:
    """Return what became of some records and of those after them, as one."""
    if len(parts) == 1:
        return parts[0]
    rejects = [reject for part in parts for reject in part.rejects]
    return Parsed(pa.concat_tables([part.table for part in parts]), rejects)


def _parse_at_once(records: Sequence[Any], record_type: RecordType) -> Parsed | None:
    """Convert the records with Arrow alone; None where it would refuse one, or take one too leniently."""
    if set(map(type, records)) != {dict}:
        return None
    structure = pa.struct({spec.source: RAW_TYPES[spec.kind] for spec in record_type.fields})
    try:
        raw = pa.array(records, structure)
    except _REFUSALS:
        return None
    columns = _typed(raw, record_type)
    if columns is None:
        return None
    for spec in record_type.fields:
        is_any = columns[spec.name].null_count < len(records)
        if spec.kind in _LENIENT and is_any and not _types_of(records, spec.source) <= _JSON_TYPES[spec.kind]:
            return None
    known = frozenset(spec.source for spec in record_type.fields)
    extras = [] if frozenset().union(*records) <= known else _extras(records, known)
    return Parsed(_table(columns, extras, list(range(len(records)))), [])


def parse_columns(raw: pa.StructArray, record_type: RecordType) -> Parsed | None:
    """Type records that were decoded to columns of `RAW_TYPES` and have no other field.

    Returns:
        Parsed: As `parse_records` of the same records; None where something is off with one of them.
    """
    columns = _typed(raw, record_type)
    return None if columns is None else Parsed(_table(columns, [], list(range(len(raw)))), [])


def _typed(raw: pa.StructArray, record_type: RecordType) -> dict[str, pa.Array] | None:
    """Return the columns of a record type, from those of its sources; None where one is not plain."""
    sources = dict(zip(raw.type.names, raw.flatten(), strict=True))
    columns: dict[str, pa.Array] = {}
    for spec in record_type.fields:
        column = sources[spec.source]
        if column.type != RAW_TYPES[spec.kind]:  # two fields of one source, as a center may configure it
            return None
        if not _is_plain(column, spec):
            return None
        if spec.kind == "instant":
            column, texts = parse_instants(column), column
            if pc.any(is_unparsed(texts, column)).as_py():
                return None
        columns[spec.name] = column_without_queries(column) if spec.has_urls else column
    return columns


def _is_plain(column: pa.Array, spec: Field) -> bool:
    """Say whether a converted column has no value or null that is not allowed."""
    if spec.required and column.null_count:
        return False
    if column.null_count == len(column):
        return True
    if spec.kind in {"text", "texts"} and _has_nul(column.flatten() if spec.kind == "texts" else column):
        return False
    if not spec.is_id:
        return True
    return not (pc.any(pc.equal(column, "")).as_py() or _has(column, "\ufffd"))


def _types_of(records: Sequence[dict[str, Any]], name: str) -> set[type]:
    """Return the types of a field's values; None's where it is missing."""
    try:
        return set(map(type, map(itemgetter(name), records)))  # without a line of Python for each
    except KeyError:
        return {type(record.get(name)) for record in records}


def _parse_each(records: Sequence[Any], record_type: RecordType) -> Parsed:
    reasons: dict[int, str] = {
        position: "the record is not an object"
        for position, record in enumerate(records)
        if type(record) is not dict
    }
    positions = [position for position in range(len(records)) if position not in reasons]
    rows: list[dict[str, Any]] = [records[position] for position in positions] if reasons else list(records)
    columns: dict[str, pa.Array] = {}
    for spec in record_type.fields:
        column, problems = _parse_column([row.get(spec.source) for row in rows], spec)
        columns[spec.name] = column_without_queries(column) if spec.has_urls else column
        for index, reason in problems.items():
            reasons.setdefault(positions[index], reason)
    extras = _extras(rows, frozenset(spec.source for spec in record_type.fields))
    table = _table(columns, extras, positions)
    if reasons:
        table = table.filter(pc.invert(pc.is_in(table["position"], pa.array(list(reasons), pa.int64()))))
    rejects = [
        Reject(position, reason, without_queries(to_json(records[position])))
        for position, reason in sorted(reasons.items())
    ]
    return Parsed(table, rejects)


def _table(columns: dict[str, pa.Array], extras: list[dict[str, Any]], positions: list[int]) -> pa.Table:
    """Complete the columns; no extras at all may be given as an empty list."""
    extras = _take_out_of_range(columns, extras)
    texts = [without_queries(to_json(extra)) if extra else None for extra in extras]
    columns["extra"] = pa.array(texts, pa.string()) if texts else pa.nulls(len(positions), pa.string())
    columns["position"] = pa.array(positions, pa.int64())
    return pa.table(columns)


def _parse_column(values: list[Any], spec: Field) -> tuple[pa.Array, dict[int, str]]:
    """Return the typed column and, by index, why a value could not be typed (null there)."""
    if spec.is_id:
        # An id is text; a server that sends numbers is taken at its word. True and 1.0 are no ids, a number
        # beyond 64 bits may have been rounded on its way, and an empty text identifies nothing.
        values = [
            str(value) if type(value) is int and value.bit_length() <= 64 else None if value == "" else value
            for value in values
        ]
    problems = _wrong_types(values, spec)
    if spec.is_id:
        # Bytes that were no text have been replaced: two ids may have become one.
        wrong = f"{spec.source}: not {_NOUNS[spec.kind]}"
        problems |= {
            index: wrong for index, value in enumerate(values) if type(value) is str and "\ufffd" in value
        }
    if problems:
        values = [None if index in problems else value for index, value in enumerate(values)]
    if spec.kind == "instant":
        texts = pa.array(values, pa.string())
        column = parse_instants(texts)
        for index in pc.indices_nonzero(is_unparsed(texts, column)).to_pylist():
            problems[index] = f"{spec.source}: not {_NOUNS[spec.kind]}"
    else:
        column = pa.array(values, ARROW_TYPES[spec.kind])
    if spec.required and column.null_count:
        for index in pc.indices_nonzero(pc.is_null(column)).to_pylist():
            problems.setdefault(index, f"{spec.source}: missing")
    return column, problems


def _wrong_types(values: list[Any], spec: Field) -> dict[int, str]:
    """Return, by index, what cannot be a value of the field; looks closer only where something is off."""
    allowed = _JSON_TYPES[spec.kind]
    if set(map(type, values)) <= allowed and _is_convertible(values, spec.kind):
        return {}
    wrong = f"{spec.source}: not {_NOUNS[spec.kind]}"
    return {
        index: wrong
        for index, value in enumerate(values)
        if type(value) not in allowed or not _is_convertible([value], spec.kind)
    }


def _is_convertible(values: list[Any], kind: Kind) -> bool:
    """Say whether Arrow and DuckLake take the values.

    Arrow refuses lone surrogates, huge integers and mixed lists. DuckLake cannot compare a text that holds
    a NUL with the bounds of its files: such an id would fail the whole load.
    """
    if kind == "boolean":
        return True
    try:
        array = pa.array(values, pa.string() if kind == "instant" else ARROW_TYPES[kind])
    except _REFUSALS:
        return False
    if kind not in {"text", "texts"}:
        return True
    return not _has_nul(array.flatten() if kind == "texts" else array)


def _has_nul(texts: pa.StringArray) -> bool:
    return _has(texts, "\0")


def _has(texts: pa.StringArray, character: str) -> bool:
    """Say whether a text has a character; looks at each of them only where the bytes of all could have it."""
    data = texts.buffers()[2]
    if data is None or not data.size:
        return False
    octets, first = np.frombuffer(data, np.uint8), character.encode()[0]
    if not octets.min() <= first <= octets.max():
        return False
    return bool(pc.any(pc.match_substring(texts, character)).as_py())


def _extras(rows: Iterable[dict[str, Any]], known: frozenset[str]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row.keys() - known} if row.keys() - known else {} for row in rows]


def _take_out_of_range(columns: dict[str, pa.Array], extras: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move coordinates that no place on Earth has into `extra`: nothing lost, nothing invented."""
    for name, limit in _COORDINATE_LIMITS_DEGREES.items():
        if name not in columns:
            continue
        is_outside = pc.fill_null(pc.invert(pc.less_equal(pc.abs(columns[name]), limit)), fill_value=False)
        for index in pc.indices_nonzero(is_outside).to_pylist():
            extras = extras or [{}] * len(is_outside)
            extras[index] = {**extras[index], name: columns[name][index].as_py()}
        columns[name] = pc.if_else(is_outside, pa.scalar(None, pa.float64()), columns[name])
    return extras


def to_json(value: Any) -> str:
    """Return the value as JSON with sorted keys; takes what a lenient decoder may have let through.

    A lone surrogate becomes U+FFFD: DuckDB refuses its escape, and the raw page keeps it.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps("nested too deeply to be written, or a number too large; see the raw page")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
