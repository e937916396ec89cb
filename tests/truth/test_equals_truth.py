"""What lands is what the center has: however it pages, whatever fails once, whatever changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from dispatchlake.errors import Cancelled, ContractBroken
from dispatchlake.ingest import backfill_windows, ingest_cell
from dispatchlake.lake.reading import query_arrow
from dispatchlake.model import DispatchCenter, Paging
from dispatchlake.settings import Settings
from dispatchlake.stop import Stop
from dispatchlake.windows import Window
from tests.api.test_auth import store_of
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal, assert_versions_equal
from tests.waiting import wait_until

CAD = "cad_incidents"

PINNED: dict[str, dict[str, Any]] = {
    "page_unnamed": {"paging": Paging(style="page", page_size=100)},
    "offset": {"paging": Paging(style="offset", size_param="limit", page_size=100)},
    "page_ignored": {"paging": Paging(style="page", page_size=100)},
}
"""Forms whose responses name nothing: the center's configuration says how to go on."""

FORMS = [
    "array", "link", "next_url", "meta_page", "cursor",
    "pagy", "pagy_old", "pagy_countless", "kaminari", *PINNED,
]  # fmt: skip

FROM_0: dict[str, dict[str, Any] | None] = {
    "page_unnamed": {"paging": Paging(style="page", first_page=0, page_size=100)},
    **dict.fromkeys(["link", "next_url", "meta_page", "pagy", "pagy_old", "pagy_countless", "kaminari"]),
}
"""Forms whose pages may be counted from 0, and what is configured for that: what is named is followed."""

ORDERS = ["created_desc", "created_asc", "updated_desc", "updated_asc", "id"]

SURVIVED: dict[str, dict[str, Any]] = {
    "429 with seconds": {"kind": "status", "status": 429, "retry_after_s": 1},
    "429 with a date": {"kind": "status", "status": 429, "retry_after_s": 1, "retry_after_form": "date"},
    "429 without": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500, "body": "<html>oops</html>"},
    "502": {"kind": "status", "status": 502},
    "503 with seconds": {"kind": "status", "status": 503, "retry_after_s": 1},
    "401": {"kind": "status", "status": 401},
    "html with status 200": {"kind": "html_200"},
    "not json": {"kind": "not_json"},
    "empty body": {"kind": "empty_body"},
    "truncated body": {"kind": "truncated_body"},
    "wrong content length": {"kind": "short_content_length"},
    "bad gzip": {"kind": "bad_gzip"},
    "slow bytes": {"kind": "slow_bytes", "bytes_per_s": 100},
    "reset": {"kind": "reset"},
    "close": {"kind": "close"},
    "redirect to itself": {"kind": "redirect_same"},
    "repeated page": {"kind": "repeated_page"},
    "empty page": {"kind": "empty_page"},
    "duplicate rows": {"kind": "duplicate_rows"},
    "reordered rows": {"kind": "reordered_rows"},
    "expired token": {"kind": "expire_token"},
    "revoked token": {"kind": "revoke_token"},
}
"""What one reading gets over by itself, each on the second page of three."""

LOGIN_SURVIVED: dict[str, dict[str, Any]] = {
    name: fault
    for name, fault in SURVIVED.items()
    if fault["kind"] in {"status", "html_200", "not_json", "empty_body", "truncated_body", "reset", "close"}
    and fault.get("status") != 401
}


def ingest(center: DispatchCenter, settings: Settings, resource: str = CAD, **more: Any) -> Any:
    return ingest_cell(center, resource, settings=settings, run_id="run", **more)


def assert_truth(
    sandbox: SandboxProcess, center: DispatchCenter, settings: Settings, resource: str = CAD
) -> None:
    truth = sandbox.truth(center.center_id, resource)["current"]
    assert_equal(settings.lake_dir, center.center_id, resource, truth)


@pytest.mark.parametrize("resource", ["incident_events", CAD])
def test_a_clean_run(sandbox: SandboxProcess, settings: Settings, resource: str) -> None:
    center = put_center(sandbox)

    summary = ingest(center, settings, resource)

    assert summary.new == summary.records == 300
    assert_truth(sandbox, center, settings, resource)


@pytest.mark.parametrize("form", FORMS)
def test_each_paging_form(sandbox: SandboxProcess, settings: Settings, form: str) -> None:
    center = put_center(
        sandbox, sandbox_side={"paging": form, "page_size_cap": 100}, override=PINNED.get(form)
    )

    ingest(center, settings)

    assert_truth(sandbox, center, settings)


