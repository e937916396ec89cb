from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api.paging import Next, UnnamedRest, named_total, next_request, resolve
from dispatchlake.model import Paging
from dispatchlake.payload import decode_payload

ASKED = "https://center.example/v1/incident_events?per_page=3"

ROWS = [{"id": "1"}, {"id": "2"}]
"""Fewer than were asked for."""


def find(
    content: Any,
    headers: dict[str, str] | None = None,
    *,
    asked: str = ASKED,
    is_first: bool = True,
    **paging: Any,
) -> Next | None:
    """Return what a body and its headers say of the next page."""
    body = json.dumps(content).encode()
    return next_request(
        Paging(**paging),
        httpx.URL(asked),
        httpx.Response(200, headers=headers, content=body),
        decode_payload(body, None),
        is_first=is_first,
    )


def target(found: Next | None) -> str:
    """Return the next request's path and query."""
    assert found is not None
    assert found.url is not None
    assert (found.url.scheme, found.url.host) == ("https", "center.example")
    return found.url.raw_path.decode()


def is_end(found: Next | None) -> bool:
    return found is not None and found.url is None


# --- forms that name the next page

NAMED: dict[str, tuple[Any, dict[str, str], str]] = {
    "Link": (ROWS, {"Link": '<https://center.example/v1/x?page=2>; rel="next"'}, "/v1/x?page=2"),
    "Link, relative": (ROWS, {"Link": '</v1/x?page=2>; rel="next"'}, "/v1/x?page=2"),
    "Link, query alone": (ROWS, {"Link": '<?page=2>; rel="next"'}, "/v1/incident_events?page=2"),
    "Link, in another folder": (ROWS, {"Link": '<../v2/x?page=2>; rel="next"'}, "/v2/x?page=2"),
    "Link, bare rel": (ROWS, {"Link": "</v1/x?page=2>;rel=next"}, "/v1/x?page=2"),
    "Link, capitals": (ROWS, {"LINK": '</v1/x?page=2>; REL="Next"'}, "/v1/x?page=2"),
    "Link, several relations": (ROWS, {"Link": '</v1/x?page=2>; rel="last next"'}, "/v1/x?page=2"),
    "Link, several links": (
        ROWS,
        {"Link": '</v1/x?page=1>; rel="first", </v1/x?page=2>; rel="next", </v1/x?page=9>; rel="last"'},
        "/v1/x?page=2",
    ),
    "Link, other parameters": (
        ROWS,
        {"Link": '</v1/x?page=2>; title="a, b; rel=prev"; rel="next"; type="application/json"'},
        "/v1/x?page=2",
    ),
    "Link, semicolon and comma in the URL": (
        ROWS,
        {"Link": '</v1/x;v=1?ids=1,2&page=2>; rel="next"'},
        "/v1/x;v=1?ids=1,2&page=2",
    ),
    "links.next": ({"r": ROWS, "links": {"next": "/v1/x?page=2"}}, {}, "/v1/x?page=2"),
    "links.next, absolute": (
        {"r": ROWS, "links": {"next": "HTTPS://center.example/v1/x?page=2"}},
        {},
        "/v1/x?page=2",
    ),
    "links.next, without a slash": ({"r": ROWS, "links": {"next": "x?page=2"}}, {}, "/v1/x?page=2"),
    "_links.next.href": ({"r": ROWS, "_links": {"next": {"href": "/v1/x?page=2"}}}, {}, "/v1/x?page=2"),
    "links.next.url": ({"r": ROWS, "links": {"next": {"url": "/v1/x?page=2"}}}, {}, "/v1/x?page=2"),
    "next_page_url": ({"r": ROWS, "next_page_url": "/v1/x?page=2"}, {}, "/v1/x?page=2"),
    "next": ({"r": ROWS, "next": "?page=2"}, {}, "/v1/incident_events?page=2"),
    "meta.next_page": (
        {"r": ROWS, "meta": {"current_page": 1, "next_page": 2, "total_count": 9}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "meta.next_page, as text": (
        {"r": ROWS, "meta": {"next_page": "2"}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "next_cursor": (
        {"r": ROWS, "next_cursor": "a+b/c==", "has_more": True},
        {},
        "/v1/incident_events?per_page=3&cursor=a%2Bb%2Fc%3D%3D",
    ),
    "next_cursor, a number": (
        {"r": ROWS, "next_cursor": 1709251200000123},
        {},
        "/v1/incident_events?per_page=3&cursor=1709251200000123",
    ),
    "next, a long number": (
        {"r": ROWS, "next": "1709251200000"},
        {},
        "/v1/incident_events?per_page=3&cursor=1709251200000",
    ),
    "next, a cursor": ({"r": ROWS, "next": "bz1A"}, {}, "/v1/incident_events?per_page=3&cursor=bz1A"),
    "paging.cursors.after": (
        {"r": ROWS, "paging": {"cursors": {"after": "xyz"}}},
        {},
        "/v1/incident_events?per_page=3&after=xyz",
    ),
    "page_info.end_cursor": (
        {"r": ROWS, "page_info": {"end_cursor": "xyz", "has_next_page": True}},
        {},
        "/v1/incident_events?per_page=3&cursor=xyz",
    ),
    "current and total in the body": (
        {"r": ROWS, "meta": {"current_page": 1, "total_pages": 2}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "page and pages in the body": (
        {"r": ROWS, "page": 1, "pages": 2},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "total pages alone in the body": (
        {"r": ROWS, "meta": {"total_pages": 2}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "current_page and last_page": (
        {"r": ROWS, "current_page": 1, "last_page": 2},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "page, size and total in the body": (
        {"r": ROWS, "pagination": {"page": 1, "per_page": 2, "total": 3}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "pagy's metadata": (
        {"r": ROWS, "pagy": {"page": 1, "next": 2, "next_url": "/v1/x?page=2", "count": 3, "pages": 2}},
        {},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "pagy": (
        ROWS,
        {"current-page": "1", "page-limit": "2", "total-pages": "2", "total-count": "3"},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "old pagy": (
        ROWS,
        {"Current-Page": "1", "Page-Items": "2", "Total-Pages": "2", "Total-Count": "3"},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "kaminari": (
        ROWS,
        {"X-Total": "3", "X-Total-Pages": "2", "X-Page": "1", "X-Per-Page": "2", "X-Next-Page": "2"},
        "/v1/incident_events?per_page=3&page=2",
    ),
    "total and size": (ROWS, {"Total": "3", "Per-Page": "2"}, "/v1/incident_events?per_page=3&page=2"),
    "X-Total and X-Per-Page": (
        ROWS,
        {"X-Total": "3", "X-Per-Page": "2"},
        "/v1/incident_events?per_page=3&page=2",
    ),
}


@pytest.mark.parametrize(("content", "headers", "expected"), NAMED.values(), ids=NAMED)
def test_what_a_response_names_is_followed(content: Any, headers: dict[str, str], expected: str) -> None:
    found = find(content, headers)

    assert target(found) == expected
    assert found is not None
    assert found.is_named


def test_a_page_number_replaces_the_one_that_was_asked_for() -> None:
    found = find({"r": ROWS, "meta": {"next_page": 7}}, asked=f"{ASKED}&page=6&updated_since=2024")

    assert target(found) == "/v1/incident_events?per_page=3&page=7&updated_since=2024"


def test_the_request_says_which_page_this_is_where_the_answer_does_not() -> None:
    found = find(ROWS, {"Total-Pages": "9"}, asked=f"{ASKED}&page=4", is_first=False)

    assert target(found) == "/v1/incident_events?per_page=3&page=5"


@pytest.mark.parametrize(
    ("first_page", "page", "following"), [(1, "", 2), (1, "&page=0", 1), (0, "", 1), (0, "&page=0", 1)]
)
def test_the_first_page_is_called_as_configured_where_nobody_says(
    first_page: int, page: str, following: int
) -> None:
    counted = find(ROWS, style="page", first_page=first_page, asked=f"{ASKED}{page}")
    up_to = find(ROWS, {"Total-Pages": "9"}, first_page=first_page, asked=f"{ASKED}{page}")

    assert target(counted) == target(up_to) == f"/v1/incident_events?per_page=3&page={following}"


def test_no_page_is_left_out_of_so_many_wherever_they_are_counted_from() -> None:
    """Up to page 3 of three: it is the last where the first is 1, and empty where that is 0."""
    for first_page in (0, 1):
        found = find(ROWS, {"Total-Pages": "3"}, first_page=first_page, asked=f"{ASKED}&page=2")
        assert target(found).endswith("&page=3")
        assert is_end(find(ROWS, {"Total-Pages": "3"}, first_page=first_page, asked=f"{ASKED}&page=3"))


def test_configured_parameter_names_are_used() -> None:
    by_page = find({"r": ROWS, "meta": {"next_page": 2}}, page_param="p")
    by_cursor = find({"r": ROWS, "next_cursor": "x"}, cursor_param="starting_after")

    assert target(by_page).endswith("&p=2")
    assert target(by_cursor).endswith("&starting_after=x")


def test_countless_headers_are_counted_on_until_an_empty_page() -> None:
    headers = {"current-page": "4", "page-limit": "3"}

    counted = find(ROWS, headers)

    assert target(counted) == "/v1/incident_events?per_page=3&page=5"
    assert counted == Next(counted.url if counted else None, is_named=False, is_positional=True)
    assert is_end(find([], headers))


@pytest.mark.parametrize(
    ("content", "headers", "is_positional"),
    [
        (ROWS, {"Link": '</v1/x?page=2>; rel="next"'}, True),
        (ROWS, {"Link": '</v1/x?offset=20>; rel="next"'}, True),
        (ROWS, {"Link": '</v1/x?cursor=abc>; rel="next"'}, False),
        ({"r": ROWS, "links": {"next": "/v1/x?page=2"}}, {}, True),
        ({"r": ROWS, "meta": {"next_page": 2}}, {}, True),
        ({"r": ROWS, "next_cursor": "abc"}, {}, False),
        (ROWS, {"X-Next-Page": "2"}, True),
        (ROWS, {"Total-Pages": "2", "Current-Page": "1"}, True),
    ],
)
def test_counting_positions_is_told_from_a_cursor(
    content: Any, headers: dict[str, str], is_positional: bool
) -> None:
    found = find(content, headers)

    assert found is not None
    assert found.is_positional is is_positional


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("", "page[number]=2"),
        ("page[number]=2", "page[number]=3"),
        ("page[number]=2&page[size]=3", "page[number]=3&page[size]=3"),
        ("", "page[page]=2"),
        ("", "p=2"),
        ("", "p=1"),
        ("p=17", "p=18"),
        ("per_page=500", "page_number=2&per_page=100"),
        ("", "skip=2"),
        ("skip=2", "skip=4"),
        ("", "start=3"),
        ("start=0", "start=2"),
        ("skip=40&per_page=20", "skip=60&per_page=20"),
        ("skip=500", "skip=1000"),
        ("", "page[offset]=3&page[limit]=3"),
        ("since=1709251200", "since=1709251200&p=2"),
    ],
)
def test_a_link_that_counts_on_is_told_by_its_steps_whatever_its_position_is_called(
    asked: str, named: str
) -> None:
    found = find(ROWS, {"Link": f'<?{named}>; rel="next"'}, asked=f"https://center.example/v1/x?{asked}")

    assert found is not None
    assert found.is_positional


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("", "after=12345"),
        ("after=12345", "after=12399"),
        ("since_id=88", "since_id=110"),
        ("", "max_id=900"),
        ("max_id=900", "max_id=897"),
        ("", "since=1709251200"),
        ("since=1709251200", "since=1709251260"),
        ("since=1709251200123", "since=1709251200124"),
        ("", "cursor=abc&per_page=3"),
        ("", "cursor=abc&limit=3"),
        ("", "cursor=abc&page[size]=3"),
        ("cursor=abc&per_page=3", "cursor=abd&per_page=3"),
        ("per_page=3&year=2024", "per_page=3&year=2024&cursor=abc"),
    ],
)
def test_a_cursor_of_digits_is_no_position(asked: str, named: str) -> None:
    found = find(ROWS, {"Link": f'<?{named}>; rel="next"'}, asked=f"https://center.example/v1/x?{asked}")

    assert found is not None
    assert not found.is_positional


# --- ends

ENDS: dict[str, tuple[Any, dict[str, str]]] = {
    "links.next null": ({"r": ROWS, "links": {"next": None}}, {}),
    "links.next empty": ({"r": ROWS, "links": {"next": ""}}, {}),
    "_links.next.href null": ({"r": ROWS, "_links": {"next": {"href": None}}}, {}),
    "links.next an empty object": ({"r": ROWS, "links": {"next": {}}}, {}),
    "next false": ({"r": ROWS, "next": False}, {}),
    "meta.next_page null": ({"r": ROWS, "meta": {"current_page": 2, "next_page": None}}, {}),
    "next_cursor null": ({"r": ROWS, "next_cursor": None}, {}),
    "next_cursor empty": ({"r": ROWS, "next_cursor": ""}, {}),
    "has_more false": ({"r": ROWS, "has_more": False, "next_cursor": "left over"}, {}),
    "has_next_page false": ({"r": ROWS, "page_info": {"has_next_page": False, "end_cursor": "x"}}, {}),
    "last of so many in the body": ({"r": ROWS, "meta": {"current_page": 2, "total_pages": 2}}, {}),
    "past the last in the body": ({"r": ROWS, "meta": {"current_page": 9, "total_pages": 2}}, {}),
    "no pages in the body": ({"r": [], "meta": {"current_page": 1, "total_pages": 0}}, {}),
    "pagy's metadata": ({"r": ROWS, "pagy": {"page": 2, "next": None, "next_url": "/v1/x?page="}}, {}),
    "last of so many": (ROWS, {"Current-Page": "2", "Total-Pages": "2"}),
    "none of none": ([], {"Current-Page": "1", "Total-Pages": "0"}),
    "X-Next-Page empty": (ROWS, {"X-Next-Page": "", "X-Page": "1", "X-Total-Pages": "9"}),
    "all on one page": (ROWS, {"X-Total": "2", "X-Per-Page": "3"}),
    "links without a next": (ROWS, {"Link": '</v1/x?page=1>; rel="first", </v1/x?page=1>; rel="last"'}),
}


@pytest.mark.parametrize(("content", "headers"), ENDS.values(), ids=ENDS)
def test_a_response_can_say_that_it_is_the_last(content: Any, headers: dict[str, str]) -> None:
    assert is_end(find(content, headers))


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (ROWS, {}),
        ([], {}),
        ({"r": ROWS}, {}),
        ({"r": ROWS, "meta": {"request_id": "x", "total": 2}}, {}),
        (ROWS, {"X-Total": "2"}),
        (ROWS, {"Link": '</help>; rel="help"'}),
        (ROWS, {"Link": "nonsense, <unclosed; rel=next"}),
        (ROWS, {"Link": "</v1/x?page=2>; title=next"}),
    ],
)
def test_a_short_first_page_that_says_nothing_is_all_there_is(content: Any, headers: dict[str, str]) -> None:
    assert find(content, headers) is None


def test_a_full_page_that_says_nothing_is_the_last_when_it_is_not_the_first() -> None:
    """Pages before it have named their next one: this one would have, too."""
    assert find([*ROWS, {"id": "3"}], is_first=False) is None


# --- what fails closed


@pytest.mark.parametrize(
    ("content", "headers", "why"),
    [
        ([*ROWS, {"id": "3"}], {}, "holds exactly the 3 records that were asked for"),
        ({"r": [*ROWS, {"id": "3"}]}, {}, "holds exactly the 3 records that were asked for"),
        (ROWS, {"X-Total": "3"}, "says that there are 3 records, and not where the rest is"),
        ({"r": ROWS, "meta": {"total_count": 1234}}, {}, "says that there are 1,234 records"),
        ({"r": ROWS, "count": 3}, {}, "says that there are 3 records"),
        ([], {"Total-Count": "1"}, "says that there are 1 records"),
        (ROWS, {"Per-Page": "2"}, "holds 2 records, as many as it says a page has"),
        ({"r": ROWS, "limit": 2, "offset": 0}, {}, "holds 2 records, as many as it says a page has"),
        ({"r": ROWS, "limit": 2, "offset": 0, "total": 9}, {}, "says that there are 9 records"),
        ({"r": ROWS, "has_more": True}, {}, "says that there is more, and not where"),
        ({"r": ROWS, "has_more": True, "next_cursor": None}, {}, "says that there is more, and not where"),
        (
            {"r": ROWS, "has_more": True, "meta": {"current_page": 2, "total_pages": 2}},
            {},
            "says that there is more, and not where",
        ),
        ({"r": ROWS, "next": 1.5}, {}, "in a form that is not known"),
        ({"r": ROWS, "next": True}, {}, "in a form that is not known"),
        ({"r": ROWS, "next": -1}, {}, "in a form that is not known"),
        ({"r": ROWS, "next": {"cursor": "x"}}, {}, "in a form that is not known"),
        ({"r": ROWS, "next_cursor": {"id": 5}}, {}, "in a form that is not known"),
        ({"r": ROWS, "next_cursor": True}, {}, "in a form that is not known"),
        (ROWS, {"X-Next-Page": "two"}, "in a form that is not known"),
        (ROWS, {"X-Next-Page": "/v1/x?page=2"}, "in a form that is not known"),
    ],
)
def test_more_that_is_not_named_is_an_error_and_never_an_end(
    content: Any, headers: dict[str, str], why: str
) -> None:
    with pytest.raises(UnnamedRest, match=why):
        find(content, headers)


def test_a_total_that_is_known_to_be_wrong_refuses_nothing() -> None:
    assert find({"r": ROWS, "total": 99}, check_total=False) is None


def test_without_a_size_asked_for_no_length_is_suspicious() -> None:
    assert find([*ROWS, {"id": "3"}], size_param=None) is None


# --- pinned


def test_page_numbers_are_counted_on_until_an_empty_page() -> None:
    first = find(ROWS, style="page")
    later = find(ROWS, style="page", asked=f"{ASKED}&page=7", is_first=False)

    assert target(first).endswith("&page=2")
    assert target(later).endswith("&page=8")
    assert first is not None
    assert (first.is_named, first.is_positional) == (False, True)
    assert is_end(find([], style="page", asked=f"{ASKED}&page=8", is_first=False))


def test_offsets_ask_for_the_last_record_once_more() -> None:
    first = find([*ROWS, {"id": "3"}], style="offset")
    later = find([*ROWS, {"id": "3"}], style="offset", asked=f"{ASKED}&offset=2", is_first=False)

    assert target(first).endswith("&offset=2")
    assert target(later).endswith("&offset=4")
    assert is_end(find([], style="offset", asked=f"{ASKED}&offset=8", is_first=False))


def test_offsets_get_on_even_when_a_page_holds_one_record() -> None:
    assert target(find(ROWS[:1], style="offset", asked=f"{ASKED}&offset=5")).endswith("&offset=6")


def test_a_single_page_is_all_whatever_it_names() -> None:
    assert is_end(find(ROWS, {"Link": '</v1/x?page=2>; rel="next"', "X-Total": "99"}, style="single"))


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_pinned_style_ignores_what_a_response_names(style: str) -> None:
    found = find(ROWS, {"Link": '<https://evil.example/>; rel="next"'}, style=style)

    assert target(found)


# --- totals and links


@pytest.mark.parametrize(
    ("content", "headers", "total"),
    [
        (ROWS, {"Total-Count": "7"}, 7),
        (ROWS, {"x-total": "7"}, 7),
        (ROWS, {"X-Total": "many"}, None),
        (ROWS, {"X-Total": "-1"}, None),
        ({"r": ROWS, "meta": {"total_count": 7}}, {}, 7),
        ({"r": ROWS, "pagination": {"total": "7"}}, {}, 7),
        ({"r": ROWS, "total": 0}, {}, 0),
        ({"r": ROWS, "total": True}, {}, None),
        ({"r": ROWS, "total": 7.0}, {}, None),
        (ROWS, {}, None),
    ],
)
def test_totals_are_read_where_they_stand(content: Any, headers: dict[str, str], total: int | None) -> None:
    body = json.dumps(content).encode()
    response = httpx.Response(200, headers=headers)

    assert named_total(response, decode_payload(body, None)) == total


@pytest.mark.parametrize(
    "link",
    [
        "\\\\evil.example/x",
        "/\\evil.example/x",
        "https:\\\\evil.example",
        "https://center.example\\@evil.example/",
        "https://center.example\x00.evil.example/",
        "/v1/x\r\nHost: evil.example",
        "https://[::1/x",
        "https://center.example:port/",
        "https://" + "a" * 70_000,
        "A:",
        "mailto:next",
        "https://xn--/",
        "//xn--a-ecp.ru/",
    ],
)
def test_a_link_without_a_host_or_read_differently_by_programs_is_none(link: str) -> None:
    with pytest.raises(httpx.InvalidURL):
        resolve(httpx.URL(ASKED), link)


@given(
    st.text() | st.lists(st.sampled_from(["https:", "//", "xn--", "a", ".", ":", "@", "1", "é"])).map("".join)
)
def test_a_link_resolves_or_is_refused_and_nothing_else(link: str) -> None:
    try:
        url = resolve(httpx.URL(ASKED), link)
    except httpx.InvalidURL:
        return
    assert url.is_absolute_url
    assert url.host is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("next", "next_url", "next_page", "next_cursor", "after", "has_more", "current_page", "page"),
        *(
            "total_pages",
            "pages",
            "total",
            "count",
            "per_page",
            "limit",
            "links",
            "meta",
            "paging",
            "cursors",
        ),
    ]
)
ENVELOPES = st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON, max_size=4), max_size=6)
HEADERS = st.dictionaries(
    st.sampled_from(["link", "x-next-page", "current-page", "page-limit", "total-pages", "x-total"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    max_size=4,
)


@given(
    envelope=ENVELOPES,
    headers=HEADERS,
    count=st.integers(0, 4),
    style=st.sampled_from(["follow", "page", "offset", "single"]),
    is_first=st.booleans(),
)
def test_any_envelope_and_headers_give_a_request_an_end_or_a_refusal(
    envelope: dict[str, Any], headers: dict[str, str], count: int, style: str, is_first: bool
) -> None:
    body = json.dumps({**envelope, "records": [{"id": str(n)} for n in range(count)]}).encode()
    payload = decode_payload(body, "records")
    response = httpx.Response(200, headers=headers)

    try:
        found = next_request(
            Paging.model_validate({"style": style}), httpx.URL(ASKED), response, payload, is_first=is_first
        )
    except (UnnamedRest, httpx.InvalidURL):
        return
    assert found is None or found.url is None or found.url.is_absolute_url
