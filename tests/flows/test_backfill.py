"""The `backfill` flow on a real Prefect server, against the sandbox."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import open_lake
from dispatchlake.lake.reading import query_arrow
from dispatchlake.model import DispatchCenter, Scope
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

pytestmark = pytest.mark.xdist_group("prefect")

DAYS = 6
FILTERED = {"since_param": "updated_since", "until_param": "updated_before"}


def put(sandbox: SandboxProcess, **options: Any) -> DispatchCenter:
    """Create a center with 6 days of records, and register it."""
    from tasks.centers import save_center

    synthetic = {"count": 300, "starts_at": "2024-03-01T00:00:00Z", "span_s": (DAYS - 1) * 86_400}
    side = {"dataset": {"synthetic": synthetic}, "epoch": "2024-03-07T00:00:00Z"}
    side |= options.pop("sandbox_side", {})
    center = put_center(sandbox, sandbox_side=side, **({"override": FILTERED} | options))
    save_center(center)
    return center


def backfill(*centers: DispatchCenter, **parameters: Any) -> Any:
    from flows.backfill import backfill as flow

    defaults = {
        "centers": [center.center_id for center in centers],
        "first_day": date(2024, 3, 1),
        "last_day": date(2024, 3, DAYS),
        "days_are": "UTC",
    }
    return flow(**(defaults | parameters), return_state=True)


def coverage(settings: Settings, center: DispatchCenter) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = query_arrow(
        f"FROM coverage WHERE center_id = '{center.center_id}' ORDER BY ALL", lake_dir=settings.lake_dir
    ).to_pylist()
    return rows


def artifacts(state: Any) -> dict[str, Any]:
    """Return the artifacts of a run that has ended, by key."""
    return artifacts_of(state.state_details.flow_run_id)


def artifacts_of(run_id: Any) -> dict[str, Any]:
    """Return the artifacts of a run by key."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=of_this_run)
    assert len({artifact.key for artifact in found}) == len(found), "each is updated in its place"
    return {str(artifact.key): artifact for artifact in found}


def assert_truth(settings: Settings, sandbox: SandboxProcess, center: DispatchCenter) -> None:
    for resource in ("incident_events", "cad_incidents"):
        truth = sandbox.truth(center.center_id, resource)["current"]
        assert_equal(settings.lake_dir, center.center_id, resource, truth)


