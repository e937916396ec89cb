"""From the links of deliveries to files, and to what the lake says of each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.api.media import MediaClient, MediaLimits
from dispatchlake.errors import ConfigError, MediaUnavailable
from dispatchlake.lake import MediaOutcome, open_lake
from dispatchlake.lake.reading import connect
from dispatchlake.landing import land_deliveries
from dispatchlake.media import MediaSummary, fetch_media
from dispatchlake.settings import Settings
from tests.command_line import run
from tests.lake.deliveries import media
from tests.media import HOST, LoopbackNetwork, MediaHost, media_host
from tests.test_landing import delivery, keep

LIMITS = MediaLimits(file_bytes=1_000_000, silence_s=5, retry_budget_s=1e-9)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaHost]:
    with media_host(tmp_path_factory.mktemp("media")) as found:
        yield found


@pytest.fixture
def here(settings: Settings) -> Settings:
    return settings.model_copy(update={"fetch_media": True})


@pytest.fixture
def network(host: MediaHost) -> LoopbackNetwork:
    return host.network()


@pytest.fixture
def client(host: MediaHost, network: LoopbackNetwork) -> MediaClient:
    return MediaClient(LIMITS, network=network, tls=host.tls)


def deliver(settings: Settings, *links: Any, **fields: Any) -> None:
    """Land a delivery for each link, under the ids m0, m1 and so on."""
    contents = [media(id=f"m{number}", url=link, **fields) for number, link in enumerate(links)]
    keep(settings, *(delivery(one, received_at=datetime.now(UTC)) for one in contents))
    land_deliveries(settings)


def table(settings: Settings) -> dict[str, dict[str, Any]]:
    with connect(settings.lake_dir) as lake:
        rows = lake.sql("SELECT * FROM media_files").to_arrow_table().to_pylist()
    assert len({row["media_id"] for row in rows}) == len(rows)
    return {row["media_id"]: row for row in rows}


def test_every_file_is_fetched_once_and_is_what_the_lake_says(
    here: Settings, host: MediaHost, client: MediaClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    links = host.links()
    deliver(here, *links)

    assert fetch_media(here, client=client).fetched == len(links)
    assert fetch_media(here, client=client).tried == 0

    rows = table(here)
    for number, link in enumerate(links):
        row = rows[f"m{number}"]
        assert {name: row[name] for name in ("size_bytes", "sha256")} == host.file(link)
        assert (here.media_dir / row["path"]).stat().st_size == row["size_bytes"]
        assert (row["state"], row["error"], row["attempts"]) == ("fetched", None, 1)
    told = json.dumps(rows, default=str) + "".join(record.getMessage() for record in caplog.records)
    assert "Signature" not in told
    assert not any(b"Signature" in path.read_bytes() for path in here.media_dir.rglob("*") if path.is_file())


def test_an_expired_link_waits_for_a_later_delivery_that_has_a_fresh_one(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    (link, *_) = host.links()
    host.fault("status", status=410)
    deliver(here, link)
    assert fetch_media(here, client=client) == MediaSummary(expired=1, seconds=pytest.approx(0, abs=1e9))
    assert table(here)["m0"]["state"] == "expired"
    assert fetch_media(here, client=client).tried == 0, "the link it has is not tried again"

    deliver(here, link)  # the same, but for a query that is never kept
    assert fetch_media(here, client=client).fetched == 1
    assert (table(here)["m0"]["state"], table(here)["m0"]["attempts"]) == ("fetched", 2)


def test_what_became_of_each_is_said_and_one_stops_no_other(
    here: Settings, host: MediaHost, client: MediaClient, network: LoopbackNetwork
) -> None:
    good, bad, *_ = host.links()
    network.names["internal.example.net"] = ["10.0.0.7"]
    host.fault("status", path=bad.partition("?")[0].rpartition("/")[2], status=503)
    deliver(here, good, bad, "https://internal.example.net/x?secret", "http://media.example.net/x", 7)

    summary = fetch_media(here, client=client)

    assert (summary.fetched, summary.failed, summary.refused) == (1, 1, 2)
    states = {media_id: row["state"] for media_id, row in table(here).items()}
    assert states == {"m0": "fetched", "m1": "failed", "m2": "refused", "m3": "refused"}
    assert "secret" not in json.dumps(table(here), default=str)
    assert fetch_media(here, client=client).tried == 0, "what failed is not tried again at once"


def test_links_that_are_none_stop_no_other(here: Settings, host: MediaHost, client: MediaClient) -> None:
    strange = [
        "https://xn--/x",
        "https://media.example.net:443443443443443443443/x",
        "https://xn--a-ecp.ru/x",
    ]
    deliver(here, *host.links()[:1], *strange * 10)

    summary = fetch_media(here, client=client)

    assert (summary.fetched, summary.refused) == (1, 30)


def test_an_error_of_ours_stops_no_other(
    here: Settings, host: MediaHost, network: LoopbackNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, *_ = host.links()
    client = MediaClient(LIMITS, network=network, tls=host.tls)
    fetch = client.fetch

    def fail(link: str, target: Path) -> Any:
        if link == bad:
            raise KeyError(link)
        return fetch(link, target)

    monkeypatch.setattr(client, "fetch", fail)
    deliver(here, good, bad)

    summary = fetch_media(here, client=client)

    assert (summary.fetched, summary.failed) == (1, 1)
    assert table(here)["m1"]["error"] == "An error of ours (KeyError)."


def test_no_center_keeps_the_files_of_another_waiting(here: Settings, host: MediaHost) -> None:
    now, link = datetime.now(UTC), host.links()[0]
    before, after = now - timedelta(hours=1), now + timedelta(minutes=1)
    many = [
        delivery(media(id=f"m{number}", url=link), center_id="busy", received_at=now) for number in range(30)
    ]
    keep(here, delivery(media(id="one", url=link), center_id="quiet", received_at=before), *many)
    land_deliveries(here)
    with open_lake(here) as lake:
        due = lake.media_due(limit=20)
        assert [one.center_id for one in due] == ["busy", "quiet", *["busy"] * 18]
        tried = [MediaOutcome(one, "expired", before if one.center_id == "quiet" else after) for one in due]
        lake.record_media(tried)
        lake.record_media([MediaOutcome(one, "expired", after) for one in lake.media_due(limit=20)])
    keep(here, delivery(media(id="one", url=link), center_id="quiet", received_at=now))
    land_deliveries(here)
    with open_lake(here) as lake:
        assert [one.center_id for one in lake.media_renewed(limit=20)] == ["quiet"]


@pytest.mark.parametrize("breaks_off", [False, True])
def test_what_is_erased_while_its_file_comes_leaves_none_of_it(
    here: Settings, host: MediaHost, client: MediaClient, breaks_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = client.fetch

    def erase_and_fetch(link: str, target: Path) -> Any:
        with open_lake(here) as lake, lake.session() as connection:
            lake.transact(lambda: connection.execute("DELETE FROM media"))
        if breaks_off:
            target.with_name(f"{target.name}.part").write_bytes(b"half of it")
            raise MediaUnavailable("The connection failed.")
        return fetch(link, target)

    monkeypatch.setattr(client, "fetch", erase_and_fetch)
    deliver(here, host.links()[0])

    fetch_media(here, client=client)

    assert [path for path in here.media_dir.rglob("*") if path.is_file()] == []


def test_a_link_that_came_a_week_ago_is_not_tried(
    here: Settings, host: MediaHost, client: MediaClient
) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7)
    keep(here, delivery(media(id="m0", url=host.links()[0]), received_at=week_ago))
    land_deliveries(here)
    assert fetch_media(here, client=client).tried == 0


def test_an_id_is_no_path(here: Settings, host: MediaHost, client: MediaClient) -> None:
    (link, *_) = host.links()
    keep(here, delivery(media(id="../../../../tmp/evil", url=link), received_at=datetime.now(UTC)))
    land_deliveries(here)
    assert fetch_media(here, client=client).fetched == 1
    (row,) = table(here).values()
    assert (here.media_dir / row["path"]).resolve().parent == (here.media_dir / "center-a").resolve()


def test_nothing_is_fetched_unless_it_is_wanted(
    settings: Settings, host: MediaHost, client: MediaClient
) -> None:
    deliver(settings, f"https://{HOST}/x")
    with pytest.raises(ConfigError, match="DISPATCHLAKE_FETCH_MEDIA"):
        fetch_media(settings, client=client)
    assert not settings.media_dir.exists()


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    refused = run("fetch-media")
    assert refused.returncode == 1
    assert "DISPATCHLAKE_FETCH_MEDIA=1" in refused.stderr
    done = run("fetch-media", env={"DISPATCHLAKE_FETCH_MEDIA": "1"})
    assert (done.returncode, done.stdout.strip()) == (0, "No media file waits.")
    assert "too often" in run("fetch-media", "--every", "0").stderr
