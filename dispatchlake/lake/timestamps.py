"""The one parser of the vendor's timestamps: text to aware UTC, a whole column at a time.

Takes every form the contract names: `2024-01-15 10:30:00 UTC`, `... -0500`, ISO 8601 with Z or an offset,
with or without a fraction (digits beyond microseconds are cut). A text without a zone is not a time: it
stays null, and the caller quarantines its record. DuckDB never casts a vendor's text: it would drop an
offset without a word.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

INSTANT = pa.timestamp("us", tz="UTC")

_FORM = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})[T ](?P<time>\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,9}))?"
    r" ?(?:Z|UTC|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):?(?P<minutes>[0-5]\d))$"
)
_US_PER_MINUTE = 60_000_000

_FIRST = pa.scalar(datetime.min.replace(tzinfo=UTC), INSTANT)
_LAST = pa.scalar(datetime.max.replace(tzinfo=UTC), INSTANT)
"""An offset may carry a time out of the years that Python has; DuckDB would hand it back as a text."""


def parse_instants(texts: pa.StringArray) -> pa.TimestampArray:
    """Parse a column of texts into UTC instants of microseconds; null where the text is not one.

    Null in, null out: compare `is_null` of both to find what could not be parsed.
    """
    if texts.null_count == len(texts):  # as many a column is, all of it
        return pa.nulls(len(texts), INSTANT)
    instants = _parse_iso(texts)
    return _parse_any(texts) if instants is None else instants


def _parse_iso(texts: pa.StringArray) -> pa.TimestampArray | None:
    """Parse a column that is all `2024-01-15T10:30:00.123Z`, as most are; None where one is not."""
    lengths = pc.binary_length(texts)
    is_form = pc.and_(
        pc.ends_with(texts, "Z"), pc.and_(pc.greater_equal(lengths, 20), pc.less_equal(lengths, 27))
    )
    if not pc.all(is_form).as_py() or pc.any(pc.starts_with(texts, "0000")).as_py():
        return None
    try:
        return texts.cast(INSTANT)
    except pa.ArrowInvalid:
        return None


def _parse_any(texts: pa.StringArray) -> pa.TimestampArray:
    parts = pc.extract_regex(texts, pattern=_FORM)
    date, clock, fraction, sign, hours, minutes = (
        pc.struct_field(parts, name) for name in ("date", "time", "fraction", "sign", "hours", "minutes")
    )
    date = pc.if_else(pc.starts_with(date, "0000"), pa.scalar(None, pa.string()), date)  # Arrow has that year
    microseconds = pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 6, "0"), 0, 6)
    local = _cast_each(
        pc.binary_join_element_wise(pc.binary_join_element_wise(date, clock, "T"), microseconds, ".")
    )
    offset_minutes = pc.add(pc.multiply(_integers(hours), 60), _integers(minutes))
    signed = pc.if_else(pc.equal(sign, "-"), pc.negate(offset_minutes), offset_minutes)
    utc_us = pc.subtract(local.cast(pa.int64()), pc.multiply(signed, _US_PER_MINUTE))
    instants = utc_us.cast(INSTANT)
    is_known = pc.and_(pc.greater_equal(instants, _FIRST), pc.less_equal(instants, _LAST))
    return pc.if_else(is_known, instants, pa.scalar(None, INSTANT))


def _integers(digits: pa.StringArray) -> pa.Int64Array:
    """Return the digits as numbers; an absent offset (Z, UTC) is an empty text and counts as zero."""
    return pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64())


def _cast_each(naive: pa.StringArray) -> pa.TimestampArray:
    """Cast normalised texts; a day or hour that does not exist becomes null instead of failing the column."""
    try:
        return naive.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return pa.array([_or_none(text) for text in naive.to_pylist()], pa.timestamp("us"))


def _or_none(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def is_unparsed(texts: pa.Array, instants: pa.Array) -> Any:
    """Return where a text was given and no instant came of it."""
    return pc.and_(pc.is_valid(texts), pc.is_null(instants))
