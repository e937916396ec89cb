"""Reading every page of a real server: each form, order and fault, and what the server saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatchlake.api import CenterClient
from dispatchlake.api import client as client_module
from dispatchlake.errors import CenterUnavailable, ContractBroken, RequestRejected
from dispatchlake.model import DispatchCenter, Page, Paging, Resource
from dispatchlake.payload import Payload
from tests.api.reading import (
    EVERYTHING,
    LISTING,
    asked,
    foreign_requests,
    open_client,
    read,
    truth,
)
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

PINNED: dict[str, dict[str, Any]] = {
    "page_unnamed": {"paging": Paging(style="page", page_size=100)},
    "offset": {"paging": Paging(style="offset", size_param="limit", page_size=100)},
    "page_ignored": {"paging": Paging(style="page", page_size=100)},
}
"""Forms whose responses name nothing: the configuration says how to go on."""

NAMED = ["link", "next_url", "meta_page", "cursor", "pagy", "pagy_old", "pagy_countless", "kaminari"]
FORMS = ["array", *NAMED, *PINNED]
ORDERS = ["created_desc", "created_asc", "updated_desc", "updated_asc", "id"]
POSITIONAL = ["link", "pagy", "pagy_countless", "page_unnamed", "offset"]
"""One of each way to count positions; the others are told apart in `test_paging`."""

THREE_PAGES: dict[str, Any] = {"page_size_cap": 100}


def put(
    sandbox: SandboxProcess,
    form: str = "link",
    *,
    override: dict[str, Any] | None = None,
    center_id: str = "",
    **side: Any,
) -> DispatchCenter:
    """Create a center of 300 records in three pages."""
    return put_center(
        sandbox,
        center_id=center_id,
        sandbox_side=THREE_PAGES | {"paging": form} | side,
        override=PINNED.get(form, {}) | (override or {}),
    )


def pages_of(center: DispatchCenter, state_dir: Path) -> list[Page]:
    with open_client(center, state_dir) as client:
        return list(client.iter_pages(center.resource(LISTING), EVERYTHING))


# --- every form


@pytest.mark.parametrize("form", FORMS)
def test_each_form_yields_every_record_once_in_every_order(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    center = put(sandbox, form)
    there = truth(sandbox, center)
    # Offsets overlap by one record; a server that ignores the count is believed the fourth time.
    repeats = {"offset": 4, "page_ignored": 4 * 300}.get(form, 0)

    for number, order in enumerate(ORDERS, 1):
        sandbox.patch_center(center.center_id, {"order": order})
        found = read(center, state_dir)

        assert set(found) == there
        assert len(found) <= 300 + repeats
        assert asked(sandbox, center) <= 6 * number


def test_pages_are_handed_over_as_received(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put(sandbox, "pagy")

    pages = pages_of(center, state_dir)

    assert [page.sequence for page in pages] == [1, 2, 3]
    assert [page.query for page in pages] == [
        {"per_page": "500"},
        {"per_page": "500", "page": "2"},
        {"per_page": "500", "page": "3"},
    ]
    for page in pages:
        assert (page.center_id, page.resource, page.url_path) == (center.center_id, LISTING, f"/v1/{LISTING}")
        assert page.status == 200
        assert len(page.records) == 100
        assert page.body.startswith(b'[{"id":')
        assert page.headers["total-count"] == "300"
        assert page.headers["content-type"] == "application/json"
        assert page.requested_at <= page.received_at


def test_a_page_is_handed_over_before_the_next_is_asked_for(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put(sandbox)

    with open_client(center, state_dir) as client:
        pages = client.iter_pages(center.resource(LISTING), EVERYTHING)
        for number in (1, 2, 3):
            next(pages)
            assert asked(sandbox, center) == number


def test_an_empty_listing_is_one_empty_page(sandbox: SandboxProcess, state_dir: Path) -> None:
    none = {"synthetic": {"count": 0, "starts_at": "2024-03-01T00:00:00Z", "span_s": 60}}
    center = put(sandbox, dataset=none)

    (page,) = pages_of(center, state_dir)

    assert page.records == []


@pytest.mark.parametrize("form", ["page_unnamed", "offset"])
def test_a_full_first_page_that_names_nothing_fails_with_advice(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    center = put_center(
        sandbox,
        sandbox_side=THREE_PAGES | {"paging": form},
        override={"paging": Paging(page_size=100)},
    )

    with pytest.raises(
        ContractBroken,
        match=r"holds exactly the 100 records that were asked for, .*check .*paging\.style page or offset",
    ):
        read(center, state_dir)

    assert asked(sandbox, center) == 1


def test_a_page_cap_is_a_failure_and_no_end(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put(sandbox, override={"paging": Paging(max_pages=2)})

    with pytest.raises(ContractBroken, match=r"has more than 2 pages.*paging\.max_pages"):
        read(center, state_dir)

    assert asked(sandbox, center) == 2


def test_a_configured_path_key_and_parameter_are_used(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put(
        sandbox,
        "next_url",
        paths={LISTING: "/v3/events"},
        records_key="rows",
        override={"path": "/v3/events", "records_key": "rows", "paging": Paging(size_param="limit")},
    )

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert sandbox.requests(center.center_id)[-1]["path"] == "/v3/events"
    assert sandbox.requests(center.center_id)[-1]["query"]["limit"] == "500"


# --- spoiled pages

SURVIVED = ["repeated_page", "empty_page", "duplicate_rows", "reordered_rows", "redirect_same"]
SPOILED = ["link", "meta_page", "cursor", "pagy", "pagy_countless", "kaminari", *PINNED]
HAS_NONE = {
    "repeated_page": {"array", "page_ignored"},
    "empty_page": {"array", "page_ignored", "pagy_countless", "page_unnamed", "offset"},
}


@pytest.mark.parametrize(
    ("form", "kind"),
    [(form, kind) for form in SPOILED for kind in SURVIVED if form not in HAS_NONE.get(kind, ())],
)
def test_a_page_that_is_spoiled_once_costs_no_record(
    sandbox: SandboxProcess, state_dir: Path, form: str, kind: str
) -> None:
    center = put(sandbox, form)
    sandbox.add_fault(center.center_id, kind, page=1 if form == "page_ignored" else 2)

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert sandbox.faults_left(center.center_id) == []
    assert asked(sandbox, center) <= 14


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_where_a_cursor_is_refused_the_listing_is_begun_anew_at_once(
    sandbox: SandboxProcess, state_dir: Path, status: int
) -> None:
    """It may have outlived its time while requests waited for their turn."""
    center = put(sandbox, "cursor")
    sandbox.add_fault(center.center_id, "status", status=status, page=2)

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert asked(sandbox, center) == 2 + 3


@pytest.mark.parametrize(("form", "requests"), [("cursor", 4), ("pagy", 2), ("page_unnamed", 2)])
def test_a_listing_that_is_refused_again_or_at_a_page_of_a_number_is_a_failure_at_once(
    sandbox: SandboxProcess, state_dir: Path, form: str, requests: int
) -> None:
    center = put(sandbox, form)
    sandbox.add_fault(center.center_id, "status", status=400, page=2, times=9)

    with pytest.raises(RequestRejected, match="answered 400"):
        read(center, state_dir)

    assert asked(sandbox, center) == requests


@pytest.mark.parametrize("form", ["link", "next_url", "meta_page", "cursor", "kaminari"])
def test_a_page_that_names_itself_for_ever_ends_within_a_few_requests(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    center = put(sandbox, form)
    sandbox.add_fault(center.center_id, "repeated_page", page=2, times=1000)

    with pytest.raises(ContractBroken, match="goes round in circles"):
        read(center, state_dir)

    assert asked(sandbox, center) <= 5


# --- other origins

FOREIGN = {
    "another host": "http://localhost:{port}/v1/incident_events?page=2",
    "another host, capitals": "HTTP://LOCALHOST:{port}/v1/incident_events?page=2",
    "another port": "{foreign}/v1/incident_events?page=2",
    "another scheme": "https://127.0.0.1:{port}/v1/incident_events?page=2",
    "no port": "http://127.0.0.1/v1/incident_events?page=2",
    "the host as a user": "http://127.0.0.1:{port}@{foreign_host}/v1/incident_events?page=2",
    "a user of the host": "http://user:secret@127.0.0.1:{port}/v1/incident_events?page=2",
    "scheme left out": "//{foreign_host}/v1/incident_events?page=2",
    "backslash before the user": "http://127.0.0.1:{port}\\@{foreign_host}/v1/incident_events?page=2",
    "backslashes as slashes": "\\\\{foreign_host}\\v1\\incident_events?page=2",
    "slash and backslash": "/\\{foreign_host}/v1/incident_events?page=2",
    "host in octal": "http://0177.0.0.1:{port}/v1/incident_events?page=2",
    "host as one number": "http://2130706433:{port}/v1/incident_events?page=2",
    "a longer name": "http://127.0.0.1.example.invalid:{port}/v1/incident_events?page=2",
    "a dot at the end": "http://127.0.0.1.:{port}/v1/incident_events?page=2",
    "another kind of link": "ftp://127.0.0.1:{port}/v1/incident_events?page=2",
    "a file": "file:///etc/passwd",
}


def link_to(sandbox: SandboxProcess, template: str) -> str:
    return template.format(
        port=sandbox.url.rpartition(":")[2],
        foreign=sandbox.foreign_url,
        foreign_host=sandbox.foreign_url.removeprefix("http://"),
    )


@pytest.mark.parametrize("template", FOREIGN.values(), ids=FOREIGN)
def test_a_link_to_another_origin_is_not_followed(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    """What a page names is replaced on its way in: the sandbox itself only links to one foreign origin."""
    center = put(sandbox)
    seen_before = len(foreign_requests(sandbox))
    named = link_to(sandbox, template)

    with open_client(center, state_dir) as client:
        real = client.fetch

        def fetch(*arguments: Any) -> Any:
            fetched = real(*arguments)
            fetched.response.headers["link"] = f'<{named}>; rel="next"'
            return fetched

        monkeypatch.setattr(client, "fetch", fetch)
        with pytest.raises(ContractBroken, match=r"named another origin|names a next page that is no URL"):
            list(client.iter_pages(center.resource(LISTING), EVERYTHING))

    assert len(foreign_requests(sandbox)) == seen_before
    assert asked(sandbox, center) == 1


@pytest.mark.parametrize("kind", ["next_foreign", "redirect_foreign"])
@pytest.mark.parametrize("form", ["link", "next_url"])
def test_a_foreign_origin_sees_no_request_at_all(
    sandbox: SandboxProcess, state_dir: Path, form: str, kind: str
) -> None:
    center = put(sandbox, form)
    sandbox.add_fault(center.center_id, kind, page=2)
    seen_before = len(foreign_requests(sandbox))

    with pytest.raises(ContractBroken, match="named another origin"):
        read(center, state_dir)

    assert len(foreign_requests(sandbox)) == seen_before
    assert asked(sandbox, center) == 2


def test_the_own_origin_in_capitals_is_followed(sandbox: SandboxProcess, state_dir: Path) -> None:
    port = sandbox.url.rpartition(":")[2]
    center = put_center(
        sandbox, sandbox_side=THREE_PAGES, client_side={"base_url": f"HTTP://LOCALHOST:{port}"}
    )

    assert set(read(center, state_dir)) == truth(sandbox, center)
    assert asked(sandbox, center) == 3


def test_a_redirect_within_the_origin_is_followed_with_the_query(
    sandbox: SandboxProcess, state_dir: Path
) -> None:
    center = put(sandbox)
    sandbox.add_fault(center.center_id, "redirect_same", page=2, times=3)

    assert set(read(center, state_dir)) == truth(sandbox, center)
    seen = [(r["status"], r["query"].get("page")) for r in sandbox.requests(center.center_id)[1:]]
    assert seen == [(200, None), *[(302, "2")] * 3, (200, "2"), (200, "3")]


def test_redirects_without_end_are_given_up(sandbox: SandboxProcess, state_dir: Path) -> None:
    center = put(sandbox)
    sandbox.add_fault(center.center_id, "redirect_same", times=100)

    with pytest.raises(ContractBroken, match="is redirected more than 5 times"):
        read(center, state_dir)

    assert asked(sandbox, center) == client_module.MAX_REDIRECTS + 1


# --- lists that change while they are read


@pytest.mark.parametrize(
    ("form", "order"),
    [(form, order) for form in ("link", "pagy_countless", "offset") for order in ORDERS]
    + [(form, order) for form in ("pagy", "page_unnamed") for order in ("updated_asc", "updated_desc")],
)
def test_what_existed_at_the_start_is_read_although_the_list_changes(
    sandbox: SandboxProcess, state_dir: Path, form: str, order: str
) -> None:
    """Every call of this center changes within a quarter of an hour, and each page takes it two minutes."""
    calls = {"synthetic": {"count": 120, "starts_at": "2024-03-01T00:00:00Z", "span_s": 7200}}
    # Of records that are made from another id, one listing in 150 never stands still for long enough.
    center = put(
        sandbox,
        form,
        center_id=f"changing-{form}-{order}".replace("_", "-"),
        order=order,
        dataset=calls,
        epoch="2024-03-01T01:00:00Z",
        churn_s=120,
        page_size_cap=20,
    )
    there = truth(sandbox, center)
    assert len(there) == 61

    found = read(center, state_dir)

    assert set(found) >= there
    assert sandbox.truth(center.center_id, LISTING)["current_count"] > 61


@pytest.mark.parametrize("form", POSITIONAL)
def test_records_that_move_to_the_end_while_pages_are_read_take_none_with_them(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    center = put(sandbox, form, **moving(by=[5, 25, 45, 65], order="updated_asc"))
    there = truth(sandbox, center)

    found = read(center, state_dir)

    assert set(found) == there
    assert len(there) == 100


@pytest.mark.parametrize("form", POSITIONAL)
def test_records_that_move_to_the_front_before_they_are_read_are_found_there(
    sandbox: SandboxProcess, state_dir: Path, form: str
) -> None:
    """Numbers count from the oldest change, which this order lists last."""
    center = put(sandbox, form, **moving(by=[5, 6, 25, 7], order="updated_desc"))
    there = truth(sandbox, center)

    found = read(center, state_dir)

    assert set(found) == there


def moving(*, by: list[int], order: str) -> dict[str, Any]:
    """Return a hundred records of which one changes before each page after the first."""

    def version(number: int, changed_at: str) -> dict[str, Any]:
        record = {
            "id": f"r{number:03}",
            "created_at": "2024-03-01T00:00:00Z",
            "updated_at": changed_at,
        }
        return {"visible_at": changed_at, "record": record}

    quiet = [version(number, f"2024-03-01T0{number // 60}:{number % 60:02}:00Z") for number in range(100)]
    changed = [version(number, f"2024-03-02T00:00:{turn:02}Z") for turn, number in enumerate(by, 1)]
    return {
        "dataset": {"records": {LISTING: quiet + changed}},
        "order": order,
        "page_size_cap": 20,
        "epoch": "2024-03-02T00:00:00Z",
        "churn_s": 1,
    }


# --- totals


def test_a_listing_that_stays_short_of_its_total_fails_after_three_readings(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put(sandbox, "pagy")
    lose_the_second_page(monkeypatch)

    with pytest.raises(CenterUnavailable, match="promises 300 records and lists 200, in 3 readings"):
        read(center, state_dir)

    assert asked(sandbox, center) == 9


def test_a_total_that_is_not_to_be_checked_fails_nothing(
    sandbox: SandboxProcess, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = put(sandbox, "pagy", override={"paging": Paging(check_total=False)})
    lose_the_second_page(monkeypatch)

    assert len(read(center, state_dir)) == 200
    assert asked(sandbox, center) == 3


def lose_the_second_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every second page come empty, as from a server that counts what it does not show."""
    real, turns = CenterClient._decode, iter(range(1_000_000))

    def decode(client: CenterClient, resource: Resource, response: httpx.Response, body: bytes) -> Payload:
        payload = real(client, resource, response, body)
        return replace(payload, records=[]) if next(turns) % 3 == 1 else payload

    monkeypatch.setattr(CenterClient, "_decode", decode)
