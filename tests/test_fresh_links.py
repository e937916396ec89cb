"""A link that has expired: the center's API is asked for another, with care."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatchlake.api.media import MediaClient
from dispatchlake.errors import ConfigError
from dispatchlake.fresh_links import FindCenter
from dispatchlake.lake import media_files, open_lake
from dispatchlake.lake.custody import verify
from dispatchlake.lake.reading import connect
from dispatchlake.landing import land_deliveries
from dispatchlake.media import fetch_media
from dispatchlake.model import DispatchCenter, ResourceOverride
from dispatchlake.settings import Settings
from tests.media import MediaHost, media_host
from tests.test_landing import delivery, keep
from tests.test_media import LIMITS


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaHost]:
    with media_host(tmp_path_factory.mktemp("media")) as found:
        yield found


@pytest.fixture
def here(settings: Settings) -> Settings:
    return settings.model_copy(update={"fetch_media": True, "retry_budget_s": 1e-9})


@pytest.fixture
def client(host: MediaHost) -> MediaClient:
    return MediaClient(LIMITS, network=host.network(), tls=host.tls)


def nobody(_center_id: str) -> DispatchCenter:
    raise AssertionError("no center is to be asked")


def finding(center: DispatchCenter) -> FindCenter:
    def find(center_id: str) -> DispatchCenter:
        assert center_id == center.center_id
        return center

    return find


def deliver(settings: Settings, center: DispatchCenter, contents: list[dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    keep(settings, *(delivery(one, center.center_id, received_at=now) for one in contents))
    land_deliveries(settings)


def rows(settings: Settings) -> list[dict[str, Any]]:
    with connect(settings.lake_dir) as lake:
        found: list[dict[str, Any]] = lake.sql("SELECT * FROM media_files").to_arrow_table().to_pylist()
        return found


def asked(host: MediaHost, center: DispatchCenter) -> list[str]:
    return [one["path"] for one in host.sandbox.requests(center.center_id) if one["on"] == "item"]


def of_one_incident(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the media of the first incident that has two."""
    ids = [one["incident_id"] for one in contents]
    twice = next(one for one in ids if ids.count(one) == 2)
    return [one for one in contents if one["incident_id"] == twice]