@pytest.mark.parametrize("churn_s", [0, 30])
@pytest.mark.parametrize("form", FROM_0)
def test_each_form_whose_pages_are_counted_from_0(
    sandbox: SandboxProcess, settings: Settings, form: str, churn_s: int
) -> None:
    """Also where the list changes meanwhile, and pages are read again."""
    side = {"paging": form, "first_page": 0, "page_size_cap": 40, "epoch": "2024-03-01T18:00:00Z"}
    center = put_center(sandbox, sandbox_side=side | {"churn_s": churn_s}, override=FROM_0[form])
    ingest(center, settings)
    sandbox.patch_center(center.center_id, {"churn_s": 0})

    ingest(center, settings)

    assert_truth(sandbox, center, settings)


@pytest.mark.parametrize(
    ("form", "order"),
    [(form, "updated_asc") for form in FORMS if form not in {"array", "page_ignored"}]
    + [(form, order) for form in ("link", "cursor") for order in ORDERS if order != "updated_asc"],
)
def test_a_list_that_changes_between_pages(
    sandbox: SandboxProcess, settings: Settings, form: str, order: str
) -> None:
    """What moved while we read is found by the next run at the latest, although it only asks for changes."""
    changing = {
        "paging": form,
        "order": order,
        "page_size_cap": 40,
        "epoch": "2024-03-01T18:00:00Z",
        "churn_s": 30,
    }
    override = {"since_param": "updated_since", **PINNED.get(form, {})}
    center = put_center(sandbox, sandbox_side=changing, override=override)
    ingest(center, settings)
    sandbox.patch_center(center.center_id, {"churn_s": 0})

    ingest(center, settings)

    assert_truth(sandbox, center, settings)


def version_of(created_at: Callable[[int], datetime], number: int, changed_at: datetime) -> dict[str, Any]:
    """Return a version of record `number`, visible from its change on, as the sandbox is given it."""
    record = {
        "id": f"r{number:03}",
        "created_at": f"{created_at(number):%FT%TZ}",
        "updated_at": f"{changed_at:%FT%TZ}",
    }
    return {"visible_at": record["updated_at"], "record": record}


@pytest.mark.parametrize("form", ["link", "pagy", "page_unnamed", "offset"])
def test_no_record_is_skipped_when_others_move_to_the_end(
    sandbox: SandboxProcess, settings: Settings, form: str
) -> None:
    """In order of change, each record that moves pulls one over the next page's edge.

    The next run asks for changes only, so what this one skips would stay lost.
    """
    start = datetime(2024, 3, 1, tzinfo=UTC)
    epoch = start + timedelta(days=1)

    version = partial(version_of, lambda _number: start)
    quiet = [version(number, start + timedelta(minutes=number)) for number in range(100)]
    # Before the second page is asked for, one of the first page changes; and so on, four times.
    moving = [version(5 + 20 * page, epoch + timedelta(seconds=page + 1)) for page in range(4)]
    center = put_center(
        sandbox,
        sandbox_side={
            "dataset": {"records": {CAD: quiet + moving}},
            "paging": form,
            "order": "updated_asc",
            "page_size_cap": 20,
            "epoch": f"{epoch:%FT%TZ}",
            "churn_s": 1,
        },
        override={"since_param": "updated_since", **PINNED.get(form, {})},
    )
    ingest(center, settings)
    sandbox.patch_center(center.center_id, {"churn_s": 0})
    ingest(center, settings)

    assert_truth(sandbox, center, settings)


@pytest.mark.parametrize("is_backfill", [False, True], ids=["live", "backfill"])
@pytest.mark.parametrize("form", ["link", "pagy", "offset"])
def test_no_record_is_skipped_when_others_leave_the_span_that_is_read(
    sandbox: SandboxProcess, settings: Settings, form: str, is_backfill: bool
) -> None:
    """Where an upper bound is configured: what changes while it is read has left the list for good."""
    start = datetime(2024, 3, 1, tzinfo=UTC)
    epoch = datetime.now(UTC).replace(microsecond=0)

    version = partial(version_of, lambda number: start + timedelta(minutes=number))
    quiet = [version(number, start + timedelta(minutes=number)) for number in range(100)]
    # Newest first: before each page after the first, one of the page before it changes.
    moving = [version(94 - 20 * page, epoch + timedelta(hours=page + 1)) for page in range(4)]
    pinned = {"paging": Paging(style="offset", size_param="limit", page_size=20)} if form == "offset" else {}
    center = put_center(
        sandbox,
        sandbox_side={
            "dataset": {"records": {CAD: quiet + moving}},
            "paging": form,
            "order": "created_desc",
            "page_size_cap": 20,
            "epoch": f"{epoch:%FT%TZ}",
            "churn_s": 3600,
        },
        override={"since_param": "updated_since", "until_param": "updated_before", **pinned},
    )

    if is_backfill:
        backfill_windows(center, CAD, [Window(start, epoch)], settings=settings, run_id="past")
    else:
        ingest(center, settings)

    asked = [request["query"] for request in sandbox.requests(center.center_id) if request["on"] == CAD]
    assert all(("updated_before" in query) is is_backfill for query in asked)
    unchanged = {version["record"]["id"] for version in quiet} - {v["record"]["id"] for v in moving}
    landed = query_arrow("SELECT cad_incident_id FROM cad_incidents", lake_dir=settings.lake_dir)
    assert set(landed.column(0).to_pylist()) >= unchanged


