from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any, get_args

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatchlake.api.listing import MAX_READINGS, MAX_STALE_PAGES, Listing
from dispatchlake.errors import CenterUnavailable, ContractBroken
from dispatchlake.payload import decode_payload
from tests.api.changing_list import CENTER_ID, ChangingList, Form, Order, read, resource
from tests.examples import examples

FIRST = "https://center.example/v1/incident_events"

Answer = tuple[list[Any], dict[str, str]]


def drive(
    answer: Callable[[httpx.URL], tuple[Any, dict[str, str]]], *, at_most: int = 1000, **paging: Any
) -> tuple[list[str], list[Any]]:
    """Read a listing from a function; return the requests' queries and the records."""
    listing = Listing(resource(**paging), CENTER_ID, httpx.URL(FIRST))
    queries, records = [], []
    while (url := listing.next_url) is not None:
        queries.append(url.query.decode())
        assert len(queries) <= at_most, "it does not end"
        found, headers = answer(url)
        body = json.dumps(found).encode()
        records += found if isinstance(found, list) else found["data"]
        listing.take(url, httpx.Response(200, headers=headers), decode_payload(body, None))
    return queries, records


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "updated_at": "2024-03-01T00:00:00Z"} for number in numbers]


def link(query: str) -> dict[str, str]:
    return {"Link": f'</v1/incident_events?{query}>; rel="next"'}


def circle(*queries: str) -> Callable[[httpx.URL], Answer]:
    """Return pages that name each other for ever."""
    following = dict(zip(queries, [*queries[1:], queries[0]], strict=True))

    def answer(url: httpx.URL) -> Answer:
        query = url.query.decode()
        return rows(*range(len(query), len(query) + 3)), link(following.get(query, queries[0]))

    return answer


# --- ends


def test_an_empty_listing_ends_with_its_only_page() -> None:
    assert drive(lambda _url: ([], {})) == ([""], [])


def test_pages_are_asked_for_in_the_order_they_name() -> None:
    pages = {"": (rows(1), link("page=2")), "page=2": (rows(2), link("c=z")), "c=z": (rows(3), {})}

    queries, records = drive(lambda url: pages[url.query.decode()])

    assert queries == ["", "page=2", "c=z"]
    assert [record["id"] for record in records] == ["r1", "r2", "r3"]


@pytest.mark.parametrize("names", [("a=1",), ("a=1", "b=2"), ("a=1", "b=2", "c=3"), ("", "a=1")])
def test_pages_that_name_each_other_in_a_circle_are_an_error_within_a_few_requests(
    names: tuple[str, ...],
) -> None:
    with pytest.raises(ContractBroken, match="goes round in circles: it names pages that bring nothing new"):
        drive(circle(*names), at_most=len(names) + 2 * MAX_STALE_PAGES)


def test_new_links_for_ever_that_bring_nothing_new_are_a_circle_too() -> None:
    numbers = count()

    with pytest.raises(ContractBroken, match="goes round in circles"):
        drive(lambda _url: (rows(1, 2), link(f"cursor={next(numbers)}")), at_most=10)


def test_empty_pages_for_ever_are_a_circle_too() -> None:
    numbers = count()

    with pytest.raises(ContractBroken, match="goes round in circles"):
        drive(lambda _url: ([], link(f"cursor={next(numbers)}")), at_most=10)


def test_new_records_for_ever_end_at_the_cap_which_is_an_error() -> None:
    numbers = count()

    with pytest.raises(ContractBroken, match=r"\(page 20\) has more than 20 pages\. Read a shorter span"):
        drive(lambda _url: (rows(next(numbers)), link(f"cursor={next(numbers)}")), at_most=20, max_pages=20)


def test_a_listing_of_exactly_as_many_pages_as_the_cap_is_read() -> None:
    pages = {f"page={n}": (rows(n), link(f"page={n + 1}")) for n in range(2, 5)}
    pages |= {"": (rows(1), link("page=2")), "page=5": (rows(5), {})}

    queries, _ = drive(lambda url: pages[url.query.decode()], max_pages=5)

    assert len(queries) == 5


