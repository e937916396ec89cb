"""One incident, as the vendor's API may show it, with links that expire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.sandbox.vendor import Vendor

NewCenter = Callable[..., Vendor]

MEDIA_KEYS = {"id", "media_type", "content_type", "url", "created_at"}


def shown(center: Vendor, incident_id: str) -> httpx.Response:
    return center.fetch(f"{center.url('incident_events')}/{incident_id}", center.token("incident_events"))


def with_media(center: Vendor) -> tuple[str, list[dict[str, Any]]]:
    """Return an incident that has media, and these."""
    for record in center.sandbox.truth(center.center_id, "incident_events")["current"]:
        if media := shown(center, record["id"]).json()["media"]:
            return record["id"], media
    raise AssertionError("none has media")


def test_it_is_the_newest_version_with_its_media(new_center: NewCenter) -> None:
    center = new_center()
    incident_id, media = with_media(center)
    content = shown(center, incident_id).json()

    del content["media"]
    (truth,) = [
        one
        for one in center.sandbox.truth(center.center_id, "incident_events")["current"]
        if one["id"] == incident_id
    ]
    assert content.keys() == truth.keys()
    assert all(one.keys() == MEDIA_KEYS for one in media)


def test_each_answer_has_links_of_its_own_to_the_same_files(new_center: NewCenter) -> None:
    center = new_center()
    incident_id, media = with_media(center)
    again = shown(center, incident_id).json()["media"]

    assert [one["id"] for one in again] == [one["id"] for one in media]
    for one, other in zip(media, again, strict=True):
        assert one["url"] != other["url"]
        assert one["url"].partition("?")[0] == other["url"].partition("?")[0]


def test_a_link_that_was_shown_can_expire(new_center: NewCenter) -> None:
    center = new_center()
    _, media = with_media(center)
    origin = center.sandbox.call("GET", "health")["media_url"]
    link = origin + media[0]["url"].removeprefix("https://media.example.net")

    before = center.http.get(link).status_code
    center.sandbox.call("POST", "expired_links")

    assert (before, center.http.get(link).status_code) == (200, 403)


@pytest.mark.parametrize(
    ("item", "status"), [("without_media", 200), ("nested", 200), ("absent", 404), ("not_allowed", 405)]
)
def test_other_forms(new_center: NewCenter, item: str, status: int) -> None:
    center = new_center()
    incident_id, media = with_media(center)
    center.sandbox.patch_center(center.center_id, {"item": item})

    answer = shown(center, incident_id)

    assert answer.status_code == status
    assert (media[0]["id"] in answer.text) == (item == "nested")


def test_who_may_not_read_the_listing_may_not_read_one(new_center: NewCenter) -> None:
    center = new_center()
    incident_id, _ = with_media(center)
    url = f"{center.url('incident_events')}/{incident_id}"

    assert center.fetch(url, "made-up").status_code == 401
    assert center.fetch(url, center.token("cad_incidents")).status_code == 403
    assert shown(center, "nobody").status_code == 404


def test_a_fault_can_be_for_one_incident_only(new_center: NewCenter) -> None:
    center = new_center()
    incident_id, _ = with_media(center)
    center.sandbox.add_fault(center.center_id, "status", on="item", status=503)

    assert center.fetch(center.url("incident_events"), center.token("incident_events")).status_code == 200
    assert shown(center, incident_id).status_code == 503
    with pytest.raises(ValueError, match="cannot be on: item"):
        center.sandbox.add_fault(center.center_id, "status", on="item", page=2)
