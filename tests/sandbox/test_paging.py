"""Every form a listing may be paged in: walked as it demands, it shows each record once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import get_args

import httpx
import pytest

from sandbox.config import PagingForm
from tests.sandbox.vendor import Vendor, ids, records, synthetic

NewCenter = Callable[..., Vendor]

FORMS = get_args(PagingForm)
ONE_PAGE = {"array", "page_ignored"}
ENDED_BY_AN_EMPTY_PAGE = {"pagy_countless", "page_unnamed", "offset"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, 20, 25])
def test_a_walk_shows_every_record_exactly_once(new_center: NewCenter, form: str, count: int) -> None:
    center = new_center(paging=form, dataset=synthetic(count))

    pages = center.pages("cad_incidents")

    listed = [identity for page in pages for identity in ids(page)]
    assert len(listed) == len(set(listed)) == count
    assert set(listed) == center.true_ids("cad_incidents")
    full = 1 if form in ONE_PAGE else max(1, -(-count // 10))
    empty_end = form in ENDED_BY_AN_EMPTY_PAGE and count > 0
    assert len(pages) == full + empty_end


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ONE_PAGE])
def test_a_filtered_walk_stays_within_the_filter(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    since = sorted(record["updated_at"] for record in center.truth()["current"])[3]

    listed = center.listed(updated_since=since)

    assert len(listed) == len(set(listed)) == 22


def test_an_ignored_page_number_gets_the_same_listing_again(new_center: NewCenter) -> None:
    center = new_center(paging="page_ignored")

    pages = [center.get(**params) for params in ({}, {"page": 1}, {"page": 2}, {"page": 99, "per_page": 3})]

    assert len({page.content for page in pages}) == 1
    assert set(ids(pages[0])) == center.true_ids()
    assert "link" not in pages[0].headers


def test_a_page_size_is_what_is_asked_for_up_to_the_cap(new_center: NewCenter) -> None:
    center = new_center(page_size_cap=15)

    assert [len(records(center.get(per_page=size))) for size in (1, 15, 16, 1000, 0)] == [1, 15, 15, 15, 1]
    assert len(records(center.get())) == 10
    assert len(records(center.get(limit=7))) == 7


def test_the_cap_holds_for_the_page_size_of_the_center_too(new_center: NewCenter) -> None:
    assert len(records(new_center(page_size=20, page_size_cap=15).get())) == 15


def test_an_unreadable_page_number_is_the_first_page(new_center: NewCenter) -> None:
    center = new_center(paging="page_unnamed")
    assert {tuple(ids(center.get(page=text))) for text in ("1", "0", "-2", "x", "")} == {
        tuple(ids(center.get()))
    }


@pytest.mark.parametrize(
    "form", ["link", "next_url", "meta_page", "pagy", "pagy_countless", "kaminari", "page_unnamed"]
)
def test_pages_are_counted_from_0_where_that_is_asked_for(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form, first_page=0)

    pages = [ids(center.get(**params)) for params in ({}, {"page": 0}, {"page": 1}, {"page": 2}, {"page": 3})]

    assert pages[0] == pages[1]
    assert [len(page) for page in pages] == [10, 10, 10, 5, 0]
    assert {identity for page in pages for identity in page} == center.true_ids()


def test_what_is_named_of_pages_counts_from_0_too(new_center: NewCenter) -> None:
    answers = {
        form: new_center(paging=form, first_page=0).get(page=1) for form in ("link", "meta_page", "kaminari")
    }

    assert httpx.URL(answers["link"].links["next"]["url"]).params["page"] == "2"
    assert answers["meta_page"].json()["meta"] == {"current_page": 1, "next_page": 2, "total_count": 25}
    assert [answers["kaminari"].headers[name] for name in ("x-page", "x-next-page", "x-total-pages")] == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.parametrize("form", ["link", "next_url"])
def test_a_link_keeps_the_query_of_the_request(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)

    second = center.pages(per_page=4, updated_since="2024-03-01T00:00:00+00:00")[1]

    assert dict(second.url.params) == {
        "per_page": "4",
        "updated_since": "2024-03-01T00:00:00+00:00",
        "page": "2",
    }


def test_the_last_page_names_no_next_one(new_center: NewCenter) -> None:
    last = {form: new_center(paging=form).pages()[-1] for form in ("link", "next_url", "meta_page", "cursor")}

    assert "link" not in last["link"].headers
    assert last["next_url"].json()["links"] == {"next": None}
    assert last["meta_page"].json()["meta"] == {"current_page": 3, "next_page": None, "total_count": 25}
    assert (last["cursor"].json()["next_cursor"], last["cursor"].json()["has_more"]) == (None, False)


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ("pagy", {"current-page": "2", "page-limit": "10", "total-pages": "3", "total-count": "25"}),
        ("pagy_old", {"current-page": "2", "page-items": "10", "total-pages": "3", "total-count": "25"}),
        ("pagy_countless", {"current-page": "2", "page-limit": "10"}),
        (
            "kaminari",
            {"x-page": "2", "x-per-page": "10", "x-total-pages": "3", "x-total": "25", "x-next-page": "3"},
        ),
        ("page_unnamed", {}),
        ("offset", {}),
    ],
)
def test_a_page_has_the_headers_of_its_form_and_no_others(
    new_center: NewCenter, form: str, headers: dict[str, str]
) -> None:
    answer = new_center(paging=form).get(page=2)

    usual = {"date", "server", "content-type", "content-length", "content-encoding", "vary"}
    assert {name: value for name, value in answer.headers.items() if name not in usual} == headers
    assert isinstance(answer.json(), list)


def test_the_envelope_is_named_after_the_resource_or_as_configured(new_center: NewCenter) -> None:
    assert set(new_center(paging="cursor").get("cad_incidents").json()) == {
        "cad_incidents",
        "next_cursor",
        "has_more",
    }
    assert set(new_center(paging="meta_page", records_key="data").get().json()) == {"data", "meta"}
    assert set(new_center(paging="array", records_key="items").get().json()) == {"items"}


def test_a_page_behind_the_last_is_empty(new_center: NewCenter) -> None:
    for form in set(FORMS) - ONE_PAGE - {"cursor"}:
        assert records(new_center(paging=form).get(page=9, offset=90)) == []


@pytest.mark.parametrize("order", ["created_desc", "created_asc", "updated_desc", "updated_asc", "id"])
def test_a_cursor_holds_in_every_order(new_center: NewCenter, order: str) -> None:
    center = new_center(paging="cursor", order=order)
    listed = center.listed()
    assert len(listed) == len(set(listed)) == 25


@pytest.mark.parametrize(
    "cursor", ["nonsense", "e30=", base64.urlsafe_b64encode(b'[1, ["only one"]]').decode()]
)
def test_a_cursor_of_somebody_else_is_refused(new_center: NewCenter, cursor: str) -> None:
    answer = new_center(paging="cursor").get(cursor=cursor)
    assert (answer.status_code, answer.json()) == (400, {"error": "the cursor is invalid"})


@pytest.mark.parametrize(("is_on", "encoding"), [(True, "gzip"), (False, "identity")])
def test_a_body_is_compressed_unless_the_center_says_no(
    new_center: NewCenter, encoding: str, *, is_on: bool
) -> None:
    answer = new_center(gzip=is_on).get()

    assert answer.headers["content-encoding"] == encoding
    assert len(records(answer)) == 10
    is_shorter = int(answer.headers["content-length"]) < len(answer.content)
    assert is_shorter == is_on


def test_nobody_gets_gzip_who_did_not_ask_for_it(new_center: NewCenter) -> None:
    center = new_center()
    headers = {"Authorization": f"Bearer {center.token()}", "Accept-Encoding": "identity"}
    answer = center.http.get(center.url(), headers=headers)
    assert "content-encoding" not in answer.headers
    assert len(records(answer)) == 10