def test_a_page_that_names_itself_once_is_survived() -> None:
    slips = iter(["page=2"])

    def answer(url: httpx.URL) -> Answer:
        if url.query == b"page=2":
            return rows(2), link(next(slips, "page=3"))
        return (rows(1), link("page=2")) if not url.query else (rows(3), {})

    queries, records = drive(answer, at_most=10)

    assert {record["id"] for record in records} == {"r1", "r2", "r3"}
    assert queries[:4] == ["", "page=2", "page=2", "page=3"]


def test_a_page_that_comes_in_the_place_of_another_is_asked_for_again() -> None:
    """No page names the next here, so whoever goes on after the slip never comes back to what it hid."""
    pages = {"": rows(1, 2), "page=2": rows(3, 4), "page=3": rows(5, 6), "page=4": []}
    slips = iter([rows(1, 2)])

    def answer(url: httpx.URL) -> Answer:
        query = url.query.decode()
        return next(slips, pages[query]) if query == "page=2" else pages[query], {}

    _, records = drive(answer, at_most=12, style="page")

    assert {record["id"] for record in records} == {f"r{n}" for n in range(1, 7)}


def test_an_empty_page_in_the_middle_is_no_end() -> None:
    pages = {"": (rows(1), link("c=2")), "c=2": ([], link("c=3")), "c=3": (rows(3), {})}

    _, records = drive(lambda url: pages[url.query.decode()])

    assert [record["id"] for record in records] == ["r1", "r3"]


def test_records_without_an_id_are_told_apart_by_their_content() -> None:
    pages: dict[str, Answer] = {
        "": ([{"x": 1}, "text", None], link("c=2")),
        "c=2": ([{"x": 2}], link("c=3")),
        "c=3": ([[1, 2]], {}),
    }

    queries, _ = drive(lambda url: pages[url.query.decode()])

    assert len(queries) == 3


def test_the_same_records_without_an_id_for_ever_are_a_circle() -> None:
    numbers = count()

    with pytest.raises(ContractBroken, match="goes round in circles"):
        drive(lambda _url: ([{"x": 1}], link(f"c={next(numbers)}")), at_most=10)


def test_records_nested_beyond_all_reason_are_no_crash() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    listing = Listing(resource(), CENTER_ID, httpx.URL(FIRST))
    body = json.dumps([deep, {"id": "r1", "updated_at": deep}]).encode()

    listing.take(httpx.URL(FIRST), httpx.Response(200), decode_payload(body, None))

    assert listing.next_url is None


def test_a_next_page_that_is_no_url_breaks_the_contract() -> None:
    with pytest.raises(ContractBroken, match=r"\(page 1\) names a next page that is no URL"):
        drive(lambda _url: (rows(1), {"Link": '<https://[::1/x>; rel="next"'}))


def test_a_full_first_page_that_names_nothing_is_an_error_with_advice() -> None:
    expected = (
        "center-a: the listing incident_events (page 1) holds exactly the 3 records that were asked for, and "
        "names no next page. Find out how this center pages (dispatchlake check center-a) and pin it: "
        "paging.style page or offset, or single if that really is all."
    )
    listing = Listing(resource(page_size=3), CENTER_ID, httpx.URL(f"{FIRST}?per_page=3"))

    with pytest.raises(ContractBroken, match=f"^{re.escape(expected)}$"):
        listing.take(
            httpx.URL(f"{FIRST}?per_page=3"),
            httpx.Response(200),
            decode_payload(json.dumps(rows(1, 2, 3)).encode(), None),
        )


# --- counting on


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_server_that_ignores_the_count_is_asked_a_few_times_and_no_more(style: str) -> None:
    queries, records = drive(lambda _url: (rows(1, 2, 3), {}), style=style)

    assert len(queries) <= 2 + MAX_STALE_PAGES
    assert {record["id"] for record in records} == {"r1", "r2", "r3"}


def test_a_server_that_ignores_the_count_but_obeys_the_size_is_an_error() -> None:
    """What it holds beyond the first page is out of reach: the parameter has another name."""
    with pytest.raises(ContractBroken, match="brings the same 3 records, as many as were asked for"):
        drive(lambda _url: (rows(1, 2, 3), {}), style="page", page_size=3)


