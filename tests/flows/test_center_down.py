"""A center is down for hours: only its cells fail, it is asked ever less often, and catches up by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal, rows_of

pytestmark = pytest.mark.xdist_group("prefect")

RESOURCES = ("incident_events", "cad_incidents")
PER_S = 8
"""The rate budget of each center."""


@pytest.fixture
def centers(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> list[DispatchCenter]:
    """Two centers that have been read once: the first will be down."""
    from tasks.centers import save_center

    monkeypatch.setenv("DISPATCHLAKE_RETRY_BUDGET_S", "0.5")
    monkeypatch.setenv("DISPATCHLAKE_RETRY_TASKS", "false")
    centers = [
        put_center(
            sandbox,
            sandbox_side={"epoch": "2024-03-01T06:00:00Z", "page_size_cap": 10},
            client_side={"max_requests_per_s": PER_S},
            override={"since_param": "updated_since"},
        )
        for _ in range(2)
    ]
    for center in centers:
        save_center(center)
    assert scheduled(centers).is_completed()
    return centers


def scheduled(centers: list[DispatchCenter], *, rest_failing: bool = True) -> Any:
    """Run as the schedule of prefect.yaml does."""
    from flows.ingest import ingest

    return ingest([center.center_id for center in centers], rest_failing=rest_failing, return_state=True)


def break_down(sandbox: SandboxProcess, center: DispatchCenter) -> None:
    sandbox.add_fault(center.center_id, "status", status=503, times=1_000_000, on="any")


def fail_as_often_as(settings: Settings, center: DispatchCenter, tries: int, ago: timedelta) -> None:
    """Make of the failures in the lake so many, the last one so long ago: a test has no hours."""
    from dispatchlake.lake import open_lake

    with open_lake(settings) as lake, lake.held() as connection:
        connection.execute(
            "UPDATE coverage SET attempts = ?, updated_at = ? WHERE center_id = ? AND state = 'failed'",
            [tries, datetime.now(UTC) - ago, center.center_id],
        )


def failures(settings: Settings, center: DispatchCenter) -> dict[str, int]:
    rows = rows_of(
        settings.lake_dir,
        f"""SELECT resource, attempts FROM coverage
        WHERE center_id = '{center.center_id}' AND state = 'failed'""",
    )
    return {row["resource"]: row["attempts"] for row in rows}


def complete_through(settings: Settings, center: DispatchCenter) -> Any:
    query = f"SELECT min(complete_through) AS t FROM complete_through WHERE center_id = '{center.center_id}'"
    return rows_of(settings.lake_dir, query)[0]["t"]


def test_only_its_cells_fail_and_its_lag_is_visible(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter]
) -> None:
    down, well = centers
    before = complete_through(settings, down)
    break_down(sandbox, down)
    sandbox.advance_clock(3600)

    state = scheduled(centers)

    assert state.name == "Partial"
    assert failures(settings, down) == dict.fromkeys(RESOURCES, 1)
    assert failures(settings, well) == {}
    for resource in RESOURCES:
        truth = sandbox.truth(well.center_id, resource)["current"]
        assert_equal(settings.lake_dir, well.center_id, resource, truth)
    assert complete_through(settings, down) == before < complete_through(settings, well)


def test_a_schedule_leaves_it_alone_during_its_pause_and_says_so(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter]
) -> None:
    down, _ = centers
    break_down(sandbox, down)
    scheduled(centers)
    fail_as_often_as(settings, down, 5, timedelta(minutes=19))
    asked = len(sandbox.requests(down.center_id))

    state = scheduled(centers)

    assert len(sandbox.requests(down.center_id)) == asked, "it was not called"
    assert state.name == "Partial", "a run that left a center behind does not look like one that did not"
    results = state.result(raise_on_failure=False)
    sentences = [r.error for r in results if r.cell.center_id == down.center_id]
    assert all(s.startswith("Not tried: it failed 5 times in a row") and "503" in s for s in sentences)
    assert failures(settings, down) == dict.fromkeys(RESOURCES, 5), "what was not tried has not failed"


def test_after_its_pause_it_is_tried_once_and_rests_longer(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter]
) -> None:
    from dispatchlake.lake import open_lake

    down, _ = centers
    break_down(sandbox, down)
    scheduled(centers)
    fail_as_often_as(settings, down, 3, timedelta(minutes=6))

    scheduled(centers)

    assert failures(settings, down) == dict.fromkeys(RESOURCES, 4)
    with open_lake(settings) as lake:
        pauses = {one.next_try_at - one.failed_at for one in lake.failing()}
    assert pauses == {timedelta(minutes=10)}


def test_a_persons_run_ignores_the_pause(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter]
) -> None:
    down, _ = centers
    break_down(sandbox, down)
    scheduled(centers)
    fail_as_often_as(settings, down, 9, timedelta(0))
    sandbox.call("DELETE", f"faults/{down.center_id}")

    assert scheduled(centers, rest_failing=False).is_completed()

    assert failures(settings, down) == {}


def test_it_catches_up_by_itself_and_within_its_rate_budget(
    sandbox: SandboxProcess, settings: Settings, centers: list[DispatchCenter]
) -> None:
    down, _ = centers
    break_down(sandbox, down)
    scheduled(centers)
    fail_as_often_as(settings, down, 8, timedelta(minutes=31))
    sandbox.advance_clock(6 * 3600)
    sandbox.call("DELETE", f"faults/{down.center_id}")
    asked = len(sandbox.requests(down.center_id))

    assert scheduled(centers).is_completed()

    for resource in RESOURCES:
        truth = sandbox.truth(down.center_id, resource)["current"]
        assert_equal(settings.lake_dir, down.center_id, resource, truth)
    begun_s = [request["at_s"] for request in sandbox.requests(down.center_id)[asked:]]
    assert len(begun_s) > 2 * PER_S, "more than what fits in a second and a burst"
    assert len(begun_s) <= PER_S * (max(begun_s) - min(begun_s) + 1) + 1, "its budget and a burst"
    assert failures(settings, down) == {}
