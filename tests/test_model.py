from __future__ import annotations

import pickle
import re
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from dispatchlake.errors import ConfigError
from dispatchlake.model import (
    RESOURCES,
    Credentials,
    DispatchCenter,
    Page,
    Paging,
    Resource,
    ResourceName,
    ResourceOverride,
    Scope,
    configure_center,
)

SECRET = "synthetic-secret"


def center(**fields: Any) -> DispatchCenter:
    return configure_center(
        **(
            {
                "center_id": "houston-tx",
                "name": "Houston",
                "base_url": "https://api.example",
                "credentials": {"cad_incidents": {"client_id": "client", "client_secret": SECRET}},
            }
            | fields
        )
    )


@pytest.mark.parametrize("center_id", ["a", "houston-tx", "0", "a1-b2", "x" * 63])
def test_ids_of_centers(center_id: str) -> None:
    assert center(center_id=center_id).center_id == center_id


@pytest.mark.parametrize(
    "center_id",
    ["", "Houston", "a_b", "-a", "a-", "a b", "a/b", "..", "a\n", "caf\u00e9", "x" * 64, "a.b", None, 5],
)
def test_an_id_that_could_be_something_else_in_a_path_is_refused(center_id: Any) -> None:
    with pytest.raises(ConfigError, match="center_id: "):
        center(center_id=center_id)


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://api.example", "https://api.example"),
        ("https://api.example/", "https://api.example"),
        ("https://api.example:8443", "https://api.example:8443"),
        ("http://127.0.0.1:8099", "http://127.0.0.1:8099"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8099", "http://[::1]:8099"),
        ("http://localhost:8099", "http://localhost:8099"),
    ],
)
def test_origins(base_url: str, kept: str) -> None:
    assert center(base_url=base_url).base_url == kept


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.example",
        "ftp://api.example",
        "https://",
        "https:///v1",
        "https://api.example/v1",
        "https://api.example?x=1",
        "https://api.example#x",
        "https://user@api.example",
        "https://user:secret@api.example",
        "http://api.example",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://0.0.0.0",
        "file:///etc/passwd",
        None,
    ],
)
def test_a_base_url_that_is_no_safe_origin_is_refused(base_url: Any) -> None:
    with pytest.raises(ConfigError, match="base_url: "):
        center(base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [("http://127.0.0.1:1", True), ("https://localhost", True), ("https://api.example", False)],
)
def test_what_is_on_this_machine(base_url: str, expected: bool) -> None:
    assert center(base_url=base_url).is_on_this_machine is expected


@pytest.mark.parametrize("zone", ["America/Chicago", "UTC", "America/Argentina/Buenos_Aires"])
def test_time_zones(zone: str) -> None:
    assert center(time_zone=zone).time_zone == zone


@pytest.mark.parametrize("zone", ["", "Houston", "CDT6", "../etc/passwd", "/etc/localtime", "America", None])
def test_a_time_zone_that_is_none_is_refused(zone: Any) -> None:
    with pytest.raises(ConfigError, match="time_zone: "):
        center(time_zone=zone)


@pytest.mark.parametrize(
    "fields",
    [
        {"token_path": "oauth/token"},
        {"token_path": "/oauth token"},
        {"token_path": "/oauth?x=1"},
        {"token_body": "xml"},
        {"max_requests_per_s": 0},
        {"max_requests_per_s": -1},
        {"max_requests_per_s": 1001},
        {"name": ""},
        {"credentials": {"everything": {"client_id": "x", "client_secret": "y"}}},
        {"credentials": {"cad_incidents": {"client_id": "", "client_secret": "y"}}},
        {"credentials": {"cad_incidents": {"client_id": "x", "client_secret": ""}}},
        {"credentials": {"cad_incidents": {"client_id": "x"}}},
        {"resources": {"calls": {}}},
        {"resources": {"cad_incidents": {"name": "x"}}},
        {"resources": {"cad_incidents": {"path": "v1/x"}}},
        {"resources": {"cad_incidents": {"paging": {"style": "guess"}}}},
        {"resources": {"cad_incidents": {"paging": {"page_size": 0}}}},
        {"resources": {"cad_incidents": {"paging": {"max_pages": 0}}}},
        {"enabeld": True},
    ],
)
def test_a_mistake_is_named_by_its_field(fields: dict[str, Any]) -> None:
    (name,) = fields

    with pytest.raises(ConfigError, match=rf"dispatch center houston-tx cannot be used\. {name}[.:]"):
        center(**fields)


