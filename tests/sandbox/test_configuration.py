"""A mistake in what a person gives ends in one sentence that says what to change."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.__main__ import load_config, parse_arguments
from sandbox.config import CenterConfig
from sandbox.state import State
from tests.sandbox.process import control, refused, started
from tests.sandbox.vendor import Vendor, inline, synthetic
from tests.sandbox_process import SandboxProcess

NewCenter = Callable[..., Vendor]

CLIENT = {"client_id": "one", "client_secret": "synthetic"}
RECORD = {"id": "a", "created_at": "2024-03-01T00:00:00Z", "updated_at": "2024-03-01T00:00:00Z"}


def version(**changed: Any) -> dict[str, Any]:
    record = {name: value for name, value in (RECORD | changed).items() if value is not ...}
    return {"records": {"incident_events": [{"visible_at": "2024-03-01T00:00:00Z", "record": record}]}}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"pagging": "link"}, "pagging: there is no such key"),
    ({"paging": "pages"}, "paging: Input should be 'array', 'link', "),
    ({"dataset": "boston-ma"}, "dataset.name: Input should be 'houston-tx', 'san-francisco-ca' or 'san-d"),
    ({"dataset": None}, "dataset.synthetic: Input should be a valid dictionary"),
    ({"dataset": synthetic(-1)}, "dataset.synthetic.synthetic.count: Input should be greater than or equal"),
    ({"epoch": "2024-03-01T00:00:00"}, "epoch: a time must say its zone"),
    ({"epoch": "soon"}, "epoch: Input should be a valid datetime"),
    ({"page_size": 0}, "page_size: Input should be greater than or equal to 1"),
    ({"token": {"life": 3}}, "token.life: there is no such key"),
    ({"token": {"mode": "old"}}, "token.mode: Input should be 'new', 'reuse' or 'revoke_previous'"),
    ({"drift": ["odd"]}, "drift.0: Input should be 'unknown_fields', "),
    ({"paths": {"cad_incidents": "v2/calls"}}, "paths.cad_incidents: a path begins with /"),
    ({"paths": {"cad_incidents": "/_sandbox/x"}}, "paths.cad_incidents: a path begins with / and is none of"),
    ({"credentials": {"calls": CLIENT}}, "credentials.calls.[key]: Input should be 'incident_events' or"),
    (
        {"credentials": {"incident_events": CLIENT, "cad_incidents": CLIENT}},
        "every scope needs a client_id of its own",
    ),
    ({"dataset": version(id=5)}, "dataset.inline.records.incident_events.0: a record needs an id, as text"),
    ({"dataset": version(updated_at=...)}, "dataset.inline.records.incident_events.0: a record needs update"),
    (
        {"dataset": version(closed_at="2024-03-01T00:00:00")},
        "dataset.inline.records.incident_events.0: closed_at must be a time in ISO 8601 that says its zone",
    ),
    ({"dataset": version(closed_at=5)}, "dataset.inline.records.incident_events.0: closed_at must be a time"),
    ({"dataset": synthetic(0), "epoch": None}, "mistaken has no records and no epoch; give it an epoch"),
]  # fmt: skip

each_mistake = pytest.mark.parametrize(
    ("keys", "sentence"), MISTAKES, ids=[sentence.split(": ")[0] for _keys, sentence in MISTAKES]
)


@each_mistake
def test_a_center_that_cannot_be_is_refused_with_a_sentence(
    sandbox: SandboxProcess, keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match="400") as raised:
        sandbox.put_center("mistaken", {"dataset": synthetic(), "epoch": "2024-03-03T00:00:00Z"} | keys)

    said = json.loads(str(raised.value).split(": 400 ", 1)[1])["error"]
    assert said.startswith(sentence)
    assert said.count("; ") <= 1
    assert "mistaken" not in sandbox.call("GET", "centers")


def test_a_change_that_cannot_be_changes_nothing(new_center: NewCenter) -> None:
    center = new_center()
    with pytest.raises(ValueError, match="paging: Input should be"):
        center.sandbox.patch_center(center.center_id, {"paging": "pages"})
    assert len(center.listed()) == 25


def test_a_client_id_belongs_to_one_center(new_center: NewCenter) -> None:
    center = new_center()
    with pytest.raises(ValueError, match=f"400 .*a client_id is already that of {center.center_id}"):
        center.sandbox.put_center("another", center.config)


def test_every_key_of_a_center_survives_a_change(new_center: NewCenter) -> None:
    center = new_center(
        dataset=inline(RECORD), epoch="2024-03-02T00:00:00Z", token={"life_s": 5, "mode": "reuse"},
        paths={"cad_incidents": "/x"}, drift=["nan"], max_requests_per_s=50,
    )  # fmt: skip
    before = center.get().content
    center.patch(latency_ms=0)
    assert center.get().content == before
    assert b'"confidence":NaN' in before


def config_file(folder: Path, content: str) -> Path:
    path = folder / "config.json"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON."),
        ('"\xff"', "cannot be used. Input should be "),
        ("[]", "cannot be used. Input should be "),
        ('{"center": {}}', "cannot be used. center: there is no such key"),
        ('{"centers": {"a": {}}}', "cannot be used. centers.a.dataset: Field required"),
        (
            json.dumps({"centers": {"a": {"dataset": "houston-tx", "epoch": "2024-07-08T00:00:00"}}}),
            "cannot be used. centers.a.epoch: a time must say its zone",
        ),
        (
            json.dumps({"centers": {
                name: {"dataset": synthetic(), "credentials": {"incident_events": CLIENT}} for name in "ab"
            }}),
            "cannot be used. every client_id may appear only once: a center is known by it alone",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = config_file(tmp_path, content)
    with pytest.raises(SystemExit) as ended:
        load_config(path)
    assert str(ended.value.code).startswith(f"sandbox: {path} {sentence}")
    assert "\n" not in str(ended.value.code)


@pytest.mark.parametrize(
    ("path", "reason"), [("missing.json", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(SystemExit) as ended:
        load_config(tmp_path / path)
    assert ended.value.code == f"sandbox: {tmp_path / path} cannot be read ({reason})."


@pytest.mark.parametrize("content", ["", "[]", '{"elapsed_s": "soon"}', "{}"])
def test_a_state_file_that_holds_no_clock_is_named(tmp_path: Path, content: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(state))} is no state file; remove it to begin"):
        State(state)


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_is_a_number_that_there_is(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments([f"--port={port}"])
    assert "a port is a number from 0 to 65535" in capsys.readouterr().err


def test_a_start_that_fails_says_one_sentence_and_ends(tmp_path: Path) -> None:
    path = config_file(tmp_path, json.dumps({"centers": {"a": {"dataset": synthetic(0)}}}))
    assert refused("--config", str(path)) == (
        1,
        "sandbox: a has no records and no epoch; give it an epoch.\n",
    )


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused("--config", str(config_file(tmp_path, "{}")), "--port", str(port))
    assert code == 1
    assert (
        said
        == f"sandbox: 127.0.0.1:{port} cannot be used (Address already in use). Give another --port, or 0.\n"
    )


def test_a_person_is_told_where_it_answers_and_with_which_credentials(tmp_path: Path) -> None:
    center = {"dataset": synthetic(), "credentials": {"cad_incidents": CLIENT}, "paging": "cursor"}
    path = config_file(tmp_path, json.dumps({"centers": {"a-center": center}}))

    with started(tmp_path, "--config", str(path)) as url:
        assert control(url, "health")["url"] == url

    printed = (tmp_path / "printed").read_text()
    assert f"The sandbox answers at {url} " in printed
    assert "a-center: cursor paging, now 2024-03-0" in printed
    assert re.search(r"cad_incidents +client_id one +client_secret synthetic", printed)


def test_without_a_file_the_three_samples_are_served_with_fresh_secrets() -> None:
    one, other = load_config(None), load_config(None)
    assert list(one.centers) == ["houston-tx", "san-francisco-ca", "san-diego-ca"]
    assert {*one.centers["houston-tx"].credentials} == {"incident_events", "cad_incidents"}
    assert one.centers["houston-tx"].credentials != other.centers["houston-tx"].credentials


def test_a_secret_is_not_in_the_text_of_a_configuration() -> None:
    config = CenterConfig.model_validate({"dataset": synthetic(), "credentials": {"cad_incidents": CLIENT}})
    assert "client_secret" not in repr(config)
    assert CLIENT["client_secret"] not in repr(config.credentials)