@pytest.mark.parametrize("fault", SURVIVED.values(), ids=SURVIVED)
def test_each_fault_once(sandbox: SandboxProcess, settings: Settings, fault: dict[str, Any]) -> None:
    center = put_center(sandbox, sandbox_side={"page_size_cap": 100})
    sandbox.add_fault(center.center_id, page=2, on=CAD, **fault)

    ingest(center, settings.model_copy(update={"page_timeout_s": 1.0, "retry_budget_s": 10.0}))

    assert sandbox.faults_left(center.center_id) == []
    assert_truth(sandbox, center, settings)


@pytest.mark.parametrize("fault", LOGIN_SURVIVED.values(), ids=LOGIN_SURVIVED)
def test_each_fault_of_the_token_endpoint_once(
    sandbox: SandboxProcess, settings: Settings, fault: dict[str, Any]
) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, on="token", **fault)

    ingest(center, settings)

    assert sandbox.faults_left(center.center_id) == []
    assert_truth(sandbox, center, settings)


def test_a_backfill_cancelled_while_another_process_logs_in_ends_and_has_not_failed(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    center, stop = put_center(sandbox), Stop()
    start = datetime(2024, 3, 1, tzinfo=UTC)
    windows = [Window(start, start + timedelta(days=1))]
    with ThreadPoolExecutor(1) as pool, store_of(center, settings.state_dir).locked():
        run = pool.submit(
            backfill_windows, center, "incident_events", windows, settings=settings, run_id="r", stop=stop
        )
        wait_until((settings.lake_dir / "catalog.sqlite").exists, "it has begun")
        stop.ask()
        with pytest.raises(Cancelled):
            run.result(timeout=30)

    assert sandbox.counts(center.center_id)["requests"] == {}
    assert query_arrow("FROM coverage", lake_dir=settings.lake_dir).num_rows == 0
    assert query_arrow("FROM runs", lake_dir=settings.lake_dir).num_rows == 0


@pytest.mark.parametrize("kind", ["redirect_foreign", "next_foreign"])
def test_another_origin_fails_the_run_and_the_next_one_makes_good(
    sandbox: SandboxProcess, settings: Settings, kind: str
) -> None:
    center = put_center(sandbox, sandbox_side={"page_size_cap": 100})
    sandbox.add_fault(center.center_id, kind, page=2, on=CAD)
    asked_before = len(sandbox.call("GET", "foreign"))

    with pytest.raises(ContractBroken, match="another origin"):
        ingest(center, settings)

    assert len(sandbox.call("GET", "foreign")) == asked_before
    assert query_arrow("FROM cad_incidents", lake_dir=settings.lake_dir).num_rows == 0
    ingest(center, settings)
    assert_truth(sandbox, center, settings)


def test_tokens_that_live_three_seconds(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(
        sandbox, sandbox_side={"token": {"life_s": 3}, "latency_ms": 500, "page_size_cap": 30}
    )

    ingest(center, settings)

    assert_truth(sandbox, center, settings)
    assert sandbox.counts(center.center_id)["logins_ok"] > 1


@pytest.mark.parametrize("form", ["iso_z_ms", "iso_z", "iso_offset", "utc_name", "space_offset", "mixed"])
def test_each_timestamp_form(sandbox: SandboxProcess, settings: Settings, form: str) -> None:
    center = put_center(sandbox, sandbox_side={"timestamp_form": form})

    ingest(center, settings)

    assert_truth(sandbox, center, settings)


@pytest.mark.parametrize("form", ["no_zone", "epoch"])
def test_a_time_that_says_no_zone_is_set_aside_and_not_guessed(
    sandbox: SandboxProcess, settings: Settings, form: str
) -> None:
    center = put_center(sandbox, sandbox_side={"timestamp_form": form})

    summary = ingest(center, settings)

    assert summary.quarantined == summary.records == 300
    reasons = query_arrow("SELECT DISTINCT reason FROM quarantine", lake_dir=settings.lake_dir)
    assert all("_at: not " in reason for reason in reasons["reason"].to_pylist())


def test_one_record_written_in_another_form_is_not_another_version(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox, sandbox_side={"timestamp_form": "iso_z"})
    ingest(center, settings)
    sandbox.patch_center(center.center_id, {"timestamp_form": "space_offset"})

    summary = ingest(center, settings)

    assert (summary.new, summary.changed) == (0, 0)


@pytest.mark.parametrize("drift", ["unknown_fields", "missing_optional", "nan", "invalid_utf8"])
def test_drift_that_loses_nothing(sandbox: SandboxProcess, settings: Settings, drift: str) -> None:
    center = put_center(sandbox, sandbox_side={"drift": [drift]})

    summary = ingest(center, settings)

    assert summary.quarantined == 0
    truth = sandbox.truth(center.center_id, CAD)["current"]
    optional = {"cross_street", "city", "beat", "disposition", "disposition_code", "hospital_at"}
    assert_equal(
        settings.lake_dir,
        center.center_id,
        CAD,
        [{k: v for k, v in record.items() if k not in optional} for record in truth],
    )


def test_unknown_fields_are_kept(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox, sandbox_side={"drift": ["unknown_fields"]})

    ingest(center, settings)

    rows = query_arrow("SELECT DISTINCT extra FROM cad_incidents", lake_dir=settings.lake_dir)
    assert rows["extra"].to_pylist() == ['{"responders":[{"eta_s":240,"unit":"E1"}],"schema_revision":7}']


def test_records_of_the_wrong_shape_are_set_aside_and_the_rest_lands(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(sandbox, sandbox_side={"drift": ["wrong_types"]})

    summary = ingest(center, settings)

    set_aside = query_arrow("SELECT reason, raw_id FROM quarantine", lake_dir=settings.lake_dir)
    assert summary.quarantined == 30
    assert set_aside.num_rows == 30
    assert summary.new == 270


def test_every_version_that_could_be_seen_is_kept(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(
        sandbox,
        sandbox_side={"epoch": "2024-03-01T00:30:00Z"},
        override={"since_param": "updated_since"},
    )
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(6):
        ingest(center, settings)
        assert_truth(sandbox, center, settings)
        for record in sandbox.truth(center.center_id, CAD)["current"]:
            seen[record["id"], record["updated_at"]] = record
        sandbox.advance_clock(600)

    assert_versions_equal(settings.lake_dir, center.center_id, CAD, list(seen.values()))


def test_two_centers_with_the_same_incident_ids_stay_apart(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    record = {"id": "same-id", "created_at": "2024-03-01T00:00:00Z", "updated_at": "2024-03-01T00:00:00Z"}
    versions = [
        {"visible_at": "2024-03-01T00:00:00Z", "record": record | {"incident_type": kind}}
        for kind in ("A", "B")
    ]
    centers = [
        put_center(sandbox, sandbox_side={"dataset": {"records": {CAD: [version]}}}) for version in versions
    ]

    for center in centers:
        ingest(center, settings)

    for center in centers:
        assert_truth(sandbox, center, settings)
    assert query_arrow("FROM cad_incidents", lake_dir=settings.lake_dir).num_rows == 2


def test_a_run_since_a_day_reads_from_there(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox, override={"since_param": "updated_since"})
    ingest(center, settings)

    summary = ingest(center, settings, since=date(2024, 3, 1))

    assert (summary.records, summary.unchanged) == (300, 300)


def test_a_center_that_calls_its_fields_otherwise(sandbox: SandboxProcess, settings: Settings) -> None:
    stamps = {"created_at": "2024-03-01T00:00:00Z", "updated_at": "2024-03-01T00:00:00Z"}
    record = {"id": "vendor-1", **stamps, "number": "C-1", "opened_at": "2024-03-01T00:00:01Z"}
    version = {"visible_at": stamps["updated_at"], "record": record | {"changed_at": "2024-03-01T00:00:02Z"}}
    names = {"id_field": "number", "created_field": "opened_at", "changed_field": "changed_at"}
    center = put_center(sandbox, sandbox_side={"dataset": {"records": {CAD: [version]}}}, override=names)

    summary = ingest(center, settings)

    (row,) = query_arrow(
        "SELECT cad_incident_id, created_at, updated_at, extra FROM cad_incidents", lake_dir=settings.lake_dir
    ).to_pylist()
    assert row["cad_incident_id"] == "C-1"
    assert row["created_at"] == datetime(2024, 3, 1, 0, 0, 1, tzinfo=UTC)
    assert row["updated_at"] == summary.newest_updated_at == datetime(2024, 3, 1, 0, 0, 2, tzinfo=UTC)
    assert "vendor-1" in row["extra"], "what is not asked for is kept"
