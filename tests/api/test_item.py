"""One record by its id: asked for like a listing, and never looked into here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from dispatchlake.api import CenterClient
from dispatchlake.errors import AuthRejected, CenterUnavailable, ConfigError, ContractBroken, RequestRejected
from dispatchlake.model import DispatchCenter, ResourceOverride, configure_center
from dispatchlake.settings import Settings
from tests.api.reading import IMPATIENT
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

NAME = "incident_events"


@pytest.fixture
def center(sandbox: SandboxProcess) -> DispatchCenter:
    return put_center(sandbox)


@pytest.fixture
def client(center: DispatchCenter, settings: Settings) -> Iterator[CenterClient]:
    with CenterClient(center, state_dir=settings.state_dir, patience=IMPATIENT) as opened:
        yield opened


def an_id(sandbox: SandboxProcess, center: DispatchCenter) -> str:
    return str(sandbox.truth(center.center_id, NAME)["current"][0]["id"])


def test_it_comes_as_a_page_of_its_own_kind(
    sandbox: SandboxProcess, center: DispatchCenter, client: CenterClient
) -> None:
    incident_id = an_id(sandbox, center)

    page = client.fetch_item(center.resource(NAME), incident_id)

    assert (page.center_id, page.resource, page.status) == (center.center_id, "incident_events:item", 200)
    assert page.url_path == "/v1/incident_events/{id}", "the chain of pages names no incident"
    assert (page.sequence, page.records, page.query) == (1, [], {})
    assert json.loads(page.body)["id"] == incident_id
    assert page.requested_at <= page.received_at


def test_what_is_not_there_is_refused_without_another_try(
    sandbox: SandboxProcess, center: DispatchCenter, client: CenterClient
) -> None:
    with pytest.raises(RequestRejected) as caught:
        client.fetch_item(center.resource(NAME), "no-such-id")
    assert caught.value.status == 404
    assert "no-such-id" not in str(caught.value), "an id may be any text"
    assert [one["on"] for one in sandbox.requests(center.center_id)] == ["token", "item"]


@pytest.mark.parametrize("odd", ["../cad_incidents", "a/b?x=1#y", "%2e%2e", "ä ö"])
def test_an_id_is_no_path(
    sandbox: SandboxProcess, center: DispatchCenter, client: CenterClient, odd: str
) -> None:
    with pytest.raises(RequestRejected):
        client.fetch_item(center.resource(NAME), odd)

    asked = sandbox.requests(center.center_id)[-1]
    assert asked["status"] == 404
    assert asked["query"] == {}
    assert unquote(asked["path"]).startswith("/v1/incident_events/")


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_an_id_of_dots_is_not_asked_for(
    sandbox: SandboxProcess, center: DispatchCenter, client: CenterClient, odd: str
) -> None:
    with pytest.raises(RequestRejected, match="no path leads to that"):
        client.fetch_item(center.resource(NAME), odd)
    assert sandbox.requests(center.center_id) == []


def test_faults_mean_what_they_mean_for_a_listing(
    sandbox: SandboxProcess, center: DispatchCenter, client: CenterClient
) -> None:
    incident_id = an_id(sandbox, center)
    for fault, error in [
        ({"kind": "status", "status": 403}, AuthRejected),
        ({"kind": "status", "status": 503, "times": 20}, CenterUnavailable),
        ({"kind": "html_200", "times": 20}, CenterUnavailable),
        ({"kind": "reset", "times": 20}, CenterUnavailable),
        ({"kind": "redirect_foreign"}, ContractBroken),
    ]:
        sandbox.call("POST", f"faults/{center.center_id}", {**fault, "on": "item"})
        with pytest.raises(error) as told:
            client.fetch_item(center.resource(NAME), incident_id)
        assert incident_id not in str(told.value)
        sandbox.call("DELETE", f"faults/{center.center_id}")
    sandbox.add_fault(center.center_id, "expire_token", on="item")
    assert client.fetch_item(center.resource(NAME), incident_id).status == 200, "it logs in again"


def test_it_takes_the_path_and_the_credentials_of_its_listing(
    sandbox: SandboxProcess, center: DispatchCenter, settings: Settings
) -> None:
    override = {NAME: ResourceOverride(item_path="/v2/one/{id}/full")}
    elsewhere = center.model_copy(update={"resources": override})
    with CenterClient(elsewhere, state_dir=settings.state_dir, patience=IMPATIENT) as client:
        with pytest.raises(RequestRejected):
            client.fetch_item(elsewhere.resource(NAME), "i1")
        with pytest.raises(RequestRejected, match="no path leads to that"):
            client.fetch_item(center.resource("cad_incidents"), "i1")
    without = center.model_copy(update={"credentials": {}})
    with (
        CenterClient(without, state_dir=settings.state_dir, patience=IMPATIENT) as client,
        pytest.raises(ConfigError, match="no credentials for the scope incident_events"),
    ):
        client.fetch_item(without.resource(NAME), "i1")


@pytest.mark.parametrize("path", ["/v1/one", "v1/{id}", "/v1/{id}?x=1", "/v1/{id}/{other}", "/v1/{id} "])
def test_a_path_that_has_no_place_for_the_id_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="item_path"):
        configure_center(center_id="a", name="A", base_url="https://a", resources={NAME: {"item_path": path}})
