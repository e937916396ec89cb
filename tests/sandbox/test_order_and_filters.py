"""In which order a listing comes, and what its filters let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.vendor import Vendor, inline

NewCenter = Callable[..., Vendor]

SECOND = "2024-03-01T10:00:00Z"


def record(identity: str, created_at: str, updated_at: str) -> dict[str, Any]:
    return {"id": identity, "created_at": created_at, "updated_at": updated_at}


def at(minute: int) -> str:
    return f"2024-03-01T09:{minute:02}:00Z"


FIVE = inline(
    record("c", at(1), at(9)),
    record("a", at(2), at(8)),
    record("e", at(3), at(5)),
    record("b", at(3), at(5)),
    record("d", at(4), at(6)),
)


@pytest.mark.parametrize(
    ("order", "listed"),
    [
        ("created_asc", "cabed"),
        ("created_desc", "debac"),
        ("updated_asc", "bedac"),
        ("updated_desc", "cadeb"),
        ("id", "abcde"),
    ],
)
def test_a_listing_is_ordered_and_ids_break_ties(new_center: NewCenter, order: str, listed: str) -> None:
    center = new_center(dataset=FIVE, order=order, page_size=2)
    assert "".join(center.listed()) == listed


@pytest.mark.parametrize(
    ("since", "until", "listed"),
    [
        (at(6), None, "acd"),
        (None, at(6), "bde"),
        (at(5), at(6), "bde"),
        (at(6), at(6), "d"),
        (at(7), at(7), ""),
        (at(10), None, ""),
        ("2024-03-01T03:06:00-06:00", None, "acd"),
        ("2024-03-01 09:06:00 UTC", None, "acd"),
        ("2024-03-01T09:06:00", None, "acd"),
    ],
)
def test_filters_are_inclusive_at_both_ends(
    new_center: NewCenter, since: str | None, until: str | None, listed: str
) -> None:
    center = new_center(dataset=FIVE, order="id", page_size=2)
    asked = {"updated_since": since, "updated_before": until}

    found = center.listed(**{name: value for name, value in asked.items() if value})

    assert "".join(found) == listed


def test_all_of_one_second_come_through_a_filter_of_that_second(new_center: NewCenter) -> None:
    together = [record(f"r{index:03}", at(0), SECOND) for index in range(300)]
    before, after = (
        record("before", at(0), "2024-03-01T09:59:59Z"),
        record("after", at(0), "2024-03-01T10:00:01Z"),
    )
    center = new_center(dataset=inline(before, *together, after), page_size=70)

    assert len(center.listed()) == 302
    found = center.listed(updated_since=SECOND, updated_before=SECOND)
    assert sorted(found) == [one["id"] for one in together]


def test_the_filters_may_have_other_names(new_center: NewCenter) -> None:
    center = new_center(dataset=FIVE, order="id", since_param="from", until_param="to")

    assert "".join(center.listed(**{"from": at(5), "to": at(6)})) == "bde"
    assert "".join(center.listed(updated_since=at(6))) == "abcde", "an unknown filter changes nothing"


def test_the_filters_may_go_by_creation(new_center: NewCenter) -> None:
    center = new_center(dataset=FIVE, order="id", filters="by_created_at")
    assert "".join(center.listed(updated_since=at(2), updated_before=at(3))) == "abe"


def test_the_filters_may_be_ignored(new_center: NewCenter) -> None:
    center = new_center(dataset=FIVE, order="id", filters="ignored")
    assert "".join(center.listed(updated_since="2999-01-01T00:00:00Z")) == "abcde"


@pytest.mark.parametrize("text", ["yesterday", "", "1709283600"])
def test_a_filter_that_cannot_be_read_changes_nothing(new_center: NewCenter, text: str) -> None:
    center = new_center(dataset=FIVE, order="id")
    assert "".join(center.listed(updated_since=text)) == "abcde"


def test_a_filter_sees_the_newest_version_alone(new_center: NewCenter) -> None:
    center = new_center(
        dataset=inline(record("a", at(1), at(1)), record("a", at(1), at(5)), record("b", at(1), at(2)))
    )
    assert center.listed(updated_before=at(3)) == ["b"]
