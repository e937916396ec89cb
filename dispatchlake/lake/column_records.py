"""A page's records decoded straight to Arrow columns, without a Python object for each value.

Decoding and typing are most of what reading a listing costs, and with Python objects they hold Python's lock
all the while. Arrow's JSON reader takes less time and no lock. It is used only where it is certain to come to
what `payload` comes to: a body with one array, of objects, without a field that is not known or a value of
another type than declared. Any other body is decoded by `payload`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json as pj

from dispatchlake.lake.parsing import RAW_TYPES
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.model import Resource
from dispatchlake.payload import Columns, Payload, PayloadError, decode_page, name_of_records

_ALL = "records"
"""Name under which the array is given to Arrow, which reads objects."""

_EXACT_BELOW = 2.0**53
"""From here on not every integer is a double, and Arrow would round where Python's way sets aside."""


class ColumnRecords(Columns):
    """The records of one body as columns; whoever asks for a record gets it decoded, as `payload` does.

    Attributes:
        columns: A struct with each field of the record type under its name at the source, of `RAW_TYPES`.
    """

    def __init__(self, columns: pa.StructArray, body: bytes, resource: Resource) -> None:
        self.columns = columns
        self._body = body
        self._resource = resource

    def values(self, field: str) -> list[Any]:
        """Return a field of each record; None where it is missing, as where it is null."""
        values: list[Any] = self.columns.field(field).to_pylist()
        return values

    @property
    def fields_with_values(self) -> frozenset[str]:
        """Return the fields that are not null in all records."""
        columns = zip(self.columns.type, self.columns.flatten(), strict=True)
        return frozenset(field.name for field, column in columns if column.null_count < len(column))

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._records[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._records)

    @functools.cached_property
    def _records(self) -> Sequence[Any]:
        return decode_page(self._body, self._resource).records


class ColumnDecoder:
    """Decodes the pages of a reading as `decode_columns` does, expecting the fields that they have named.

    Centers leave half of the fields out, and each that is expected takes time whether it comes or not. A page
    that names another one is decoded to objects, and the next ones are expected to name it too.
    """

    def __init__(self) -> None:
        self._named: dict[Resource, frozenset[str]] = {}

    def __call__(self, body: bytes, resource: Resource) -> Payload:
        """Decode a page of a listing. Raises what `decode_columns` does."""
        named = self._named.get(resource, frozenset())
        payload = decode_columns(body, resource, named)
        records = payload.records
        if not isinstance(records, ColumnRecords):
            more = frozenset().union(*(record for record in records if type(record) is dict))
            self._named[resource] = named | (more & _types(resource).keys())
        elif not named:
            self._named[resource] = records.fields_with_values
        return payload


def decode_columns(body: bytes, resource: Resource, named: frozenset[str] = frozenset()) -> Payload:
    """Decode a page of a listing as `payload.decode_page` does, its records as columns where that is safe.

    Args:
        body: The page.
        resource: The listing.
        named: Fields that may be columns; where another one is named, the records are objects. None given
            means all.

    Raises:
        NotJson: The body cannot be decoded.
        PayloadError: No array that is clearly the records.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    has_records = 0 <= start < end - len(b"[]")  # without any there is nothing to gain
    if has_records and (envelope := _envelope(body[:start] + b"[]" + body[end:], resource)) is not None:
        columns = _read(memoryview(body)[start:end], resource, named)
        if columns is not None and _is_text(body):
            return Payload(ColumnRecords(columns, body, resource), envelope)
    return decode_page(body, resource)


def _envelope(without_records: bytes, resource: Resource) -> dict[str, Any] | None:
    """Return what stands around the records, or None if it is not they that were taken out.

    What was taken out reached from the first bracket to the last, so if this is JSON and has an array, that
    is the one put in its place.
    """
    try:
        content = orjson.loads(without_records)
    except orjson.JSONDecodeError:
        return None
    if isinstance(content, list):
        return {}
    try:
        name = name_of_records(content, resource.records_key) if isinstance(content, dict) else None
    except PayloadError:
        return None
    return None if name is None else {key: value for key, value in content.items() if key != name}


def _read(array: memoryview, resource: Resource, named: frozenset[str]) -> pa.StructArray | None:
    options = _parse_options(resource, named)
    if options is None:
        return None
    # A line break at the end and none before that counts: so all of it is one block.
    text = b"".join((b'{"%s":' % _ALL.encode(), array, b"}\n"))
    read = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    try:
        table = pj.read_json(pa.BufferReader(text), read_options=read, parse_options=options)
    except pa.ArrowInvalid:
        return None
    rows = table[_ALL]
    if len(rows) != 1 or rows.null_count:  # brackets that close what we have opened, and open it again
        return None
    columns = rows.chunk(0).values
    is_same = not columns.null_count and all(
        _is_exact(columns.field(number))
        for number, field in enumerate(columns.type)
        if field.type == RAW_TYPES["number"]
    )
    return _completed(columns, _types(resource)) if is_same else None


def _completed(columns: pa.StructArray, types: dict[str, pa.DataType]) -> pa.StructArray:
    """Return the columns with those that were not read, of nulls."""
    if columns.type.num_fields == len(types):
        return columns
    read = {field.name: number for number, field in enumerate(columns.type)}
    return pa.StructArray.from_arrays(
        [
            columns.field(read[name]) if name in read else _nulls(of_type, len(columns))
            for name, of_type in types.items()
        ],
        names=list(types),
    )


@functools.lru_cache(maxsize=64)
def _nulls(of_type: pa.DataType, count: int) -> pa.Array:
    """Return so many nulls; made once for all pages, as each call of Arrow may wait for Python's lock."""
    return pa.nulls(count, of_type)


def _is_exact(numbers: pa.DoubleArray) -> bool:
    """Say whether each is a number in JSON and exactly what was sent: Arrow takes NaN, and rounds integers.

    And whether none is -0, which is an integer, and as such has no sign.
    """
    if numbers.null_count == len(numbers):
        return True
    values = (numbers.drop_null() if numbers.null_count else numbers).to_numpy()
    return bool(np.all(np.abs(values) < _EXACT_BELOW)) and not np.any(np.signbit(values) & (values == 0))


def _is_text(body: bytes) -> bool:
    """Say whether the body is UTF-8, which Arrow does not look for."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(maxsize=256)
def _types(resource: Resource) -> dict[str, pa.DataType]:
    """Return the type of each field of a listing, by its name at the source."""
    return {spec.source: RAW_TYPES[spec.kind] for spec in record_type_of(resource).fields}


@functools.lru_cache(maxsize=256)
def _parse_options(resource: Resource, named: frozenset[str]) -> pj.ParseOptions | None:
    """Return how Arrow is to read a listing; None where two columns are of one field."""
    types = _types(resource)
    if len(types) < len(record_type_of(resource).fields):
        return None
    fields = [(name, of_type) for name, of_type in types.items() if not named or name in named]
    return pj.ParseOptions(
        explicit_schema=pa.schema([(_ALL, pa.list_(pa.struct(fields)))]),
        newlines_in_values=False,
        unexpected_field_behavior="error",
    )
