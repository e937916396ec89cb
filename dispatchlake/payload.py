"""Bytes of a page to its records, the same way when fetched and when replayed.

What belongs here: finding the records in a body, and cutting some out of it. What does not: typing them
(`lake.parsing`) and deciding what comes next (`api.paging`).
"""

from __future__ import annotations

import gc
import json
import math
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from dispatchlake.model import Resource

_MOST_DIGITS = 4000
"""Python refuses to convert more than 4300, and would take the whole page with it."""

_YOUNG_OBJECTS = 50_000

_NOT_RECORDS = frozenset({"error", "errors", "warnings", "messages"})
"""Names of arrays that are about a listing, and none."""


class PayloadError(ValueError):
    """The body is not a page of records. The text never quotes the body."""


class NotJson(PayloadError):
    """The body is not JSON at all: cut off on its way, or another kind of page."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The records of one body, and whatever stood around them.

    Attributes:
        records: The items of the array, whatever their types.
        envelope: The surrounding object without the array; empty for a bare array.
    """

    records: Sequence[Any] = field(repr=False)
    envelope: dict[str, Any] = field(repr=False)


def decode_payload(body: bytes, records_key: str | None) -> Payload:
    """Decode a body into its records.

    A bare array is taken as it is. Of an object, the array under `records_key` is taken; with no key
    configured, the only array the object has.

    Raises:
        NotJson: The body cannot be decoded.
        PayloadError: No array that is clearly the records.
    """
    content = decode_json(body)
    if isinstance(content, list):
        return Payload(content, {})
    if not isinstance(content, dict):
        raise PayloadError(f"the body is a JSON {_kind(content)}, not a list of records")
    key = name_of_records(content, records_key)
    return Payload(content[key], {name: value for name, value in content.items() if name != key})


def expect_many_objects() -> None:
    """Have this process's collector of cycles look for some more seldom, from now on.

    Decoded records are hundreds of thousands of small objects, none in a cycle: looking took a tenth of a
    large load.
    """
    young, *older = gc.get_threshold()
    if 0 < young < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *older)


def decode_page(body: bytes, resource: Resource) -> Payload:
    """Decode a page of a listing, as `decode_payload` does."""
    return decode_payload(body, resource.records_key)


class Columns(Sequence[Any]):
    """Records that are kept as columns: one field of all can be had without the others."""

    @abstractmethod
    def values(self, field: str) -> list[Any]:
        """Return a field of each record, None where it is missing."""


def values_of(records: Sequence[Any], field: str) -> list[Any]:
    """Return a field of each record; None where it is missing, or the record is no object."""
    if isinstance(records, Columns):
        return records.values(field)
    return [record.get(field) if type(record) is dict else None for record in records]


def name_of_records(content: dict[str, Any], records_key: str | None) -> str:
    """Return the name of the array in an object that is the records.

    Raises:
        PayloadError: None clearly is.
    """
    key = records_key
    if key is None:
        arrays = [name for name, value in content.items() if isinstance(value, list)]
        if len(arrays) != 1:
            raise PayloadError(
                f"the body is an object with {len(arrays)} arrays; "
                "set records_key in the center's configuration to name the records"
            )
        key = arrays[0]
        if key in _NOT_RECORDS:
            raise PayloadError(f"the body is an object whose only array is named {key!r}")
    if not isinstance(content.get(key), list):
        raise PayloadError(f"the body has no array named {key!r}")
    return key


def cut_records(body: bytes, records_key: str | None, positions: Collection[int]) -> bytes:
    """Return a body without the records at some positions, every other byte of it as it was.

    Args:
        body: One that `decode_payload` takes.
        records_key: As for `decode_payload`.
        positions: Places in `Payload.records`, from 0.

    Raises:
        PayloadError: It is no page of records.
    """
    payload = decode_payload(body, records_key)
    text = body.decode("utf-8", errors="surrogateescape")
    try:
        spans = _spans_of_records(text, records_key)
    except (ValueError, IndexError, RecursionError) as error:
        raise PayloadError(f"the records cannot be told apart ({type(error).__name__})") from None
    if len(spans) != len(payload.records):
        raise PayloadError("the records cannot be told apart")
    if not spans:
        return body
    gone = set(positions)
    parts: list[str] = []
    for number, (start, end) in enumerate(spans):
        if number in gone:
            continue
        if parts:
            parts.append(text[spans[number - 1][1] : start])  # the comma and what stands around it
        parts.append(text[start:end])
    cut = text[: spans[0][0]] + "".join(parts) + text[spans[-1][1] :]
    return cut.encode("utf-8", errors="surrogateescape")


def _spans_of_records(text: str, records_key: str | None) -> list[tuple[int, int]]:
    """Return where each record stands in a body's text."""
    start = _after_space(text, 1 if text.startswith("\ufeff") else 0)
    if text[start] == "[":
        return _spans_of_items(text, start)
    arrays: dict[str, int] = {}
    place = _after_space(text, start + 1)
    while text[place] != "}":
        name, place = _DECODER.raw_decode(text, place)
        place = _after_space(text, _after_space(text, place) + 1)
        value, end = _DECODER.raw_decode(text, place)
        arrays.pop(name, None)  # of a name that stands twice the last counts
        if isinstance(value, list):
            arrays[name] = place
        place = _after_space(text, end)
        place = _after_space(text, place + 1) if text[place] == "," else place
    return _spans_of_items(text, arrays[records_key] if records_key is not None else min(arrays.values()))


def _spans_of_items(text: str, start: int) -> list[tuple[int, int]]:
    spans = []
    place = _after_space(text, start + 1)
    while text[place] != "]":
        _, end = _DECODER.raw_decode(text, place)
        spans.append((place, end))
        place = _after_space(text, end)
        place = _after_space(text, place + 1) if text[place] == "," else place
    return spans


def _after_space(text: str, place: int) -> int:
    while text[place] in " \t\n\r":
        place += 1
    return place


def decode_json(body: bytes) -> Any:
    """Decode JSON, strictly first; leniently only where strictness would lose a whole page.

    The lenient way takes what sloppy servers send: NaN, infinities and numbers of thousands of digits (as
    None), integers beyond 64 bits, lone surrogates, line breaks and other control characters as they are,
    and bytes that are not UTF-8 (replaced, so the record lands and the raw page keeps the original).
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(
            body.decode("utf-8-sig", errors="replace"),
            strict=False,
            parse_constant=lambda _name: None,
            parse_float=_finite,
            parse_int=_of_sane_length,
        )
    except RecursionError:
        raise NotJson("the body is not JSON, or nested too deeply: more than some 1,000 levels") from None
    except ValueError as error:
        # `error` would quote the body's surroundings; only its kind is safe to show.
        raise NotJson(f"the body is not JSON ({type(error).__name__})") from None


def _finite(digits: str) -> float | None:
    """Return the number; 1e999 is written as one, but is infinite to a double."""
    number = float(digits)
    return number if math.isfinite(number) else None


def _of_sane_length(digits: str) -> int | None:
    """Return the integer; None for one with more digits than Python converts."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string"}.get(type(value), "value")


_DECODER = json.JSONDecoder(
    strict=False, parse_constant=lambda _name: None, parse_float=_finite, parse_int=_of_sane_length
)
"""Reads what `decode_json` reads, and says where each value ends."""