def test_a_page_that_comes_twice_does_not_end_the_counting() -> None:
    pages = {"": rows(1, 2), "page=2": rows(1, 2), "page=3": rows(3, 4), "page=4": []}

    _, records = drive(lambda url: (pages[url.query.decode()], {}), style="page")

    assert {record["id"] for record in records} == {"r1", "r2", "r3", "r4"}


def test_pages_after_the_last_that_repeat_it_end_the_listing() -> None:
    pages = {"": rows(1, 2), "page=2": rows(3, 4)}

    queries, records = drive(lambda url: (pages.get(url.query.decode(), rows(3, 4)), {}), style="page")

    assert {record["id"] for record in records} == {"r1", "r2", "r3", "r4"}
    assert len(queries) <= 2 + MAX_STALE_PAGES + 1


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_offsets_read_a_list_of_any_length_to_its_end(size: int) -> None:
    for length in range(12):
        listed = rows(*range(length))

        def answer(url: httpx.URL, listed: list[Any] = listed) -> Answer:
            start = int(url.params.get("offset", 0))
            return listed[start : start + size], {}

        _, records = drive(answer, style="offset", page_size=size)

        assert {record["id"] for record in records} == {record["id"] for record in listed}


# --- totals


def test_a_listing_that_stays_shorter_than_it_promises_fails_after_three_readings() -> None:
    def answer(url: httpx.URL) -> Answer:
        headers = {"Total-Count": "5", "Total-Pages": "2", "Current-Page": url.params.get("page", "1")}
        return (rows(3) if "page" in url.params else rows(1, 2)), headers

    why = (
        r"promises 5 records and lists 3, in 3 readings; .* if the totals are wrong, set paging\.check_total"
    )
    with pytest.raises(CenterUnavailable, match=why):
        drive(answer, at_most=6)

    queries, _ = drive(answer, check_total=False)
    assert queries == ["", "page=2"]


def test_a_listing_that_is_whole_when_read_again_is_taken() -> None:
    answers = iter([rows(1, 2), rows(1, 2, 3)])

    _, records = drive(lambda _url: (next(answers), {"X-Total": "3", "X-Per-Page": "9"}))

    assert len(records) == 5


def test_records_that_go_while_the_listing_is_read_are_not_missed() -> None:
    totals = iter(["5", "3", "3", "3"])
    pages = {"": (rows(1, 2), link("page=2")), "page=2": (rows(3), {})}

    def answer(url: httpx.URL) -> Answer:
        records, headers = pages[url.query.decode()]
        return records, headers | {"X-Total": next(totals)}

    queries, _ = drive(answer)

    assert queries == ["", "page=2"] * 2


def test_a_count_of_the_page_alone_is_no_sign_that_records_left() -> None:
    pages = {"": (rows(1, 2), link("page=2")), "page=2": (rows(3), link("page=3")), "page=3": ([], {})}

    def answer(url: httpx.URL) -> Answer:
        records, headers = pages[url.query.decode()]
        return records, headers | {"X-Total": str(len(records))}

    queries, _ = drive(answer)

    assert queries == ["", "page=2", "page=3"]


def test_totals_that_are_said_to_be_wrong_are_no_sign_that_records_left() -> None:
    pages: dict[str, Answer] = {
        "": (rows(1, 2), link("page=2") | {"X-Total": "5"}),
        "page=2": (rows(3), {"X-Total": "4"}),
    }

    queries, _ = drive(lambda url: pages[url.query.decode()], check_total=False)

    assert queries == ["", "page=2"]


def test_records_without_an_id_count_towards_the_total() -> None:
    queries, _ = drive(lambda _url: ([{"x": 1}, {"x": 1}, {"id": "r1"}], {"X-Total": "3", "X-Per-Page": "9"}))

    assert len(queries) == 1


# --- lists that change while they are read

CHANGES = st.lists(
    st.lists(st.tuples(st.sampled_from(["update", "update", "add"]), st.integers(0, 999)), max_size=4),
    max_size=40,
)


