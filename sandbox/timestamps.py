"""One instant in every form the vendor is known, or might be expected, to write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from sandbox.config import TimestampForm

_CENTRAL = timezone(timedelta(hours=-6))


def _iso_z_ms(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _iso_z(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _iso_offset(instant: datetime) -> str:
    return instant.astimezone(_CENTRAL).isoformat(timespec="milliseconds")


def _utc_name(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def _space_offset(instant: datetime) -> str:
    return f"{instant.astimezone(_CENTRAL):%Y-%m-%d %H:%M:%S %z}"


def _no_zone(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _epoch(instant: datetime) -> int:
    return int(instant.timestamp())


_FORMS: Mapping[str, Callable[[datetime], str | int]] = {
    "iso_z_ms": _iso_z_ms,
    "iso_z": _iso_z,
    "iso_offset": _iso_offset,
    "utc_name": _utc_name,
    "space_offset": _space_offset,
    "no_zone": _no_zone,
    "epoch": _epoch,
}
_MIXED = ("iso_z_ms", "iso_z", "iso_offset", "utc_name", "space_offset")


def render(record: Mapping[str, Any], form: TimestampForm) -> dict[str, Any]:
    """Return the record with its instants written in the form; `mixed` gives each field another one."""
    if form == "mixed":
        return {
            name: _FORMS[_MIXED[index % len(_MIXED)]](value) if isinstance(value, datetime) else value
            for index, (name, value) in enumerate(record.items())
        }
    write = _FORMS[form]
    return {name: write(value) if isinstance(value, datetime) else value for name, value in record.items()}


def canonical(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record as the truth endpoint shows it: ISO 8601 in UTC, to the microsecond."""
    return {
        name: value.astimezone(UTC).isoformat(timespec="microseconds")
        if isinstance(value, datetime)
        else value
        for name, value in record.items()
    }