@pytest.mark.parametrize(
    ("fields", "demand"),
    [
        ({"center_id": "Houston TX"}, "must be lower-case letters, digits and inner hyphens, at most 63"),
        ({"token_path": "oauth"}, "must begin with / and have no ?, # or blank"),
        ({"resources": {"cad_incidents": {"item_path": "/v1/cad"}}}, "have {id} where the record's id goes"),
        ({"token_body": "xml"}, "must be 'json' or 'form'"),
        ({"max_requests_per_s": "many"}, "max_requests_per_s: must be a number."),
        ({"resources": []}, "must be an object of names and values"),
        ({"name": ""}, "must have at least 1 characters"),
        ({"enabeld": True}, "enabeld: is not known; mind its spelling"),
    ],
)
def test_it_is_said_what_a_field_must_be_in_a_persons_words(fields: dict[str, Any], demand: str) -> None:
    with pytest.raises(ConfigError) as caught:
        center(**fields)

    text = str(caught.value)
    assert demand in text
    assert not re.search(r"Input|String|pattern|valid dict|\^", text)


def test_every_mistake_is_told_at_once_and_no_value_is_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        configure_center(
            center_id="a",
            name="A",
            base_url="http://hidden.example",
            time_zone="Hidden/Zone" * 3,
            credentials={"cad_incidents": {"client_id": 5, "client_secret": {"hidden": "hidden"}}},
        )

    text = str(caught.value)
    assert all(name in text for name in ("base_url: ", "time_zone: ", "client_id: ", "client_secret: "))
    assert "hidden" not in text
    assert "errors.pydantic.dev" not in text


def test_a_secret_shows_nowhere() -> None:
    one = center()

    for text in (repr(one), str(one), repr(one.credentials), one.model_dump_json(), str(one.model_dump())):
        assert SECRET not in text


def test_a_center_goes_to_another_process_whole() -> None:
    one = center(resources={"cad_incidents": {"path": "/v9/x", "paging": {"style": "page"}}})

    twin = pickle.loads(pickle.dumps(one))

    assert twin == one
    assert twin.credentials[Scope.CAD_INCIDENTS].client_secret.get_secret_value() == SECRET


def test_a_center_does_not_change() -> None:
    with pytest.raises(ValidationError):
        center().name = "Another"  # type: ignore[misc]


def test_a_resource_is_as_declared_unless_the_center_says_otherwise() -> None:
    override = ResourceOverride(path="/v9/x", since_param="since", paging=Paging(style="offset", page_size=7))

    overridden = center(resources={"cad_incidents": override})

    assert center().resource("cad_incidents") == RESOURCES["cad_incidents"]
    changed = overridden.resource("cad_incidents")
    assert (changed.path, changed.since_param, changed.paging.page_size) == ("/v9/x", "since", 7)
    assert (changed.name, changed.scope, changed.id_field) == ("cad_incidents", Scope.CAD_INCIDENTS, "id")
    assert overridden.resource("incident_events") == RESOURCES["incident_events"]


def test_an_override_can_take_a_default_away() -> None:
    one = center(resources={"cad_incidents": {"paging": {"size_param": None}, "since_param": None}})

    assert one.resource("cad_incidents").paging == Paging(size_param=None)
    assert one.resource("cad_incidents").since_param is None


def test_an_override_may_change_everything_but_name_and_scope() -> None:
    assert set(Resource.model_fields) - set(ResourceOverride.model_fields) == {"name", "scope"}


def test_an_unknown_resource_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"There is no resource 'calls'\. Known are: incident_events, cad"):
        center().resource("calls")


def test_credentials_open_the_resources_of_their_scope_alone() -> None:
    both = {scope: Credentials(client_id=scope, client_secret=SECRET) for scope in reversed(Scope)}

    assert [r.name for r in center().allowed_resources()] == ["cad_incidents"]
    assert [r.name for r in center(credentials=both).allowed_resources()] == list(RESOURCES)
    assert center(credentials={}).allowed_resources() == []


def test_neither_body_nor_records_of_a_page_show_in_a_repr() -> None:
    now = datetime.now(UTC)
    page = Page(
        center_id="a",
        resource="cad_incidents",
        sequence=1,
        url_path="/v1/x",
        query={},
        status=200,
        headers={},
        requested_at=now,
        received_at=now,
        body=b'[{"caller": "hidden"}]',
        records=[{"caller": "hidden"}],
    )

    assert "hidden" not in repr(page)


def test_the_names_to_choose_from_are_those_of_the_resources() -> None:
    assert get_args(ResourceName) == tuple(RESOURCES)
