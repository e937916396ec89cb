"""The one parser of timestamps: every form of the contract, nothing without a zone, UTC always."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake.timestamps import is_unparsed, parse_instants


def parse(*texts: str | None) -> list[datetime | None]:
    parsed: list[datetime | None] = parse_instants(pa.array(texts, pa.string())).to_pylist()
    return parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-15 10:30:00 UTC", "2024-01-15T10:30:00+00:00"),
        ("2024-01-15 10:30:00 -0500", "2024-01-15T15:30:00+00:00"),
        ("2024-01-15 10:30:00 +0000", "2024-01-15T10:30:00+00:00"),
        ("2024-01-15 10:30:00 -07:00", "2024-01-15T17:30:00+00:00"),
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00+00:00"),
        ("2024-01-15T10:30:00.000Z", "2024-01-15T10:30:00+00:00"),
        ("2025-05-23T00:08:17.426+00:00", "2025-05-23T00:08:17.426+00:00"),
        ("2025-05-23T00:08:17.426-06:00", "2025-05-23T06:08:17.426+00:00"),
        ("2024-01-15T10:30:00+0530", "2024-01-15T05:00:00+00:00"),
        ("2024-01-01 13:59:59 +1400", "2023-12-31T23:59:59+00:00"),
        ("2023-12-31T12:00:00-12:00", "2024-01-01T00:00:00+00:00"),
        ("2024-02-29 23:59:59 UTC", "2024-02-29T23:59:59+00:00"),
        ("2000-02-29 00:00:00 UTC", "2000-02-29T00:00:00+00:00"),
        ("1969-12-31 23:59:59 UTC", "1969-12-31T23:59:59+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31 23:59:59.999999 UTC", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_every_form_of_the_contract_becomes_the_same_instant_in_utc(text: str, expected: str) -> None:
    assert parse(text) == [datetime.fromisoformat(expected)]


@pytest.mark.parametrize("digits", range(1, 10))
def test_a_fraction_has_one_to_nine_digits_and_is_cut_at_microseconds(digits: int) -> None:
    fraction = "987654321"[:digits]
    microseconds = int(fraction.ljust(6, "0")[:6])

    assert parse(f"2024-01-15T10:30:00.{fraction}Z") == [
        datetime(2024, 1, 15, 10, 30, 0, microseconds, tzinfo=UTC)
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2024-01-15 10:30:00", id="no zone"),
        pytest.param("2024-01-15T10:30:00.000", id="no zone, ISO"),
        pytest.param("2024-01-15", id="a day"),
        pytest.param("2024-01-15 10:30 UTC", id="no seconds"),
        pytest.param("2024-01-15 10:30:00 EST", id="another zone's name"),
        pytest.param("2024-01-15 10:30:00 America/New_York", id="an IANA zone"),
        pytest.param("2024-01-15 10:30:00 utc", id="lower case"),
        pytest.param("2024-01-15T10:30:00.Z", id="a dot without a fraction"),
        pytest.param("2024-01-15T10:30:00.1234567890Z", id="ten digits"),
        pytest.param("2023-02-29 10:30:00 UTC", id="no leap year"),
        pytest.param("1900-02-29 10:30:00 UTC", id="no leap year either"),
        pytest.param("2024-04-31 10:30:00 UTC", id="31 April"),
        pytest.param("2024-13-01 10:30:00 UTC", id="month 13"),
        pytest.param("2024-00-10 10:30:00 UTC", id="month 0"),
        pytest.param("2024-01-00 10:30:00 UTC", id="day 0"),
        pytest.param("2024-01-15 24:00:00 UTC", id="hour 24"),
        pytest.param("2024-01-15 10:60:00 UTC", id="minute 60"),
        pytest.param("2024-01-15 10:30:60 UTC", id="second 60"),
        pytest.param("2024-01-15 10:30:00 +2400", id="offset of a day"),
        pytest.param("2024-01-15 10:30:00 +0560", id="offset of 60 minutes"),
        pytest.param("2024-01-15 10:30:00 +05", id="offset in hours"),
        pytest.param("0000-06-15 10:30:00 UTC", id="year 0"),
        pytest.param("0001-01-01 00:00:00 +1400", id="before year 1"),
        pytest.param("9999-12-31 23:59:59 -1200", id="after year 9999"),
        pytest.param("12024-01-15 10:30:00 UTC", id="five digits"),
        pytest.param(" 2024-01-15 10:30:00 UTC", id="leading space"),
        pytest.param("2024-01-15 10:30:00 UTC\n", id="trailing newline"),
        pytest.param("2024-01-15 10:30:00 UTC\0", id="trailing NUL"),
        pytest.param("٢٠٢٤-01-15 10:30:00 UTC", id="Arabic digits"),
        pytest.param("1705314600", id="unix seconds"),
        pytest.param("null", id="null as a text"),
        pytest.param("", id="empty"),
    ],
)
def test_what_is_not_a_time_with_a_zone_stays_null(text: str) -> None:
    beside = "2024-01-15 10:30:00 UTC"
    texts = pa.array([beside, text, None, beside], pa.string())

    instants = parse_instants(texts)

    assert instants.is_null().to_pylist() == [False, True, True, False]
    assert is_unparsed(texts, instants).to_pylist() == [False, True, False, False]


def test_null_and_nothing_at_all_are_no_trouble() -> None:
    assert parse() == []
    assert parse(None, None) == [None, None]


FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? ?(?:Z|UTC|([+-])(\d\d):?(\d\d))",
    re.ASCII,
)


def reference(text: str | None) -> datetime | None:
    """The same rule in plain Python, one text at a time."""
    match = FORM.fullmatch(text or "")
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    us = int((fraction or "").ljust(6, "0")[:6])
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), us, UTC)
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        return None


def two_digits(most: int) -> st.SearchStrategy[str]:
    return st.integers(0, most).map("{:02}".format)


offsets = st.tuples(
    st.sampled_from(["+", "-", " +", " -"]), two_digits(25), st.sampled_from(["", ":"]), two_digits(61)
).map("".join)
times = st.tuples(
    st.sampled_from(["0000", "0001", "1900", "1969", "1970", "2023", "2024", "9999"])
    | st.integers(0, 9999).map("{:04}".format),
    st.just("-"), two_digits(13), st.just("-"), two_digits(32), st.sampled_from("T "),
    two_digits(25), st.just(":"), two_digits(61), st.just(":"), two_digits(61),
    st.just("") | st.integers(0, 10**10).map(".{}".format),
    st.sampled_from(["", "Z", "UTC", " UTC", " Z", "z", " GMT"]) | offsets,
).map("".join)  # fmt: skip


@given(
    st.lists(
        st.none()
        | times
        | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
        | st.text("0123456789-: TZUC+.", max_size=30)
    )
)
def test_a_column_is_parsed_as_each_text_alone_would_be_in_plain_python(texts: list[str | None]) -> None:
    assert parse(*texts) == [reference(text) for text in texts]


def test_the_time_zone_of_the_machine_changes_nothing() -> None:
    texts = [
        "2024-03-10 02:30:00 UTC",
        "2024-03-10T02:30:00-05:00",
        "2024-11-03 01:30:00 -0400",
        "2024-03-10",
    ]
    script = """
import json, sys, pyarrow as pa
from dispatchlake.lake.timestamps import parse_instants
instants = parse_instants(pa.array(json.loads(sys.argv[1])))
print(json.dumps([instant and instant.isoformat() for instant in instants.to_pylist()]))
"""

    answer = subprocess.run(
        [sys.executable, "-c", script, json.dumps(texts)],
        env=os.environ | {"TZ": "America/New_York"}, capture_output=True, check=True, text=True,
    )  # fmt: skip

    assert json.loads(answer.stdout) == [
        "2024-03-10T02:30:00+00:00",
        "2024-03-10T07:30:00+00:00",
        "2024-11-03T05:30:00+00:00",
        None,
    ]