def of_different_incidents(contents: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return a medium each of so many incidents."""
    return list({one["incident_id"]: one for one in contents}.values())[:count]


@pytest.mark.parametrize("form", ["media", "nested"])
def test_an_incident_is_asked_for_once_and_all_its_files_are_fetched(
    here: Settings, host: MediaHost, client: MediaClient, form: str
) -> None:
    center, contents = host.center(item=form)
    some = of_one_incident(contents)
    deliver(here, center, some)
    host.expire_links()

    summary = fetch_media(here, find_center=finding(center), client=client)

    assert (summary.expired, summary.fetched) == (2, 2)
    assert asked(host, center) == [f"/v1/incident_events/{some[0]['incident_id']}"]
    for row in rows(here):
        assert (row["state"], row["answer"], row["error"], row["attempts"]) == ("fetched", "link", None, 2)
        assert row["asked_at"] is not None
        (link,) = [one["url"] for one in some if one["id"] == row["media_id"]]
        assert {name: row[name] for name in ("size_bytes", "sha256")} == host.file(link)
    assert fetch_media(here, find_center=nobody, client=client).tried == 0


def test_the_answer_is_archived_in_the_chain_and_the_query_is_nowhere_else(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, of_one_incident(contents))
    host.expire_links()
    fetch_media(here, find_center=finding(center), client=client)

    with connect(here.lake_dir) as lake:
        ((url_path, query, status, run_id, body),) = lake.sql(
            """SELECT url_path, query, status, run_id, body FROM raw_pages
            WHERE resource = 'incident_events:item'"""
        ).fetchall()
        tables = [row[0] for row in lake.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
        told = {
            name: json.dumps(lake.sql(f'FROM "{name}"').to_arrow_table().to_pylist(), default=str)
            for name in tables
            if name != "raw_pages"
        }
        before = lake.sql("SELECT count(*) FROM quarantine").fetchall()
    assert (url_path, query, status) == ("/v1/incident_events/{id}", "{}", 200)
    assert run_id.startswith("media ")
    assert len(json.loads(body)["media"]) == 2
    assert [name for name, text in told.items() if "Signature" in text] == []
    with open_lake(here) as open_:
        open_.replay()
    with connect(here.lake_dir) as lake:
        assert lake.sql("SELECT count(*) FROM quarantine").fetchall() == before, "a replay leaves it alone"
    assert [one.broken for one in verify(here.lake_dir)] == [None]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("without_media", "The API was asked for the incident, and shows no link to this file."),
        ("absent", "The API shows no such incident (HTTP 404)."),
        ("not_allowed", "The API shows no such incident (HTTP 405)."),
    ],
)
def test_an_api_that_shows_no_media_is_asked_three_times_and_left_alone_for_a_day(
    here: Settings,
    host: MediaHost,
    client: MediaClient,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    error: str,
) -> None:
    center, contents = host.center(item=form)
    several = list({one["incident_id"]: one for one in contents}.values())[:5]
    assert len(several) == 5
    deliver(here, center, several)
    host.expire_links()

    first = fetch_media(here, find_center=finding(center), client=client)
    again = fetch_media(here, find_center=finding(center), client=client)

    assert (first.expired, again.tried) == (5, 0)
    assert len(set(asked(host, center))) == len(asked(host, center)) == 3
    told = {row["media_id"]: (row["answer"], row["error"]) for row in rows(here)}
    assert sorted(told.values(), key=str).count(("none", f"The link opens nothing any more. {error}")) == 3
    assert all(row["state"] == "expired" and row["attempts"] == 1 for row in rows(here))

    monkeypatch.setattr(media_files, "ASK_USELESS_AGAIN_AFTER", timedelta(0))
    fetch_media(here, find_center=finding(center), client=client)
    assert len(set(asked(host, center))) == 5, "a day later it is asked for the others, and for none twice"
    fetch_media(here, find_center=nobody, client=client)


def test_one_that_does_not_answer_is_asked_again_in_ten_minutes(
    here: Settings, host: MediaHost, client: MediaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    center, contents = host.center()
    deliver(here, center, of_different_incidents(contents, 2))
    host.expire_links()
    host.sandbox.add_fault(center.center_id, "status", on="item", status=503)

    fetch_media(here, find_center=finding(center), client=client)
    fetch_media(here, find_center=finding(center), client=client)

    assert len(asked(host, center)) == 1
    assert {row["answer"] for row in rows(here)} == {"failed", None}
    assert any("could not be asked for another yet" in row["error"] for row in rows(here))

    monkeypatch.setattr(media_files, "ASK_AGAIN_AFTER", timedelta(0))
    assert fetch_media(here, find_center=finding(center), client=client).fetched == 2
    assert {row["state"] for row in rows(here)} == {"fetched"}


def test_a_refused_login_is_not_tried_again_the_same_day(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, of_different_incidents(contents, 3))
    host.expire_links()
    host.sandbox.add_fault(center.center_id, "status", on="item", status=403, times=9)

    for _ in range(2):
        fetch_media(here, find_center=finding(center), client=client)

    assert len(asked(host, center)) == 1
    (row,) = [one for one in rows(here) if one["answer"] == "refused"]
    assert "these credentials do not open it" in row["error"]
    host.sandbox.call("DELETE", f"faults/{center.center_id}")


def test_a_center_that_is_not_registered_or_switched_off_is_said_and_stops_nothing(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, contents[:1])
    host.expire_links()

    def unknown(center_id: str) -> DispatchCenter:
        raise ConfigError(f"Unknown dispatch center: {center_id}.")

    without = center.model_copy(update={"credentials": {}})
    for find, error in [
        (unknown, f"Unknown dispatch center: {center.center_id}."),
        (finding(center.model_copy(update={"enabled": False})), "is switched off"),
        (finding(without), "has no credentials for the scope incident_events"),
    ]:
        fetch_media(here, find_center=find, client=client)
        assert error in rows(here)[0]["error"]
        reset(here)
    assert asked(host, center) == []


def reset(settings: Settings) -> None:
    """Let what was asked have been asked an hour ago."""
    with open_lake(settings) as lake, lake.held() as connection:
        connection.execute("UPDATE media_files SET asked_at = asked_at - INTERVAL 1 HOUR")


def test_where_the_path_is_switched_off_nothing_is_asked(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    override = {"incident_events": ResourceOverride(item_path=None)}
    deliver(here, center, contents[:1])
    host.expire_links()

    fetch_media(here, find_center=finding(center.model_copy(update={"resources": override})), client=client)

    assert rows(here)[0]["error"] == (
        "The link opens nothing any more. The API shows no such incident (it is not asked)."
    )
    assert asked(host, center) == []


def test_a_later_delivery_comes_first(here: Settings, host: MediaHost, client: MediaClient) -> None:
    center, contents = host.center()
    deliver(here, center, contents[:1])
    host.fault("status", status=410)
    fetch_media(here, client=client)
    deliver(here, center, contents[:1])

    assert fetch_media(here, find_center=nobody, client=client).fetched == 1


def test_a_file_without_an_id_is_known_by_where_it_lies(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, [{name: value for name, value in contents[0].items() if name != "id"}])
    host.expire_links()

    assert fetch_media(here, find_center=finding(center), client=client).fetched == 1


def test_an_incident_nobody_names_cannot_be_asked_for(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, [{name: one for name, one in contents[0].items() if name != "incident_id"}])
    host.expire_links()

    assert fetch_media(here, find_center=nobody, client=client).expired == 1


def test_a_fresh_link_whose_host_fails_is_asked_for_once_more(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    center, contents = host.center()
    deliver(here, center, contents[:1])
    host.expire_links()
    host.fault("status", status=410)
    host.fault("status", status=503)

    first = fetch_media(here, find_center=finding(center), client=client)
    (row,) = rows(here)
    reset(here)
    second = fetch_media(here, find_center=finding(center), client=client)

    assert (first.expired, first.fetched) == (2, 0)
    assert (row["state"], row["answer"]) == ("expired", "failed")
    assert row["error"] == "There was a fresh link. The host answered with HTTP 503."
    assert second.fetched == 1
    assert len(asked(host, center)) == 2
