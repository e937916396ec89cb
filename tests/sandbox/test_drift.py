"""Records that stray from what was agreed: once, by a fault, or always, by the center's configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.sandbox.vendor import Vendor, records, synthetic

NewCenter = Callable[..., Vendor]

KINDS = ("unknown_fields", "missing_optional", "wrong_types", "nan", "invalid_utf8")


def drifted(new_center: NewCenter, kind: str, *, is_fault: bool) -> tuple[httpx.Response, httpx.Response]:
    """Return a page as it should be, and as it comes."""
    center = new_center(page_size=50, dataset=synthetic(45))
    usual = center.get()
    if is_fault:
        center.fault(kind)
    else:
        center.patch(drift=[kind])
    return usual, center.get()


by_fault_or_configuration = pytest.mark.parametrize("is_fault", [True, False], ids=["fault", "always"])


@by_fault_or_configuration
def test_fields_may_come_that_nobody_knows(new_center: NewCenter, *, is_fault: bool) -> None:
    usual, found = drifted(new_center, "unknown_fields", is_fault=is_fault)

    new = [set(after) - set(before) for before, after in pairs(usual, found)]

    assert new == [{"schema_revision", "responders"}] * 45


@by_fault_or_configuration
def test_optional_fields_may_be_missing(new_center: NewCenter, *, is_fault: bool) -> None:
    usual, found = drifted(new_center, "missing_optional", is_fault=is_fault)
    assert [set(before) - set(after) for before, after in pairs(usual, found)] == [
        {"audio_call_ended_at", "chatroom_url"}
    ] * 45


@by_fault_or_configuration
def test_one_record_in_ten_may_have_a_wrong_type(new_center: NewCenter, *, is_fault: bool) -> None:
    usual, found = drifted(new_center, "wrong_types", is_fault=is_fault)

    wrong = {
        index: {name: value for name, value in after.items() if value != before[name]}
        for index, (before, after) in enumerate(pairs(usual, found))
        if after != before
    }

    assert wrong == {
        0: {"updated_at": "yesterday"},
        10: {"created_at": None},
        20: {"is_audio_live": {"nested": True}},
        30: {"id": True},
        40: {"updated_at": "yesterday"},
    }


@by_fault_or_configuration
def test_a_number_may_be_none(new_center: NewCenter, *, is_fault: bool) -> None:
    _usual, found = drifted(new_center, "nan", is_fault=is_fault)

    assert b'"confidence":NaN' in found.content
    assert all(math.isnan(record["confidence"]) for record in records(found)), "Python's reader is lenient"
    with pytest.raises(ValueError, match="NaN"):
        json.loads(found.content, parse_constant=refuse)


@by_fault_or_configuration
def test_text_may_be_in_another_encoding(new_center: NewCenter, *, is_fault: bool) -> None:
    _usual, found = drifted(new_center, "invalid_utf8", is_fault=is_fault)

    with pytest.raises(UnicodeDecodeError):
        found.content.decode()
    assert all(record["note"] == "café" for record in json.loads(found.content.decode("latin-1")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_strays_once(new_center: NewCenter, kind: str) -> None:
    center = new_center()
    usual = center.get().content
    center.fault(kind)

    assert center.get().content != usual
    assert center.get().content == usual


def test_the_truth_does_not_stray(new_center: NewCenter) -> None:
    center = new_center()
    before = center.truth()["current"]
    center.patch(drift=["wrong_types", "unknown_fields"])
    center.get()
    assert center.truth()["current"] == before


def test_several_drifts_come_together(new_center: NewCenter) -> None:
    center = new_center(drift=["unknown_fields", "missing_optional"])
    first = records(center.get())[0]
    assert "responders" in first
    assert "chatroom_url" not in first


def pairs(usual: httpx.Response, found: httpx.Response) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(records(usual), records(found), strict=True))


def refuse(constant: str) -> float:
    raise ValueError(constant)
