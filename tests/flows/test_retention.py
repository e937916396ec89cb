"""The `retention` flow on a real Prefect server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dispatchlake import retention
from dispatchlake.lake import Lake
from dispatchlake.lake.retention_rules import Rule
from dispatchlake.settings import Settings
from tests.flows.test_maintain import artifacts
from tests.lake.pages import incident, load

pytestmark = pytest.mark.xdist_group("prefect")


def remove_due(**parameters: Any) -> Any:
    from flows.retention import retention as flow

    return flow(return_state=True, **parameters)


def test_it_removes_nothing_without_a_rule_and_then_what_is_due(prefect_url: str, settings: Settings) -> None:
    with Lake.open(settings.lake_dir) as lake:
        load(lake, incident("an-old-incident", caller_phone_number="+13035550142"))

    assert remove_due().message == "There is no rule of retention: everything is kept"
    retention.set_rule(settings, Rule("", "records", 7, "clerk", datetime.now(UTC)))
    assert remove_due(dry_run=True).message.endswith("rows, pages and files are due of 1 centers")
    state = remove_due()

    assert state.is_completed()
    (artifact,) = artifacts(state)
    assert artifact.key == "retention-summary"
    assert "| center-a | records |" in artifact.data
    assert "an-old-incident" not in artifact.data
    with Lake.open(settings.lake_dir) as lake, lake.held() as connection:
        assert connection.execute("FROM incidents").fetchall() == []