def changing(order: Order, form: Form, size: int, length: int, *changes: str) -> example:
    """Return an example of the test below: each text is what happens before one page, as in "u724 a983"."""
    what = {"u": "update", "a": "add"}
    return example(
        order=order,
        form=form,
        size=size,
        length=length,
        before=[],
        changes=[[(what[word[0]], int(word[1:])) for word in text.split()] for text in changes],
    )


LISTS: dict[str, st.SearchStrategy[Any]] = {
    "order": st.sampled_from(get_args(Order)),
    "form": st.sampled_from(get_args(Form)),
    "size": st.integers(5, 12),
    "length": st.integers(1, 60),
}


@given(
    **LISTS,
    before=st.lists(st.integers(0, 999), max_size=40),
    changes=CHANGES,
)
# What was skipped before the page that is read again from is only seen in the second reading.
@changing("updated_asc", "link", 10, 50, "", "", "a983 u724 a777", "", "u828")
# More changes than a page has records: what was skipped may be skipped again.
@changing("updated_asc", "link", 3, 12, "a235", "a728 a927", "u844", "", "u320", "", "u887 u31")
# A look at the front comes to what it has read itself, pushed down meanwhile, before what it looks for.
@changing("updated_desc", "offset", 3, 13, "u954", "u999 u484", "u836 u888", "u318")
@changing("updated_desc", "offset", 3, 12, "", "", "u331 u530", "a940", "a269 a119 u893")
def test_what_exists_at_the_start_is_read_or_the_reading_fails(
    order: Order,
    form: Form,
    size: int,
    length: int,
    before: list[int],
    changes: list[list[tuple[str, int]]],
) -> None:
    server = ChangingList(order, form, size)
    for number in range(length):
        server.add(number)
    for position in before:
        server.update(position)
    began, there = server.time, set(server.records)

    try:
        found, _ = read(server, changes)
    except (CenterUnavailable, ContractBroken):
        return
    if order == "updated_asc":
        # One that was skipped and then changed itself may be skipped again: the next run asks for it.
        there = {identity for identity in there if server.records[identity]["updated_at"] <= began}
    assert found >= there


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("order", get_args(Order))
def test_a_list_that_does_not_change_is_read_once(order: Order, form: Form) -> None:
    server = ChangingList(order, form, 10)
    for number in range(35):
        server.add(number)

    found, requests = read(server, [])

    assert found == set(server.records)
    # Four pages; an empty one where nothing names the last; overlaps by one make one more.
    assert requests <= 6


@pytest.mark.parametrize("form", get_args(Form))
def test_a_record_that_moves_to_the_end_takes_none_with_it(form: Form) -> None:
    """Oldest change first: everything behind moves up, over the edge of the page that was just read."""
    server = ChangingList("updated_asc", form, 10)
    for number in range(40):
        server.add(number)
    there = set(server.records)

    found, requests = read(server, [[("update", 3)], [("update", 4)], [("update", 5)]])

    assert found == there
    assert requests <= 16


@pytest.mark.parametrize("form", get_args(Form))
def test_a_record_that_moves_to_the_front_unread_is_found_there(form: Form) -> None:
    """Newest change first: it leaves the pages that are still to come, and stands on one that was read."""
    server = ChangingList("updated_desc", form, 10)
    for number in range(40):
        server.add(number)
    there = set(server.records)

    found, requests = read(server, [[("update", 35)], [("update", 38)]])

    assert found == there
    assert requests <= 9


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("order", get_args(Order))
def test_a_busy_center_is_read_with_a_few_more_requests_and_without_giving_up(
    order: Order, form: Form
) -> None:
    """Before every third page a call comes in, and before every other one a recent one changes, for ever."""
    server = ChangingList(order, form, 20)
    for number in range(200):
        server.add(number)
    there = set(server.records)
    recent = {"updated_asc": -3, "created_asc": -3}.get(order, 3)

    changes = [[("add", n)] * (n % 3 == 0) + [("update", recent)] * (n % 2) for n in range(500)]

    found, requests = read(server, changes)

    assert found >= there
    assert requests < 3 * 11


