"""Records appear and change as the clock moves, and the truth says what there is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.state import KEEP_CLOCK_S, State
from tests.sandbox.process import control, refused, started
from tests.sandbox.vendor import Vendor, ids, inline, records

NewCenter = Callable[..., Vendor]

RESOURCES = ("incident_events", "cad_incidents")


def version(identity: str, minute: int, state: str) -> dict[str, Any]:
    created_at = "2024-03-01T10:00:00+00:00"
    return {
        "id": identity,
        "created_at": created_at,
        "updated_at": f"2024-03-01T10:{minute:02}:00+00:00",
        "state": state,
    }


STORY = {
    "dataset": inline(version("a", 1, "new"), version("a", 3, "done"), version("b", 2, "new")),
    "epoch": "2024-03-01T10:00:00Z",
}


def states(center: Vendor) -> dict[str, str]:
    return {record["id"]: record["state"] for record in records(center.get())}


def test_records_appear_and_change_as_the_clock_moves(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    seen = []
    for _ in range(4):
        seen.append(states(center))
        center.sandbox.advance_clock(60)

    assert seen == [{}, {"a": "new"}, {"a": "new", "b": "new"}, {"a": "done", "b": "new"}]


def test_a_version_is_there_from_its_very_instant(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    center.sandbox.call("POST", "clock", {"elapsed_s": 59.999})
    assert states(center) == {}
    center.sandbox.call("POST", "clock", {"elapsed_s": 60})
    assert states(center) == {"a": "new"}


def test_the_truth_moves_with_the_clock(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    center.sandbox.advance_clock(180)

    truth = center.truth()

    assert truth["now"] == "2024-03-01T10:03:00Z"
    assert (truth["current_count"], truth["version_count"]) == (2, 3)
    assert [(one["id"], one["state"]) for one in truth["versions"]] == [
        ("a", "new"),
        ("b", "new"),
        ("a", "done"),
    ]
    assert {one["id"]: one["state"] for one in truth["current"]} == {"a": "done", "b": "new"}
    assert truth["current"][0]["updated_at"] == "2024-03-01T10:03:00.000000+00:00"


def test_the_truth_of_another_time_can_be_asked_for(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    path = f"truth/{center.center_id}/incident_events"

    then = center.sandbox.call("GET", f"{path}?elapsed_s=120")

    assert (then["now"], then["version_count"]) == ("2024-03-01T10:02:00Z", 2)
    assert center.truth()["version_count"] == 0, "asking moves nothing"


def test_the_truth_can_be_counted_without_being_told(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    center.sandbox.advance_clock(180)
    path = f"truth/{center.center_id}/incident_events?counts_only=1"
    assert center.sandbox.call("GET", path) == {
        "now": "2024-03-01T10:03:00Z",
        "current_count": 2,
        "version_count": 3,
    }


@pytest.mark.parametrize("hours", [0, 1, 12, 48])
def test_the_current_truth_is_the_newest_version_of_each_record(new_center: NewCenter, hours: int) -> None:
    center = new_center(epoch="2024-03-01T00:00:00Z")
    center.sandbox.call("POST", "clock", {"elapsed_s": hours * 3600})

    for resource in RESOURCES:
        truth = center.truth(resource)
        newest = {one["id"]: one for one in truth["versions"]}
        assert {one["id"]: one for one in truth["current"]} == newest
        assert truth["current_count"] == len(newest)
        for one in truth["versions"]:
            assert newest[one["id"]]["updated_at"] >= one["updated_at"]


@pytest.mark.parametrize(
    ("name", "epoch"),
    [("houston-tx", "2024-07-07T06:00:00Z"), ("san-francisco-ca", "2020-04-03T06:00:00Z")],
)
def test_a_sample_is_listed_as_its_truth_has_it(new_center: NewCenter, name: str, epoch: str) -> None:
    center = new_center(dataset=name, epoch=epoch, page_size_cap=10_000)

    truth = {one["id"]: one for one in center.truth("cad_incidents")["current"]}
    listed = {one["id"]: one for one in records(center.get("cad_incidents", per_page=10_000))}

    assert len(truth) > 100
    assert listed == {identity: as_listed(one) for identity, one in truth.items()}


def as_listed(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value[:23]}Z" if name.endswith("_at") and value else value for name, value in record.items()
    }


def test_without_an_epoch_everything_there_is_has_happened(new_center: NewCenter) -> None:
    center = new_center(epoch=None)
    assert len(center.true_ids()) == 25
    assert center.sandbox.call("GET", "clock")["centers"][center.center_id]["is_exhausted"] is True


def test_every_center_lives_in_its_own_year(new_center: NewCenter) -> None:
    one, other = (
        new_center(epoch="2024-03-01T00:00:00Z"),
        new_center(epoch="2031-03-01T00:00:00+02:00", dataset=STORY["dataset"]),
    )
    one.sandbox.advance_clock(90)

    clock = one.sandbox.call("GET", "clock")

    assert clock["elapsed_s"] == 90
    assert clock["centers"][one.center_id] == {"now": "2024-03-01T00:01:30Z", "is_exhausted": False}
    assert clock["centers"][other.center_id]["is_exhausted"] is True
    assert other.truth()["now"] == "2031-02-28T22:01:30Z"


def test_the_clock_can_be_set_and_set_back(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    assert center.sandbox.call("POST", "clock", {"elapsed_s": 300})["elapsed_s"] == 300
    assert len(center.true_ids()) == 2
    assert center.sandbox.call("POST", "clock", {"advance_s": -200})["elapsed_s"] == 100
    assert len(center.true_ids()) == 1


def test_a_clock_that_runs_by_itself_brings_what_is_new(new_center: NewCenter) -> None:
    center = new_center(**STORY)
    try:
        center.sandbox.call("POST", "clock", {"speed": 600})
        deadline_s = time.monotonic() + 30
        while states(center) != {"a": "done", "b": "new"}:
            assert time.monotonic() < deadline_s, "the clock stands still"
    finally:
        stopped = center.sandbox.call("POST", "clock", {"speed": 0})

    assert stopped["speed"] == 0
    assert center.sandbox.call("GET", "clock")["elapsed_s"] == stopped["elapsed_s"] >= 180


def test_a_clock_that_runs_by_itself_goes_by_whole_seconds_and_is_kept_ahead(tmp_path: Path) -> None:
    time_s = 1000.0
    state = State(tmp_path / "clock.json", timer=lambda: time_s)
    state.set_clock(50)
    state.set_speed(2)
    time_s += 7.4
    state.keep_clock()

    assert state.elapsed_s == 64, (
        "not 64.8: what a center shows is worked out anew whenever its now is another"
    )
    assert State(tmp_path / "clock.json").elapsed_s == 64 + 2 * 2 * KEEP_CLOCK_S
    state.set_speed(0)
    assert State(tmp_path / "clock.json").elapsed_s == 64


def test_a_sandbox_started_again_never_sets_its_clock_back(tmp_path: Path) -> None:
    state = tmp_path / "clock.json"
    with started(tmp_path, "--state", str(state), "--speed", "50") as url:
        while (shown_s := control(url, "clock")["elapsed_s"]) < 20:
            pass

    with started(tmp_path, "--state", str(state)) as url:
        assert control(url, "clock")["elapsed_s"] >= shown_s


@pytest.mark.parametrize("speed", ["-1", "nan", "fast", "1e9"])
def test_a_speed_that_cannot_be_is_refused(speed: str) -> None:
    code, printed = refused(f"--speed={speed}")

    assert code == 2
    assert "a speed is a number from 0 to 86,400" in printed


@pytest.mark.parametrize(
    ("move", "sentence"),
    [
        ({"advance": 60}, "advance: there is no such key"),
        ({}, "give one of advance_s, elapsed_s and speed"),
        ({"advance_s": 1, "elapsed_s": 1}, "give one of advance_s, elapsed_s and speed"),
        ({"advance_s": "soon"}, "advance_s: Input should be a valid number"),
        ({"advance_s": 1e12}, "advance_s: Input should be less than or equal to"),
        ([60], "the body must be a JSON object"),
    ],
)
def test_a_move_that_cannot_be_is_refused_and_moves_nothing(
    new_center: NewCenter, move: Any, sentence: str
) -> None:
    center = new_center()
    with pytest.raises(ValueError, match=f"400 .*{sentence}"):
        center.sandbox.call("POST", "clock", move)
    assert center.sandbox.call("GET", "clock")["elapsed_s"] == 0


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("truth/nobody/incident_events", "404 .*there is no center 'nobody'"),
        ("truth/{}/calls", "404 .*there is no resource 'calls'; known are incident_events, cad_incidents"),
        ("truth/{}/incident_events?elapsed_s=soon", "400 .*could not convert"),
        ("truth/{}/incident_events?elapsed_s=inf", "400 .*"),
    ],
)
def test_a_truth_that_cannot_be_told_is_refused_with_a_sentence(
    new_center: NewCenter, path: str, sentence: str
) -> None:
    center = new_center()
    with pytest.raises(ValueError, match=sentence):
        center.sandbox.call("GET", path.format(center.center_id))


def test_the_clock_is_kept_over_a_restart(tmp_path: Path) -> None:
    state, config = tmp_path / "deep" / "state.json", tmp_path / "config.json"
    config.write_text(json.dumps({"centers": {"one": STORY}}))
    options = ("--quiet", "--state", str(state), "--config", str(config))

    with started(tmp_path, *options) as url:
        assert control(url, "clock")["elapsed_s"] == 0
        control(url, "clock", {"advance_s": 150})
    with started(tmp_path, *options) as url:
        control(url, "clock", {"advance_s": 30})
        truth = control(url, "truth/one/incident_events")

    assert (truth["now"], truth["version_count"]) == ("2024-03-01T10:03:00Z", 3)
    assert json.loads(state.read_text()) == {"elapsed_s": 180}
    assert [path.name for path in state.parent.iterdir()] == ["state.json"], "nothing half-written is left"


def test_two_centers_may_have_the_same_incident(new_center: NewCenter) -> None:
    one, other = (new_center(dataset=STORY["dataset"]) for _ in range(2))
    assert ids(one.get()) == ids(other.get()) != []
