"""A list that changes while it is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sandbox.vendor import Vendor, ids, synthetic

NewCenter = Callable[..., Vendor]

HOURLY = {
    "dataset": synthetic(count=96, span_s=96 * 3600),
    "epoch": "2024-03-02T00:00:01Z",
    "churn_s": 3600,
    "order": "created_desc",
}
"""An incident every hour: 25 are there when a reading begins, and one comes before each further page."""


@pytest.mark.parametrize("form", ["link", "next_url", "meta_page", "pagy", "kaminari", "offset"])
def test_new_records_push_known_ones_to_the_next_page(new_center: NewCenter, form: str) -> None:
    center = new_center(**HOURLY, paging=form)

    first, second = center.get(), center.get(**{"offset": 10} if form == "offset" else {"page": 2})

    assert ids(second)[0] == ids(first)[-1]
    assert len(center.true_ids()) == 26


def test_a_cursor_stands_new_records(new_center: NewCenter) -> None:
    center = new_center(**HOURLY, paging="cursor")
    before = center.true_ids()

    listed = center.listed()

    assert len(listed) == len(set(listed))
    assert set(listed) == before, "what came at the front is behind the reader"


def test_the_first_page_alone_changes_nothing(new_center: NewCenter) -> None:
    center = new_center(**HOURLY)
    assert center.get().content == center.get().content
    assert len(center.true_ids()) == 25


def test_a_list_in_order_of_change_skips_what_moves_on(new_center: NewCenter) -> None:
    minute = "2024-03-01T09:{:02}:00Z".format
    moving = [
        {
            "visible_at": minute(at),
            "record": {"id": identity, "created_at": minute(0), "updated_at": minute(at)},
        }
        for identity, at in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a", 30)]
    ]
    center = new_center(
        dataset={"records": {"incident_events": moving}},
        epoch=minute(10), churn_s=1800, order="updated_asc", page_size=2,
    )  # fmt: skip

    # Before the second page, a changes and goes to the end: c moves up to the page that was read.
    assert center.listed() == ["a", "b", "d", "a"]
    assert center.true_ids() == {"a", "b", "c", "d"}


def test_another_center_keeps_its_own_time(new_center: NewCenter) -> None:
    moving, still = new_center(**HOURLY), new_center(**HOURLY | {"churn_s": 0})
    moving.pages()
    assert (len(moving.true_ids()), len(still.true_ids())) == (27, 25)
