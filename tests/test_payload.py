from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.payload import NotJson, PayloadError, decode_json, decode_payload


def test_a_bare_array_is_the_records() -> None:
    payload = decode_payload(b'[{"id": "1"}, 2, null]', None)

    assert payload.records == [{"id": "1"}, 2, None]
    assert payload.envelope == {}


@pytest.mark.parametrize("key", [None, "data"])
def test_the_array_of_an_envelope_is_the_records_and_the_rest_stands_around_them(key: str | None) -> None:
    payload = decode_payload(b'{"data": [1, 2], "meta": {"next": null}, "total": 2}', key)

    assert payload.records == [1, 2]
    assert payload.envelope == {"meta": {"next": None}, "total": 2}


def test_a_configured_key_chooses_among_arrays() -> None:
    payload = decode_payload(b'{"warnings": ["x"], "incidents": [1]}', "incidents")

    assert payload.records == [1]
    assert payload.envelope == {"warnings": ["x"]}


def test_a_bare_array_needs_no_key() -> None:
    assert decode_payload(b"[1]", "incidents").records == [1]


@pytest.mark.parametrize(
    ("body", "key", "why"),
    [
        (b"{}", None, "an object with 0 arrays; set records_key in the center's configuration"),
        (b'{"a": [], "b": []}', None, "an object with 2 arrays"),
        (b'{"a": []}', "b", "no array named 'b'"),
        (b'{"a": {"b": []}}', "a", "no array named 'a'"),
        (b'{"a": null}', "a", "no array named 'a'"),
        (b'{"errors": ["secret text"]}', None, "whose only array is named 'errors'"),
        (b'"secret text"', None, "a JSON string, not a list"),
        (b"12", None, "a JSON number"),
        (b"1.5", None, "a JSON number"),
        (b"true", None, "a JSON boolean"),
        (b"null", None, "a JSON null"),
    ],
)
def test_a_body_that_is_clearly_no_list_says_why_and_quotes_nothing(
    body: bytes, key: str | None, why: str
) -> None:
    with pytest.raises(PayloadError, match=why) as caught:
        decode_payload(body, key)

    assert not isinstance(caught.value, NotJson)
    assert "secret text" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"[1,", b"[1] [2]", b"<html>secret text", b"secret text", b"\xff\xfe", b"[" * 100_000],
)
def test_a_body_that_is_no_json_is_told_apart_and_not_quoted(body: bytes) -> None:
    with pytest.raises(NotJson, match="the body is not JSON") as caught:
        decode_payload(body, None)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"a": NaN, "b": Infinity, "c": -Infinity}]', [{"a": None, "b": None, "c": None}]),
        (b"[1e999, NaN]", [None, None]),
        (b"[18446744073709551616]", [2**64]),
        (b"[" + b"9" * 5000 + b"]", [None]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'["caf\xe9"]', ["caf\ufffd"]),
        (b'["a\tb"]', ["a\tb"]),
        (b'[{"a": 1, "a": 2}]', [{"a": 2}]),
    ],
)
def test_what_sloppy_servers_send_costs_no_page(body: bytes, expected: Any) -> None:
    assert decode_payload(body, None).records == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON))
def test_records_are_decoded_as_they_were_written(records: list[Any]) -> None:
    assert decode_payload(json.dumps(records).encode(), None).records == records
    assert decode_payload(json.dumps({"r": records}).encode(), None).records == records


@given(st.binary())
def test_any_bytes_are_json_or_one_error(body: bytes) -> None:
    try:
        decode_json(body)
    except NotJson:
        return


def test_records_do_not_show_in_a_repr() -> None:
    payload = decode_payload(b'{"r": ["secret text"], "note": "secret text"}', None)

    assert "secret" not in repr(payload)