@pytest.mark.parametrize(
    ("param", "first", "step"),
    [
        ("page[number]", 1, 1),
        ("page[page]", 0, 1),
        ("p", 1, 1),
        ("page_number", 1, 1),
        ("skip", 0, 20),
        ("start", 1, 20),
        ("page[offset]", 0, 20),
    ],
)
@pytest.mark.parametrize("is_link", [True, False])
def test_links_that_count_are_guarded_whatever_they_call_the_position(
    param: str, first: int, step: int, is_link: bool
) -> None:
    server = ChangingList("updated_asc", "link", 20)
    for number in range(100):
        server.add(number)
    there, numbers = set(server.records), count()

    def answer(url: httpx.URL) -> tuple[Any, dict[str, str]]:
        if 0 < next(numbers) < 5:
            server.update(2)
        position = int(url.params.get(param, first))
        start = (position - first) * 20 // step
        shown, following = server.shown()[start : start + 20], url.copy_set_param(param, position + step)
        is_last = start + 20 >= len(server.records)
        if is_link:
            return shown, {} if is_last else {"Link": f'<{following}>; rel="next"'}
        return {"data": shown, "links": {"next": None if is_last else str(following)}}, {}

    queries, records = drive(answer)

    assert {record["id"] for record in records} == there
    assert len(queries) <= 16


def test_a_cursor_that_steps_like_a_position_is_read_to_its_end_while_records_change() -> None:
    """Ids without gaps, in their order: told from an offset by nothing, and taken for one without harm."""
    stamps = dict.fromkeys(range(1, 201), 0)
    numbers = count(1)

    def answer(url: httpx.URL) -> Answer:
        now, after = next(numbers), int(url.params.get("after_id", 0))
        stamps.update(dict.fromkeys(range(1 + now % 7, 200, 3), now))
        shown = [{"id": f"r{n}", "updated_at": stamps[n]} for n in range(after + 1, min(after + 20, 200) + 1)]
        return shown, link(f"after_id={after + 20}") if after + 20 < 200 else {}

    queries, records = drive(answer)

    assert (len(queries), len(records)) == (10, 200)


def bounded(order: Order, form: Form, *, size: int, length: int) -> ChangingList:
    """Return a list of which everything that changes from now on leaves, as with an upper bound."""
    server = ChangingList(order, form, size)
    for number in range(length):
        server.add(number)
    server.until = server.time
    return server


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("order", get_args(Order))
def test_a_record_that_leaves_the_span_that_is_read_takes_none_with_it(order: Order, form: Form) -> None:
    """It never comes again, so nothing but a total, an overlap or another reading shows what it moved."""
    server = bounded(order, form, size=20, length=200)

    found, requests = read(server, [[("update", 3 + 20 * page)] for page in range(9)])

    assert found >= {r["id"] for r in server.shown()}
    assert requests <= 40


@given(
    **LISTS,
    changes=st.lists(st.lists(st.tuples(st.just("update"), st.integers(0, 999)), max_size=4), max_size=40),
)
def test_what_stays_in_the_span_that_is_read_is_read_or_the_reading_fails(
    order: Order, form: Form, size: int, length: int, changes: list[list[tuple[str, int]]]
) -> None:
    server = bounded(order, form, size=size, length=length)

    try:
        found, _ = read(server, changes)
    except (CenterUnavailable, ContractBroken):
        return

    assert found >= {r["id"] for r in server.shown()}


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize(("length", "pages"), [(8, 1), (35, 4)])
def test_a_span_in_which_nothing_changes_is_read_twice_only_where_nothing_would_show_that_records_left(
    form: Form, length: int, pages: int
) -> None:
    found, requests = read(server := bounded("created_desc", form, size=10, length=length), [])

    assert found == set(server.records)
    is_read_once = form in {"pagy", "offset"} or (form == "link" and pages == 1)
    assert requests <= (pages + 2) * (1 if is_read_once else 2)


def test_a_list_that_changes_by_whole_pages_is_given_up_in_the_end() -> None:
    server = ChangingList("updated_asc", "link", 5)
    for number in range(50):
        server.add(number)

    with pytest.raises(
        CenterUnavailable, match=f"keeps changing while it is read, in {MAX_READINGS} readings"
    ):
        read(server, [[("update", position) for position in range(6)] for _ in range(1000)])


