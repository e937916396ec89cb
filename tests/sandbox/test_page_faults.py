"""Pages that go wrong as pages: named again, empty in the middle, doubled, turned round, or led away."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import httpx
import pytest

from sandbox.config import PagingForm
from tests.sandbox.vendor import Vendor, following, ids, records

NewCenter = Callable[..., Vendor]

FORMS = get_args(PagingForm)
NAMED = ("link", "next_url", "meta_page", "cursor", "kaminari")
COUNTED = ("pagy", "pagy_old", "pagy_countless", "page_unnamed", "offset")
ENDED_BY_AN_EMPTY_PAGE = ("pagy_countless", "page_unnamed", "offset")


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("page", [1, 2, 3])
@pytest.mark.parametrize("resource", ["incident_events", "cad_incidents"])
def test_a_page_may_be_named_as_its_own_next(
    new_center: NewCenter, form: str, page: int, resource: str
) -> None:
    center = new_center(paging=form, paths={"cad_incidents": "/v2/calls"})
    usual = center.pages(resource, per_page=10)
    center.fault("repeated_page", page=page)

    pages = center.pages(resource, per_page=10)

    assert [ids(one) for one in pages] == [ids(one) for one in [*usual[:page], *usual[page - 1 :]]]


@pytest.mark.parametrize("form", NAMED)
def test_a_page_may_go_round_for_ever(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    center.fault("repeated_page", page=2, times=100)
    asked: list[httpx.Response] = []
    url: httpx.URL | None = center.url()

    for _ in range(6):
        assert url is not None
        asked.append(center.fetch(url, center.token()))
        url = following(form, url, asked[-1])

    assert len({str(one.url) for one in asked}) == 2
    assert all(ids(one) == ids(other) for one, other in pairwise(asked[1:]))


@pytest.mark.parametrize("form", COUNTED)
def test_a_counted_page_may_be_the_one_before_again(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    second = {"offset": 10} if form == "offset" else {"page": 2}
    first, usual = center.get(), center.get(**second)
    center.fault("repeated_page", page=2)

    repeated = center.get(**second)

    assert ids(repeated) == ids(first)
    assert repeated.headers.get("current-page") == first.headers.get("current-page")
    assert "link" not in repeated.headers
    assert ids(center.get(**second)) == ids(usual)


@pytest.mark.parametrize("form", [form for form in FORMS if form in {*NAMED, "pagy", "pagy_old"}])
@pytest.mark.parametrize("page", [1, 2, 3])
def test_an_empty_page_in_the_middle_loses_nothing_for_who_reads_on(
    new_center: NewCenter, form: str, page: int
) -> None:
    center = new_center(paging=form)
    usual = [ids(one) for one in center.pages()]
    center.fault("empty_page", page=page)

    pages = center.pages()

    assert [ids(one) for one in pages] == [*usual[: page - 1], [], *usual[page - 1 :]]
    assert len({str(one.url) for one in pages}) == 4, "no page is asked for twice"
    assert [ids(one) for one in center.pages()] == usual, "the next reading is whole"


@pytest.mark.parametrize("form", ENDED_BY_AN_EMPTY_PAGE)
def test_an_empty_page_cannot_be_put_where_it_is_the_end(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    with pytest.raises(ValueError, match=f"empty_page: a listing of the form {form} ends with one"):
        center.fault("empty_page")


@pytest.mark.parametrize("form", ["array", "page_ignored"])
@pytest.mark.parametrize("kind", ["repeated_page", "empty_page"])
def test_a_listing_of_one_page_has_no_page_to_go_wrong(new_center: NewCenter, form: str, kind: str) -> None:
    center = new_center(paging=form)
    with pytest.raises(ValueError, match=f"{kind}: a listing of the form {form} has one page"):
        center.fault(kind)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("page", [1, 3])
def test_the_next_page_may_be_on_another_origin(new_center: NewCenter, form: str, page: int) -> None:
    center = new_center(paging=form, paths={"cad_incidents": "/v2/calls"})
    asked = {"cursor": {}, "offset": {"offset": 10 * (page - 1)}}.get(form, {"page": page})
    center.fault("next_foreign")

    answer = center.get("cad_incidents", **asked)

    link = answer.json()["links"]["next"] if form == "next_url" else answer.links["next"]["url"]
    assert link.startswith(f"{center.sandbox.foreign_url}/v2/calls?")
    assert httpx.URL(link).params["page"] == ("2" if form == "cursor" else str(page + 1))
    assert records(answer)


@pytest.mark.parametrize("form", FORMS)
def test_rows_may_come_twice(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    usual = ids(center.get())
    center.fault("duplicate_rows")
    assert ids(center.get()) == [one for one in usual for _ in range(2)]


@pytest.mark.parametrize("form", FORMS)
def test_rows_may_come_in_reverse(new_center: NewCenter, form: str) -> None:
    center = new_center(paging=form)
    usual = center.get()
    center.fault("reordered_rows")

    turned = center.get()

    assert ids(turned) == ids(usual)[::-1]
    assert following(form, center.url(), turned) == following(form, center.url(), usual)
