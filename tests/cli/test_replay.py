"""`dispatchlake quarantine` says what lies aside and what to do; `dispatchlake replay` does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dispatchlake.lake import Lake, open_lake
from dispatchlake.lake.reading import query_arrow
from dispatchlake.settings import Settings
from tests.command_line import run
from tests.lake.faulty_parser import REFUSED, faulty_parser
from tests.lake.pages import incident, load


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a record that a fault has set aside, and one that is none."""
    folder = tmp_path_factory.mktemp("made") / "lake"
    with Lake.open(folder) as lake, faulty_parser():
        load(lake, incident("secret-a", caller_phone_number=REFUSED), "secret-b")
        load(lake, incident(), center_id="center-b")
    return folder


@pytest.fixture
def set_aside(made: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of that lake; nothing is registered here."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    shutil.copytree(made, settings.lake_dir)
    return settings


def incidents(settings: Settings) -> int:
    return query_arrow("FROM incidents", lake_dir=settings.lake_dir).num_rows


def test_what_is_set_aside_is_shown_without_its_content(set_aside: Settings) -> None:
    result = run("quarantine")

    assert result.returncode == 0, result.stderr
    assert "the record is not an object" in result.stdout
    assert (
        "caller_phone_number text(7), created_at text(23), id text(8), updated_at text(23)" in result.stdout
    )
    assert "position 1: text(8)" in result.stdout
    assert "dispatchlake replay --quarantined" in result.stdout
    assert "secret" not in result.stdout + result.stderr
    assert run("quarantine", "--center", "center-b").stdout == "Nothing is in quarantine for center-b.\n"


def test_a_replay_lands_what_a_fault_had_set_aside_and_a_second_does_nothing(set_aside: Settings) -> None:
    before = incidents(set_aside)

    result = run("replay", "--quarantined")

    assert result.returncode == 0, result.stderr
    assert incidents(set_aside) == before + 1
    assert "center-a incident_events" in result.stdout
    assert "center-b" not in result.stdout
    assert "1 of these records cannot be typed: dispatchlake quarantine" in result.stdout
    again = run("replay")
    assert "center-b incident_events" in again.stdout
    assert "The lake is as it was" in again.stdout
    assert "secret" not in result.stdout + result.stderr + again.stdout + again.stderr


def test_pages_are_chosen_by_center_listing_and_time(set_aside: Settings) -> None:
    def chosen(*arguments: str) -> list[str]:
        result = run("replay", *arguments)
        assert result.returncode == 0, result.stderr
        return [line.split()[0] for line in result.stdout.splitlines() if line.startswith("center-")]

    assert chosen("center-b", "--resource", "incident_events") == ["center-b"]
    from_midnight = ("--received-since", "2024-03-02T01:00:00+01:00")  # the first page's very instant
    assert chosen(*from_midnight, "--received-until", "2024-03-03") == ["center-a", "center-b"]
    assert chosen("--received-until", "2024-03-02") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere-tx"], "no page of dispatch center nowhere-tx. Archived are: center-a, center-b."),
        (["--received-since", "yesterday"], "yesterday is not a time. Write a day (2024-02-29, UTC)"),
        (["--received-since", "2024-02-29T10:00"], "must say their time zone"),
        (["--received-since", "2024-03-02", "--received-until", "2024-03-01"], "give an end after the start"),
    ],
)
def test_a_mistake_is_one_message(set_aside: Settings, arguments: list[str], message: str) -> None:
    result = run("replay", *arguments)

    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_pages_that_cannot_be_read_are_counted_with_their_reason(set_aside: Settings) -> None:
    with open_lake(set_aside) as lake:
        lake._connection.execute("UPDATE raw_pages SET body = 'secret'::BLOB WHERE center_id = 'center-b'")

    result = run("replay", "center-b")

    assert result.returncode == 0, result.stderr
    assert "center-b incident_events: pages left alone, with all that came of them: 1. Why: " in result.stdout
    assert "The lake is as it was" not in result.stdout
    assert "dispatchlake verify" in result.stdout
    assert incidents(set_aside) == 1


def test_without_a_lake_nothing_is_in_quarantine_to_show(settings: Settings) -> None:
    result = run("quarantine")

    assert result.returncode == 1
    assert "There is no lake in" in result.stderr