def test_rows_that_always_come_twice_are_no_reason_to_skip_others() -> None:
    """Counting rows, an offset goes too far; the record it should come to again is not there."""
    listed = rows(*range(20))

    def answer(url: httpx.URL) -> Answer:
        start = int(url.params.get("offset", 0))
        return [row for row in listed[start : start + 5] for _ in range(2)], {}

    with pytest.raises(CenterUnavailable, match="keeps changing while it is read"):
        drive(answer, style="offset", page_size=5)


def test_a_listing_of_versions_where_ids_repeat_is_read_and_ends() -> None:
    """Were each row a version and not a record, the same id would come again, changed, all the time."""
    versions = [{"id": f"r{n % 7}", "updated_at": f"{n:04}"} for n in range(40)]

    def answer(url: httpx.URL) -> Answer:
        page = int(url.params.get("page", 1))
        more = link(f"page={page + 1}") if page < 4 else {}
        return versions[(page - 1) * 10 : page * 10], more

    queries, records = drive(answer)

    assert {(r["id"], r["updated_at"]) for r in records} == {(v["id"], v["updated_at"]) for v in versions}
    assert len(queries) <= 12


# --- any sequence of answers at all

ROW = st.one_of(
    st.builds(
        lambda number, at: {"id": f"r{number}", "updated_at": at}, st.integers(0, 12), st.integers(0, 3)
    ),
    st.builds(lambda number: {"id": number}, st.integers(0, 3)),
    st.sampled_from([None, 1, "x", [], {}, {"id": None}, {"id": [1]}, {"id": "r1", "updated_at": {"a": 1}}]),
)
NEXT = st.one_of(
    st.just({}),
    st.builds(link, st.sampled_from(["page=1", "page=2", "page=3", "c=a", "c=b", "offset=2", ""])),
    st.builds(lambda n: {"X-Next-Page": str(n)}, st.integers(0, 4)),
    st.builds(
        lambda n, m: {"Current-Page": str(n), "Page-Limit": str(m)}, st.integers(0, 3), st.integers(1, 3)
    ),
    st.builds(lambda n, m: {"Total-Pages": str(n), "X-Total": str(m)}, st.integers(0, 4), st.integers(0, 9)),
    st.sampled_from(
        [{"Link": "<\\\\evil>; rel=next"}, {"Link": "<https://[>; rel=next"}, {"X-Next-Page": "x"}]
    ),
)


@examples(400)
@given(
    answers=st.lists(st.tuples(st.lists(ROW, max_size=4), NEXT), min_size=1, max_size=12),
    style=st.sampled_from(["follow", "page", "offset", "single"]),
    check_total=st.booleans(),
)
@example(  # a record is met earlier than it was first seen, and the list has become shorter since
    answers=[
        ([{"id": 0}, {"id": "r0", "updated_at": 0}], {}),
        ([{"id": 0}], {}),
        ([{"id": 0}], {}),
        ([{"id": "r1", "updated_at": 0}], {}),
        ([], {}),
        ([{"id": "r1", "updated_at": 1}], {}),
        ([], {}),
    ],
    style="page",
    check_total=False,
)
def test_the_guards_end_every_sequence_of_answers_with_nothing_but_our_own_errors(
    answers: list[tuple[list[Any], dict[str, str]]], style: str, check_total: bool
) -> None:
    """The answers come round and round for ever; the reading must not."""
    numbers, max_pages = count(), 8
    # Every reading, and every look at the front, is bounded by the cap.
    bound = 2 * (MAX_READINGS + 1) * max_pages

    said = ""
    try:
        drive(
            lambda _url: answers[next(numbers) % len(answers)],
            at_most=bound,
            style=style,
            page_size=3,
            max_pages=max_pages,
            check_total=check_total,
        )
    except (ContractBroken, CenterUnavailable) as error:
        said = str(error)

    assert said.startswith(CENTER_ID) or not said
    assert "r1" not in said