def test_each_cell_is_read_alone_and_the_lake_equals_the_truth(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put(sandbox)

    state = backfill(center)

    assert state.is_completed(), state.message
    assert state.message.startswith("12 of 12 cells read; ")
    assert_truth(settings, sandbox, center)
    rows = coverage(settings, center)
    assert {(r["kind"], r["state"]) for r in rows} == {("backfill", "complete")}
    assert len(rows) == 12
    grid = artifacts(state)["backfill-grid"].data
    assert f"| {center.center_id} | cad_incidents | 2024-03 | 🟩🟩🟩🟩🟩 🟩 6/6 |" in grid


def task_run_names(state: Any) -> set[str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        )
    return {run.name for run in runs}


def pages_asked(sandbox: SandboxProcess, center: DispatchCenter) -> int:
    return sum(sandbox.counts(center.center_id)["requests"].get(str(scope), 0) for scope in Scope)


def test_a_second_run_reads_nothing_and_everything_again_doubles_nothing(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put(sandbox)
    backfill(center)
    asked = pages_asked(sandbox, center)

    state = backfill(center)
    assert state.message == "Nothing to read: 12 cells are complete"
    assert pages_asked(sandbox, center) == asked

    state = backfill(center, mode="everything again")
    assert state.message.startswith("12 of 12 cells read; 600 records")
    assert sum(result.summary.new + result.summary.changed for result in state.result()) == 0
    assert len(coverage(settings, center)) == 12
    assert_truth(settings, sandbox, center)


def test_a_failed_cell_stops_no_other_and_the_summary_says_how_to_read_only_that(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    good, bad = put(sandbox), put(sandbox)
    sandbox.add_fault(bad.center_id, "status", on="cad_incidents", status=404, times=2)

    state = backfill(good, bad)

    assert (state.type.value, state.name) == ("FAILED", "Partial")
    assert state.message.startswith("22 of 24 cells read, 2 failed; ")
    assert state.message.endswith(f"Failed: {bad.center_id} cad_incidents")
    failed = [row for row in coverage(settings, bad) if row["state"] == "failed"]
    assert len(failed) == 2
    found = artifacts(state)
    assert found["backfill-grid"].data.count("🟥") == 2 + 1, "and one in the legend"
    summary = found["backfill-summary"].data
    assert f"| {bad.center_id} | cad_incidents | 2 | " in summary
    assert failed[0]["last_error"] in summary
    command = (
        f"dispatchlake backfill {bad.center_id} --resource cad_incidents --from 2024-03-01 --to 2024-03-06 "
        "--utc --mode missing-and-failed"
    )
    assert command in summary

    state = backfill(bad, mode="missing")
    assert state.message == "Nothing to read: 10 cells are complete, 2 failed before"

    asked = pages_asked(sandbox, bad)
    again = run(*command.split()[1:])
    assert again.returncode == 0, again.stdout + again.stderr
    assert pages_asked(sandbox, bad) == asked + 2
    for center in (good, bad):
        assert_truth(settings, sandbox, center)
    assert all(row["state"] == "complete" for row in coverage(settings, bad))


def test_a_fault_that_passes_is_tried_again_by_the_run(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import backfill_run

    monkeypatch.setattr(backfill_run, "RETRY_DELAYS_S", [0.1, 0.1])
    monkeypatch.setenv("DISPATCHLAKE_RETRY_TASKS", "true")
    monkeypatch.setenv("DISPATCHLAKE_RETRY_BUDGET_S", "0.2")
    center = put(sandbox)
    sandbox.add_fault(center.center_id, "status", on="cad_incidents", status=503, times=1)

    state = backfill(center, last_day=date(2024, 3, 1), resources=["cad_incidents"])

    assert state.is_completed(), state.message
    name = f"{center.center_id} cad_incidents 2024-03-01"
    assert {name, f"{name} (try 2)"} <= task_run_names(state)


def test_refused_credentials_are_tried_once_and_the_rest_is_named(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    good, bad = put(sandbox), put(sandbox)
    sandbox.patch_center(
        bad.center_id,
        {
            "credentials": {
                str(scope): {"client_id": c.client_id, "client_secret": "changed"}
                for scope, c in bad.credentials.items()
            }
        },
    )

    state = backfill(good, bad, resources=["cad_incidents"])

    assert state.name == "Partial"
    assert state.message.startswith("6 of 12 cells read, 6 failed; ")
    # Those already under way, at most one login each; never one for every cell of a long span.
    assert sandbox.counts(bad.center_id)["requests"]["token"] <= 4
    assert len([row for row in coverage(settings, bad) if row["state"] == "failed"]) == 6
    assert "Not tried, because others of this listing failed" in artifacts(state)["backfill-summary"].data


@pytest.mark.parametrize("filters", [{}, {"since_param": "updated_since"}])
def test_without_both_filters_a_listing_is_read_once_for_all_its_cells(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, filters: dict[str, str]
) -> None:
    center = put(sandbox, override=filters, sandbox_side={"page_size_cap": 1000})

    state = backfill(center, resources=["cad_incidents"])

    assert state.is_completed(), state.message
    asked = [request for request in sandbox.requests(center.center_id) if request["on"] == "cad_incidents"]
    assert len(asked) == 1
    assert ("updated_since" in asked[0]["query"]) is bool(filters)
    assert "updated_before" not in asked[0]["query"]
    rows = coverage(settings, center)
    assert len(rows) == 6
    truth = sandbox.truth(center.center_id, "cad_incidents")["current"]
    by_day = [sum(r["updated_at"].startswith(f"2024-03-{day:02}") for r in truth) for day in range(1, 7)]
    assert sorted(row["records"] for row in rows) == sorted(by_day)
    assert f"{center.center_id} cad_incidents 2024-03-01 to 2024-03-06, one reading" in task_run_names(state)
    assert_equal(settings.lake_dir, center.center_id, "cad_incidents", truth)


def test_the_live_watermark_stays_and_what_live_has_covered_is_skipped(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put(sandbox)
    since = date(2024, 3, 5)
    ingest_cell(center, "cad_incidents", settings=settings, run_id="live", since=since)
    with open_lake(settings) as lake:
        before = lake.watermark(center.center_id, "cad_incidents")

    state = backfill(center, resources=["cad_incidents"])

    assert before is not None
    assert state.message.startswith("4 of 4 cells read, 2 were complete before; ")
    with open_lake(settings) as lake:
        assert lake.watermark(center.center_id, "cad_incidents") == before
    truth = sandbox.truth(center.center_id, "cad_incidents")["current"]
    assert_equal(settings.lake_dir, center.center_id, "cad_incidents", truth)


def test_days_are_the_center_s_own(prefect_url: str, sandbox: SandboxProcess, settings: Settings) -> None:
    center = put(sandbox, client_side={"time_zone": "America/Chicago"})

    state = backfill(
        center,
        first_day=date(2024, 3, 9),
        last_day=date(2024, 3, 10),
        days_are="center local time",
        resources=["cad_incidents"],
    )

    assert state.is_completed(), state.message
    windows = [(row["window_start"], row["window_end"]) for row in coverage(settings, center)]
    assert [end - start for start, end in windows] == [timedelta(hours=24), timedelta(hours=23)]
    assert windows[0][0] == datetime(2024, 3, 9, 6, tzinfo=UTC)


def test_a_dry_run_shows_the_grid_and_calls_no_center(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put(sandbox)

    state = backfill(center, dry_run=True)

    assert state.is_completed()
    assert state.message == "Dry run, nothing was read: 12 of 12 cells would be read, in 12 readings"
    assert pages_asked(sandbox, center) == 0
    assert "⬜⬜⬜⬜⬜ ⬜ 0/6" in artifacts(state)["backfill-grid"].data
    assert coverage(settings, center) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"centers": ["nowhere-tx"]}, "Unknown dispatch center: nowhere-tx. Registered are: "),
        ({"first_day": date(2024, 4, 1)}, "The last day (2024-03-06) is before the first day (2024-04-01)"),
        ({"last_day": date(2999, 1, 1)}, "The last day (2999-01-01) is in the future"),
        ({"first_day": date(2020, 1, 1)}, "enter 3054 as the number"),
        ({"resources": ["incident_events"]}, "has no credentials for incident_events"),
    ],
    ids=["unknown center", "wrong order", "future", "too many cells", "no credentials"],
)
def test_a_mistake_in_the_form_is_refused_at_once_with_a_sentence(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings, wrong: dict[str, Any], sentence: str
) -> None:
    center = put_center(sandbox)
    if "resources" in wrong:
        only = {Scope.CAD_INCIDENTS: center.credentials[Scope.CAD_INCIDENTS]}
        center = center.model_copy(update={"credentials": only})
    from tasks.centers import save_center

    save_center(center)

    state = backfill(center, **wrong)

    assert state.is_failed()
    assert sentence in state.message
    assert pages_asked(sandbox, center) == 0


def test_a_disabled_center_is_refused_by_name_and_left_out_of_all(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from tasks.backfills import choose_sources

    center = put(sandbox, client_side={"enabled": False})

    state = backfill(center)

    assert state.is_failed()
    assert f"Dispatch center {center.center_id} is disabled." in state.message
    put(sandbox)
    assert center.center_id not in {source.center_id for source in choose_sources([], [])}


def test_a_center_whose_configuration_cannot_be_used_fails_alone_unless_it_is_named(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    from dispatchlake.errors import ConfigError
    from tasks.backfills import choose_sources
    from tasks.blocks import DispatchCenterBlock
    from tasks.centers import delete_center

    center = put(sandbox)
    block = DispatchCenterBlock.from_center(center)
    block.resources = {"cad_incidents": {"pth": "/v2/cad"}}
    block.save(center.center_id, overwrite=True)
    try:
        with pytest.raises(ConfigError, match="cannot be used"):
            choose_sources([center.center_id], [])
        assert center.center_id in {source.center_id for source in choose_sources([], [])}
    finally:
        delete_center(center.center_id)


def test_live_ingestion_keeps_its_part_of_the_rate_budget(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    """Four readings against one: taken in turn, live would get a fifth of the budget; it gets half."""
    side = {"page_size": 5, "page_size_cap": 5}
    center = put(sandbox, client_side={"max_requests_per_s": 10}, sandbox_side=side)

    def ingest_beside() -> None:
        deadline_s = time.monotonic() + 60
        while not pages_asked(sandbox, center) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        ingest_cell(center, "incident_events", settings=settings, run_id="live", since=date(2024, 3, 4))

    live = threading.Thread(target=ingest_beside)
    live.start()
    state = backfill(center, resources=["cad_incidents"])
    live.join()

    assert state.is_completed(), state.message
    of_live = [
        request["on"] == "incident_events"
        for request in sandbox.requests(center.center_id)
        if request["on"] != "token"
    ]
    first, last = of_live.index(True), len(of_live) - of_live[::-1].index(True)
    beside, pages = of_live[first:last].count(False), of_live.count(True)
    assert of_live.count(False) > 2 * pages, "there was enough to read beside it to tell"
    # The backfill may have saved up a second's worth of its half.
    assert beside <= pages + 5 + 5


def test_the_form_has_pickers_help_and_limits(prefect_url: str) -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.backfill import backfill as flow

    schema = parameter_schema(flow).model_dump()
    fields = schema["properties"]

    assert all(field.get("description") for field in fields.values()), "shown as help under each field"
    assert schema["required"] == ["first_day", "last_day"]
    assert [fields[day]["format"] for day in ("first_day", "last_day")] == ["date", "date"]
    assert fields["resources"]["items"]["enum"] == ["incident_events", "cad_incidents"]
    assert fields["mode"]["enum"] == ["missing", "missing and failed", "everything again"]
    assert fields["days_are"]["enum"] == ["center local time", "UTC"]
    assert (fields["slice_days"]["minimum"], fields["slice_days"]["maximum"]) == (1, 366)
    assert fields["dry_run"]["type"] == "boolean"
    assert [name for name, field in sorted(fields.items(), key=lambda item: item[1]["position"])][:4] == [
        "centers", "resources", "first_day", "last_day",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ingest", "replay", "maintain", "backfill"])
def test_every_field_of_every_form_says_what_it_means(prefect_url: str, name: str) -> None:
    from importlib import import_module

    from prefect.utilities.callables import parameter_schema

    fields = parameter_schema(getattr(import_module(f"flows.{name}"), name)).model_dump()["properties"]

    assert [field for field, of in fields.items() if not of.get("description")] == []


def test_the_deployed_form_offers_the_registered_centers(
    prefect_url: str, sandbox: SandboxProcess, settings: Settings
) -> None:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.backfill import backfill as flow
    from tasks.choices import DEPLOYMENT, offer_centers

    center = put(sandbox)
    flow.to_deployment("backfill").apply()
    assert offer_centers()
    days = {"first_day": "2024-03-01", "last_day": "2024-03-02"}

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        items = deployment.parameter_openapi_schema["properties"]["centers"]["items"]
        assert center.center_id in items["enum"]
        with pytest.raises((PrefectHTTPStatusError, httpx.HTTPStatusError), match="409"):
            client.create_flow_run_from_deployment(
                deployment.id, parameters=days | {"centers": ["nowhere-tx"]}
            )
        created = client.create_flow_run_from_deployment(
            deployment.id, parameters=days | {"centers": [center.center_id]}
        )
        assert created.parameters["centers"] == [center.center_id]
        client.delete_flow_run(created.id)

    from tasks.centers import delete_center

    delete_center(center.center_id)
    assert offer_centers()
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
    assert center.center_id not in str(deployment.parameter_openapi_schema["properties"]["centers"])
