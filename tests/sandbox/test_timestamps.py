"""One instant in every form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from sandbox.config import TimestampForm
from sandbox.timestamps import canonical, render
from tests.sandbox.vendor import Vendor, records

NewCenter = Callable[..., Vendor]

INSTANT = datetime(2024, 7, 1, 2, 34, 56, 789_012, tzinfo=UTC)

WRITTEN: dict[str, Any] = {
    "iso_z_ms": "2024-07-01T02:34:56.789Z",
    "iso_z": "2024-07-01T02:34:56Z",
    "iso_offset": "2024-06-30T20:34:56.789-06:00",
    "utc_name": "2024-07-01 02:34:56 UTC",
    "space_offset": "2024-06-30 20:34:56 -0600",
    "no_zone": "2024-07-01 02:34:56",
    "epoch": 1_719_801_296,
}


@pytest.mark.parametrize("form", WRITTEN)
def test_an_instant_is_written_in_the_form(form: TimestampForm) -> None:
    record = {"id": "a", "created_at": INSTANT, "closed_at": None, "units": ["E1"]}
    assert render(record, form) == record | {"created_at": WRITTEN[form]}


def test_mixed_gives_each_field_of_a_record_another_form() -> None:
    names = [f"{name}_at" for name in "abcdef"]
    found = render(dict.fromkeys(names, INSTANT), "mixed")
    forms = ("iso_z_ms", "iso_z", "iso_offset", "utc_name", "space_offset", "iso_z_ms")
    assert list(found.values()) == [WRITTEN[form] for form in forms]


def test_every_form_is_known_here() -> None:
    assert set(get_args(TimestampForm)) == {*WRITTEN, "mixed"}


def test_the_truth_is_written_to_the_microsecond_in_utc() -> None:
    assert canonical({"created_at": INSTANT.astimezone(None), "n": 1}) == {
        "created_at": "2024-07-01T02:34:56.789012+00:00",
        "n": 1,
    }


PATTERNS = {
    "iso_z_ms": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "iso_z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "iso_offset": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}-06:00",
    "utc_name": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
    "space_offset": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d -0600",
    "no_zone": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "epoch": r"\d{10}",
}


@pytest.mark.parametrize("form", PATTERNS)
@pytest.mark.parametrize("resource", ["incident_events", "cad_incidents"])
def test_every_time_of_a_listing_has_the_form(new_center: NewCenter, form: str, resource: str) -> None:
    center = new_center(timestamp_form=form)

    found = [
        value
        for record in records(center.get(resource))
        for name, value in record.items()
        if name.endswith("_at") and value is not None
    ]

    assert len(found) >= 20
    assert {type(value) for value in found} == {int if form == "epoch" else str}
    assert all(re.fullmatch(PATTERNS[form], str(value)) for value in found)


def test_a_listing_of_mixed_forms_has_several_in_each_record(new_center: NewCenter) -> None:
    for record in records(new_center(timestamp_form="mixed").get()):
        times = [value for name, value in record.items() if name.endswith("_at") and value]
        assert len({re.sub(r"\d", "0", text) for text in times}) == len(times) == 3


def test_the_form_is_of_the_wire_and_not_of_the_filters(new_center: NewCenter) -> None:
    center = new_center(timestamp_form="epoch")
    newest = max(record["updated_at"] for record in center.truth()["current"])
    assert len(center.listed(updated_since=newest)) == 1
