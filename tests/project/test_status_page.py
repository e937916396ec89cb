"""`docs/status-and-alerts.md` names every state, event, metric and column there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dispatchlake.deliveries import WebhookState
from dispatchlake.lake.standing import ListingStatus, WebhookStatus
from dispatchlake.metrics import to_text
from dispatchlake.status import State
from tests.standings import listing, view

PAGE = (Path(__file__).parents[2] / "docs" / "status-and-alerts.md").read_text()


@pytest.mark.parametrize("state", State)
def test_every_state_says_what_to_press(state: State) -> None:
    assert re.search(rf"^\| \S+ \| {state} \| \S", PAGE, re.MULTILINE)


def test_every_column_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))

    assert {field.name for of in (ListingStatus, WebhookStatus) for field in fields(of)} <= told


@pytest.mark.parametrize("state", WebhookState)
def test_every_state_of_a_webhook_says_what_to_press(state: WebhookState) -> None:
    assert len(re.findall(rf"^\| \S+ \| {state} \| \S", PAGE, re.MULTILINE)) == 1 + (state in {*State})


def test_every_metric_is_told_and_no_other() -> None:
    there = set(re.findall(r"^# TYPE (\w+) ", to_text(view(listing())), re.MULTILINE))

    assert set(re.findall(r"`(dispatchlake_\w+)`", PAGE)) == there


@pytest.mark.xdist_group("prefect")
def test_every_event_and_mark_is_told(prefect_url: str) -> None:
    from tasks.alerts import EVENTS, UNUSABLE
    from tasks.status import MARKS, WEBHOOK_MARKS

    assert set(re.findall(r"`(dispatchlake\.[\w.-]+)`", PAGE)) == {*EVENTS.values(), UNUSABLE}
    for state, mark in [*MARKS.items(), *WEBHOOK_MARKS.items()]:
        assert f"| {mark} | {state} |" in PAGE
