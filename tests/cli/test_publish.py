"""`dispatchlake publish`: the open zone brought up to date, made anew, given a new key."""

from __future__ import annotations

from dispatchlake.lake import open_lake
from dispatchlake.lake.reading import query_arrow
from dispatchlake.settings import Settings
from tests.command_line import run
from tests.lake.pages import incident, load


def test_it_says_what_it_did_and_nothing_where_nothing_changed(lake: str, settings: Settings) -> None:
    with open_lake(settings) as opened:
        load(opened, incident("new"))

    first, second = run("publish"), run("publish")

    assert first.returncode == 0, first.stderr
    assert "The open zone was published in" in first.stdout
    assert "The open zone is up to date." in second.stdout
    assert query_arrow("FROM incidents").num_rows == 1


def test_a_new_key_makes_new_tokens(lake: str, settings: Settings) -> None:
    with open_lake(settings) as opened:
        load(opened, incident("new", caller_phone_number="+13035550140"))
    question = "SELECT caller_phone_number AS token FROM incidents"
    assert run("publish").returncode == 0
    (before,) = query_arrow(question)["token"].to_pylist()

    result = run("publish", "--rotate-key")

    assert result.returncode == 0, result.stderr
    assert "older snapshots were removed" in result.stdout
    (after,) = query_arrow(question)["token"].to_pylist()
    assert after.startswith("tel_")
    assert after != before


def test_what_cannot_be_is_one_sentence(settings: Settings) -> None:
    both, none = run("publish", "--rebuild", "--rotate-key"), run("publish")

    assert (both.returncode, none.returncode) == (1, 1)
    assert "give --rotate-key alone" in both.stderr
    assert "There is no lake" in none.stderr
