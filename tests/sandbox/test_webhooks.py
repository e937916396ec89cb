"""The sandbox sends: what the vendor documents, what goes wrong, and what it says of it afterwards."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.receiver import Receiver
from tests.sandbox_process import SandboxProcess
from tests.tls_server import tls_server
from tests.waiting import wait_until

HOUSTON = {"dataset": "houston-tx", "epoch": "2024-07-08T15:00:00Z"}

EVERYTHING = {
    "duplicated": 0.2,
    "displaced": 0.3,
    "children_first": 0.3,
    "same_second": 0.5,
    "revised": 0.2,
    "unknown_types": 0.2,
    "unknown_subtypes": 0.2,
    "unknown_fields": 0.2,
    "missing_optional": 0.3,
    "unfit": 0.4,
}


class Center:
    """A center of the sandbox with its webhooks."""

    def __init__(self, sandbox: SandboxProcess, receiver: Receiver) -> None:
        self.center_id = f"webhooks-{uuid.uuid4().hex[:8]}"
        self.sandbox = sandbox
        self.receiver = receiver
        sandbox.put_center(self.center_id, HOUSTON)
        self.aim(bearer="the-token")

    def aim(self, *, retry: dict[str, Any] | None = None, **login: Any) -> None:
        targets = {
            kind: {"url": f"{self.receiver.origin}/webhooks/{self.center_id}/{kind}", **login}
            for kind in ("incident-events", "cad")
        }
        retry = {"first_wait_s": 0.01, "longest_wait_s": 0.05} | (retry or {})
        self.sandbox.call("PUT", f"webhooks/{self.center_id}", {"targets": targets, "retry": retry})

    def begin(self, **keys: Any) -> None:
        given = {"incidents_at_most": 20, **keys}
        self.sandbox.call("POST", f"sendings/{self.center_id}", given)

    def standing(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.call("GET", f"sendings/{self.center_id}")[-1]
        return found

    def send(self, **keys: Any) -> dict[str, Any]:
        """Send, and return how it stood when all was acknowledged or given up."""
        self.begin(**keys)
        return self.wait()

    def wait(self) -> dict[str, Any]:
        wait_until(lambda: self.standing()["is_done"], lambda: str(self.standing()))
        return self.standing()

    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.call("GET", f"pushed/{self.center_id}")
        return found

    def bodies(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.call("GET", f"bodies/{self.center_id}")
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as serving:
        yield serving


@pytest.fixture
def center(sandbox: SandboxProcess, receiver: Receiver) -> Center:
    return Center(sandbox, receiver)


def test_everything_that_happened_is_sent_once_in_the_documented_shapes(center: Center) -> None:
    standing = center.send()
    contents = center.receiver.contents
    assert standing["acknowledged"] == standing["attempts"] == len(contents)
    assert len({one.body for one in center.receiver.received}) == len(contents)
    names = Counter(one.get("type") or one["event_type"] for one in contents)
    assert {*names} == {"incident_metadata", "caller_location", "media", "note_created", "location_updated"}
    for one, content in zip(center.receiver.received, contents, strict=True):
        kind = "incident-events" if "type" in content else "cad"
        assert one.path == f"/webhooks/{center.center_id}/{kind}"
        assert one.authorization == "Bearer the-token"
        for name in ("created_at", "updated_at", "audio_call_ended_at"):
            assert re.fullmatch(
                r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", content.get(name) or "2024-07-08 15:00:00 UTC"
            )
        assert re.fullmatch(r"\+171355501\d\d", content.get("caller_phone_number", "+17135550100"))


def test_the_first_location_of_a_caller_is_the_worst(center: Center) -> None:
    center.send()
    places = {}
    for content in center.truth()["caller_locations"]:
        places.setdefault(content["incident_id"], []).append(content)
    assert places
    for found in places.values():
        found.sort(key=lambda one: one["created_at"])
        assert len(found) >= 2
        first, best = found[0], found[-1]
        assert abs(first["lat"] - best["lat"]) + abs(first["lng"] - best["lng"]) > 0.003


def test_one_seed_one_sending(sandbox: SandboxProcess, receiver: Receiver) -> None:
    def sent(seed: int) -> list[bytes]:
        begins = len(receiver.received)
        Center(sandbox, receiver).send(**EVERYTHING, connections=1, seed=seed)
        return [one.body for one in receiver.received[begins:]]

    first = sent(1)
    assert sent(1) == first
    assert sent(2) != first


def test_anything_but_200_is_tried_again(center: Center) -> None:
    center.receiver.answers += [500, 202, 204, 404, None, 301, 429]
    standing = center.send(incidents_at_most=2)
    assert standing["acknowledged"] == standing["planned"]
    assert standing["attempts"] == standing["planned"] + 7
    answers = {"500": 1, "202": 1, "204": 1, "404": 1, "301": 1, "429": 1, "not answered": 1}
    assert standing["answers"] == answers | {"200": standing["planned"]}
    assert sum(one["unknown"] for one in center.bodies().values()) == 2, "the 500, and the one not answered"


def test_waits_grow_until_the_longest(center: Center) -> None:
    center.aim(bearer="the-token", retry={"factor": 3, "longest_wait_s": 0.05, "attempts": 5})
    center.receiver.accepted = {"another"}
    center.send(incidents_at_most=1, connections=1)
    first = center.receiver.received[0].body
    times_s = [one.at_s for one in center.receiver.received if one.body == first]
    waits_s = [after - before for before, after in itertools.pairwise(times_s)]
    for wait_s, least_s in zip(waits_s, (0.01, 0.03, 0.05, 0.05), strict=True):
        assert wait_s >= least_s


def test_what_is_given_up_is_said(center: Center) -> None:
    center.aim(bearer="the-token", retry={"attempts": 2})
    center.receiver.accepted = {"another"}
    standing = center.send(incidents_at_most=2)
    assert (standing["acknowledged"], standing["given_up"]) == (0, standing["planned"])
    assert standing["attempts"] == 2 * standing["planned"]
    assert all(not rows for rows in center.truth().values())


def test_a_wrong_token_first(center: Center) -> None:
    center.receiver.accepted = {"the-token"}
    standing = center.send(wrong_token=1)
    assert standing["answers"] == {"401": standing["planned"], "200": standing["planned"]}
    assert standing["wrongly_accepted"] == 0
    center.receiver.accepted = set()
    assert center.send(wrong_token=1, incidents_at_most=1)["wrongly_accepted"] > 0


def test_a_token_that_is_rotated_under_way(center: Center) -> None:
    center.receiver.accepted = {"the-next-token"}
    center.begin()
    wait_until(lambda: center.standing()["answers"].get("401", 0) > 10)
    center.aim(bearer="the-next-token")
    standing = center.wait()
    assert standing["acknowledged"] == standing["planned"]


def test_a_token_of_the_receivers_own_endpoint(center: Center) -> None:
    oauth = {"token_url": f"{center.receiver.origin}/oauth/token", "client_id": "c", "client_secret": "s"}
    center.receiver.accepted = {"token-1", "token-2"}
    center.aim(oauth=oauth)
    assert center.send()["tokens_asked"] == 1
    assert center.receiver.tokens == [
        {"grant_type": "client_credentials", "client_id": "c", "client_secret": "s"}
    ]
    center.receiver.accepted = {"token-2"}  # a sending of its own asks anew
    center.send(incidents_at_most=1)
    assert len(center.receiver.tokens) == 2


def test_a_refused_or_lapsed_token_is_asked_for_anew(center: Center) -> None:
    oauth = {"token_url": f"{center.receiver.origin}/oauth/token", "client_id": "c", "client_secret": "s"}
    center.receiver.accepted = {"token-2"}
    center.aim(oauth=oauth)
    standing = center.send(connections=1)
    assert (standing["tokens_asked"], standing["answers"]["401"]) == (2, 1)
    center.receiver.accepted = set()
    center.receiver.life_s = 1  # less than the margin
    standing = center.send(incidents_at_most=1)
    assert standing["tokens_asked"] == standing["attempts"]


def test_a_tie_is_sent_after_what_it_follows_and_received_order_decides(center: Center) -> None:
    center.send(same_second=1, displaced=1, duplicated=0.5, connections=16)
    truth = unordered(center.truth()["incidents"], "id")
    assert truth == unordered(newest_as_received(center.receiver), "id")


def test_the_truth_is_what_the_receiver_can_work_out(center: Center) -> None:
    center.receiver.answers += [None, 500, 200, 200] * 20
    standing = center.send(**EVERYTHING, large=1, large_bytes=50_000)
    truth, received = center.truth(), center.receiver.received
    assert standing["acknowledged"] == standing["planned"]
    assert unordered(truth["incidents"], "id") == unordered(newest_as_received(center.receiver), "id")
    understood = [one.content for one in received if fits(one.body)]
    for table, name in (
        ("incident_versions", "incident_metadata"),
        ("caller_locations", "caller_location"),
        ("media", "media"),
        ("cad_notes", "note_created"),
        ("cad_locations", "location_updated"),
    ):
        contents = {
            json.dumps(canonical(one), sort_keys=True)
            for one in understood
            if name in {one.get("type"), one.get("event_type")}
        }
        assert {json.dumps(row, sort_keys=True) for row in truth[table]} == contents
        assert len(truth[table]) == len(contents) > 0
    unfit = {hashlib.sha256(one.body).hexdigest() for one in received if not fits(one.body)}
    assert {*truth["not_understood"]} == unfit
    assert unfit


def test_the_bodies_say_how_often_each_may_have_been_kept(center: Center) -> None:
    center.receiver.answers += [None, 200, 503, 200] * 20
    center.send(duplicated=0.5)
    told = center.bodies()
    copies = Counter(hashlib.sha256(one.body).hexdigest() for one in center.receiver.received)
    assert copies == {body: one["acknowledged"] + one["unknown"] for body, one in told.items()}
    assert sum(one["unknown"] for one in told.values()) == 40


def test_children_come_before_their_incident(center: Center) -> None:
    center.send(children_first=1, connections=1)
    met: set[str] = set()
    early = 0
    for one in center.receiver.contents:
        if one.get("type") == "incident_metadata":
            met.add(one["id"])
        else:
            early += one["incident_id"] not in met
    assert early == sum(one.get("type") != "incident_metadata" for one in center.receiver.contents)


def test_large_bodies_have_the_length_asked_for(center: Center) -> None:
    center.send(large=2, large_bytes=10_000_000)
    assert sorted(len(one.body) for one in center.receiver.received)[-2:] == [10_000_000] * 2


def test_a_link_is_never_told_with_its_query(center: Center) -> None:
    center.send()
    assert "?" not in json.dumps(center.truth())
    assert any(
        "X-Amz-Signature" in one["url"] for one in center.receiver.contents if one.get("type") == "media"
    )


def test_a_rate_is_kept(center: Center) -> None:
    standing = center.send(incidents_at_most=4, rate_per_s=100)
    assert standing["seconds"] >= (standing["planned"] - 1) / 100


def test_slow_connections_are_held_or_cut_off(sandbox: SandboxProcess, center: Center) -> None:
    slow = {"connections": 4, "interval_s": 0.05, "longest_s": 0.5}
    assert center.send(slow_loris=slow, incidents_at_most=1)["slow_loris"] == {"held_open": 4}
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def cut() -> None:
            for _ in range(2):
                listening.accept()[0].close()

        thread = threading.Thread(target=cut, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        sandbox.call(
            "PUT",
            f"webhooks/{center.center_id}",
            {"targets": {"cad": {"url": url}}, "retry": {"attempts": 1}},
        )
        sandbox.put_center(center.center_id, {"dataset": {"records": {}}, "epoch": "2024-01-01T00:00:00Z"})
        standing = center.send(slow_loris=slow | {"connections": 2, "longest_s": 20})
        assert standing["slow_loris"] == {"cut_off": 2}
        thread.join(10)


def test_https_with_a_certificate_that_is_trusted(center: Center, tmp_path: Path) -> None:
    with tls_server(tmp_path) as origin:
        for trust, answer in (
            ({}, "not sent"),
            ({"trusted_certificate": str(tmp_path / "self-signed.pem")}, "501"),
        ):
            targets = {"cad": {"url": f"{origin}/", **trust}}
            retry = {"attempts": 1}
            center.sandbox.call("PUT", f"webhooks/{center.center_id}", {"targets": targets, "retry": retry})
            assert {*center.send(incidents_at_most=1)["answers"]} == {answer}


@pytest.mark.parametrize(
    "target",
    [
        {"url": "http://192.0.2.1/"},
        {"url": "http://example.net/"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1/?token=x"},
        {"url": "http://127.0.0.1/", "beerer": "x"},
        {"url": "https://127.0.0.1/", "trusted_certificate": "/nowhere.pem"},
        {
            "url": "http://127.0.0.1/",
            "bearer": "x",
            "oauth": {"token_url": "http://127.0.0.1/", "client_id": "a", "client_secret": "b"},
        },
    ],
)
def test_a_target_that_cannot_be_is_refused(center: Center, target: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"400 .*targets\.cad"):
        center.sandbox.call("PUT", f"webhooks/{center.center_id}", {"targets": {"cad": target}})


def test_nothing_is_sent_without_a_target_and_no_secret_is_shown(center: Center) -> None:
    assert "the-token" not in json.dumps(center.sandbox.call("GET", f"webhooks/{center.center_id}"))
    center.sandbox.call("PUT", f"webhooks/{center.center_id}", {"targets": {}})
    with pytest.raises(ValueError, match="PUT their targets first"):
        center.begin()


def test_a_sending_is_stopped(center: Center) -> None:
    center.begin(rate_per_s=1)
    center.sandbox.call("DELETE", f"sendings/{center.center_id}")
    wait_until(lambda: center.standing()["is_done"])
    assert center.standing()["left"] > 0


def fits(body: bytes) -> bool:
    """Say whether a body is an event that the documentation lets anyone understand."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    if content.get("type") == "incident_metadata":
        return "id" in content and content["updated_at"].endswith("UTC")
    return content.get("type") in {"caller_location", "media"} or content.get("event_type") in {
        "note_created",
        "location_updated",
    }


def canonical(content: dict[str, Any]) -> dict[str, Any]:
    """Return a content with times as the truth has them, and without a link's query."""
    found = {
        name: value.replace(" UTC", ".000000+00:00").replace(" ", "T")
        if name.endswith("_at") and value is not None
        else value
        for name, value in content.items()
    }
    for name in ("url", "note"):
        link, mark, rest = found.get(name, "").partition("?")
        if mark:  # what a correction adds stands after the query
            found[name] = link + rest[len(rest.partition(" ")[0]) :]
    return found


def newest_as_received(receiver: Receiver) -> list[dict[str, Any]]:
    """Return the newest version of each incident, by the contract's rule, from what came, in its order."""
    newest: dict[str, dict[str, Any]] = {}
    known: set[bytes] = set()
    for one in receiver.received:
        if not fits(one.body) or one.body in known or one.content.get("type") != "incident_metadata":
            continue
        known.add(one.body)
        content = canonical(one.content)
        held = newest.get(content["id"])
        if held is None or rank(content) >= rank(held):
            newest[content["id"]] = content
    return list(newest.values())


def rank(content: dict[str, Any]) -> tuple[str, bool]:
    return content["updated_at"], content.get("audio_call_ended_at") is not None


def unordered(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row[key])
