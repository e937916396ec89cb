"""Bytes to records: the array is found, and no single value costs its page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchlake.payload import NotJson, PayloadError, decode_payload


@pytest.mark.parametrize(
    ("body", "key", "envelope"),
    [
        (b'[{"id": 1}]', None, {}),
        (b'[{"id": 1}]', "data", {}),
        (b'{"data": [{"id": 1}]}', None, {}),
        (b'{"incidents": [{"id": 1}], "meta": {"page": 1}}', None, {"meta": {"page": 1}}),
        (b'{"links": [], "data": [{"id": 1}]}', "data", {"links": []}),
    ],
)
def test_records_are_found_bare_enveloped_or_by_their_key(
    body: bytes, key: str | None, envelope: dict[str, Any]
) -> None:
    payload = decode_payload(body, key)

    assert payload.records == [{"id": 1}]
    assert payload.envelope == envelope


@pytest.mark.parametrize(
    ("body", "key", "sentence"),
    [
        (b'{"a": [], "b": []}', None, "the body is an object with 2 arrays; set records_key"),
        (b'{"error": "no"}', None, "the body is an object with 0 arrays; set records_key"),
        (b'{"data": {}}', "data", "the body has no array named 'data'"),
        (b'{"rows": []}', "data", "the body has no array named 'data'"),
        (b'"secret"', None, "the body is a JSON string, not a list of records"),
        (b"null", None, "the body is a JSON null, not a list of records"),
        (b"true", None, "the body is a JSON boolean, not a list of records"),
        (b"12.5", None, "the body is a JSON number, not a list of records"),
    ],
)
def test_a_body_whose_records_are_not_clear_is_refused(body: bytes, key: str | None, sentence: str) -> None:
    with pytest.raises(PayloadError) as caught:
        decode_payload(body, key)

    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("body", [b"", b"<html>secret</html>", b'[{"id": 1}, {"id"', b"[" * 100_000, b"[1,]"])
def test_what_is_not_json_is_refused_without_quoting_it(body: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        decode_payload(body, None)

    assert str(caught.value) in {
        "the body is not JSON (JSONDecodeError)",
        "the body is not JSON (RecursionError)",
    }
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"NaN", None),
        (b"Infinity", None),
        (b"-Infinity", None),
        (b"1e999", None),
        (b"-1e999", None),
        (b"1" * 5000, None),
        (b"NaN, 123456789012345678901234567890", None),
        (b'"\\ud800"', "\ud800"),
        (b'"\xff\xfe"', "��"),
        (b'"\\u0000"', "\0"),
        (b'"a\r\n\tb\x00"', "a\r\n\tb\0"),
        (b"1.5", 1.5),
    ],
)
def test_a_sloppy_value_does_not_cost_its_page(written: bytes, value: Any) -> None:
    first, *_, last = decode_payload(b'[{"x": 1}, ' + written + b', {"id": "ok"}]', None).records[1:]

    assert (first, last) == (value, {"id": "ok"})


def test_integers_beyond_64_bits_are_exact_where_leniency_was_needed() -> None:
    assert decode_payload(b"[NaN, 123456789012345678901234567890]", None).records == [
        None,
        123456789012345678901234567890,
    ]


def test_a_byte_order_mark_is_no_trouble() -> None:
    assert decode_payload(b'\xef\xbb\xbf[{"id": 1}]', None).records == [{"id": 1}]


def test_of_a_doubled_key_the_last_counts() -> None:
    assert decode_payload(b'[{"id": 1, "id": 2}]', None).records == [{"id": 2}]
    assert decode_payload(b'[{"id": 1, "id": 2}, NaN]', None).records == [{"id": 2}, None]


def test_no_record_shows_in_a_repr() -> None:
    assert "secret" not in repr(decode_payload(b'{"data": ["secret"], "meta": "secret"}', None))


almost_json = st.text('[]{}",:0123456789eE+-.\\ud8nulltrefasNI ', max_size=40).map(str.encode)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=40) | almost_json)
def test_any_bytes_are_records_or_an_error_of_ours(body: bytes) -> None:
    try:
        payload = decode_payload(body, None)
    except PayloadError:
        return
    assert isinstance(payload.records, list)
    json.dumps(payload.records, allow_nan=False)
