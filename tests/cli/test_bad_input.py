"""A person's mistake gives one clear message and exit status 1, and leaves the lake as it was."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake.connection import connect_writer
from dispatchlake.lake.reading import query_arrow
from dispatchlake.model import DispatchCenter, Scope
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import Outcome, run, run_process
from tests.sandbox_process import SandboxProcess
from tests.tls_server import tls_server

pytestmark = pytest.mark.xdist_group("prefect")


def register(center: DispatchCenter) -> str:
    from tasks.centers import save_center

    save_center(center)
    return center.center_id


def snapshot(settings: Settings) -> dict[str, list[Any]]:
    """What an analyst could see: every table but those that record the failure itself."""
    tables = (
        "incidents",
        "incident_versions",
        "cad_incidents",
        "cad_incident_versions",
        "quarantine",
        "watermarks",
    )
    return {t: query_arrow(f"FROM {t} ORDER BY ALL", lake_dir=settings.lake_dir).to_pylist() for t in tables}


@pytest.fixture
def landed(sandbox: SandboxProcess, settings: Settings, prefect_url: str) -> DispatchCenter:
    """A registered center with a landed CAD listing."""
    center = put_center(sandbox)
    register(center)
    ingest_cell(center, "cad_incidents", settings=settings, run_id="before")
    return center


def assert_one_message(result: Outcome, *parts: str) -> None:
    said = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 1, said
    assert "Traceback" not in said
    for part in parts:
        assert part in said


def test_an_unknown_center(landed: DispatchCenter, settings: Settings) -> None:
    before = snapshot(settings)

    result = run_process("ingest", "nowhere-tx")

    assert_one_message(result, "dispatchlake: Unknown dispatch center: nowhere-tx.", landed.center_id)
    assert snapshot(settings) == before


def test_a_wrong_secret(landed: DispatchCenter, sandbox: SandboxProcess, settings: Settings) -> None:
    before = snapshot(settings)
    changed = {
        scope: {"client_id": f"{landed.center_id}-{scope}", "client_secret": "rotated"}
        for scope in ("incident_events", "cad_incidents")
    }
    sandbox.patch_center(landed.center_id, {"credentials": changed})
    sandbox.add_fault(landed.center_id, "revoke_token", on="cad_incidents")

    result = run("ingest", landed.center_id, "--resource", "cad_incidents")

    assert_one_message(result, landed.center_id, "invalid_client", "dispatchlake centers add")
    assert snapshot(settings) == before
    assert sandbox.counts(landed.center_id)["logins_refused"] == 1, "no second try: the account may be locked"


def test_a_wrong_scope(sandbox: SandboxProcess, settings: Settings, prefect_url: str) -> None:
    center = put_center(sandbox)
    events, cad = center.credentials[Scope.INCIDENT_EVENTS], center.credentials[Scope.CAD_INCIDENTS]
    mixed_up = {Scope.INCIDENT_EVENTS: cad, Scope.CAD_INCIDENTS: events}
    register(center.model_copy(update={"credentials": mixed_up}))

    result = run("ingest", center.center_id)

    assert_one_message(result, center.center_id, "invalid_scope", "Register them under the scope")


def test_no_center_is_registered(settings: Settings) -> None:
    result = run_process("ingest", env={"PREFECT_API_URL": None, "PREFECT_HOME": None})

    assert_one_message(result, "No dispatch center is registered.", "dispatchlake centers add")
    assert not settings.lake_dir.exists()


def test_the_center_is_down(landed: DispatchCenter, settings: Settings) -> None:
    before = snapshot(settings)
    register(landed.model_copy(update={"base_url": "http://127.0.0.1:9"}))

    result = run("ingest", landed.center_id, "--resource", "cad_incidents")

    assert_one_message(result, landed.center_id, "127.0.0.1:9 cannot be reached")
    assert snapshot(settings) == before


def test_the_prefect_server_is_down(settings: Settings) -> None:
    result = run_process("ingest", env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})

    assert_one_message(
        result, "The Prefect server at http://127.0.0.1:9/api does not answer.", "PREFECT_API_URL"
    )


def test_the_certificate_cannot_be_verified(
    landed: DispatchCenter, settings: Settings, tmp_path: Path
) -> None:
    before = snapshot(settings)
    with tls_server(tmp_path) as url:
        register(landed.model_copy(update={"base_url": url}))
        result = run("ingest", landed.center_id, "--resource", "cad_incidents")

    assert_one_message(result, landed.center_id, "no secure connection", "SSL_CERT_FILE")
    assert snapshot(settings) == before


def test_a_center_configured_for_a_resource_that_does_not_exist(prefect_url: str) -> None:
    from tasks.blocks import DispatchCenterBlock

    block = DispatchCenterBlock(
        display_name="Odd",
        base_url="https://api.example.com",
        cad_incidents_client_id="a",
        cad_incidents_client_secret="b",
        resources={"cad_incidents": {"pth": "/v2/cad"}},
    )
    center_id = f"odd-{secrets.token_hex(3)}"
    block.save(center_id)

    result = run("check", center_id)

    assert_one_message(result, center_id, "resources.cad_incidents.pth")


def test_a_setting_that_cannot_be_used() -> None:
    result = run_process("ingest", env={"DISPATCHLAKE_LOOKBACK_S": "an hour"})

    assert_one_message(result, "DISPATCHLAKE_LOOKBACK_S")


def test_a_day_that_does_not_exist(settings: Settings) -> None:
    result = run("ingest", "--since", "2023-02-29")

    assert_one_message(result, "2023-02-29 is not a day of the calendar", "YYYY-MM-DD")
    assert not settings.lake_dir.exists()


def test_a_day_in_the_future(landed: DispatchCenter, settings: Settings) -> None:
    before = snapshot(settings)
    day = (datetime.now(UTC) + timedelta(days=2)).date()

    result = run("ingest", landed.center_id, "--since", day.isoformat())

    assert_one_message(result, f"Nothing can be read since {day}")
    assert snapshot(settings) == before


def test_a_lake_made_by_a_newer_version(landed: DispatchCenter, settings: Settings) -> None:
    connection = connect_writer(settings.lake_dir, memory_limit_mb=settings.memory_limit_mb, create=False)
    connection.execute("INSERT INTO migrations VALUES ('0999 from the future', now())")
    connection.close()

    writing = run("ingest", landed.center_id, "--resource", "cad_incidents")
    reading = run("sql", "--restricted", "FROM cad_incidents")

    for result in (writing, reading):
        assert_one_message(result, "made by a newer version", "0999 from the future", "Upgrade dispatchlake")


def test_a_data_folder_that_cannot_be_written(tmp_path: Path, landed: DispatchCenter) -> None:
    in_the_way = tmp_path / "a-file"
    in_the_way.write_text("not a folder")

    result = run("ingest", landed.center_id, env={"DISPATCHLAKE_DATA_DIR": str(in_the_way / "data")})

    assert_one_message(result, str(in_the_way / "data"), "cannot be written", "DISPATCHLAKE_DATA_DIR")


def test_a_damaged_catalog(landed: DispatchCenter, settings: Settings) -> None:
    catalog = settings.lake_dir / "catalog.sqlite"
    catalog.write_bytes(b"this is not a database" * 100)

    result = run_process("sql", "--restricted", "FROM cad_incidents")

    assert_one_message(
        result, "The lake's catalog cannot be opened", str(catalog), "restore it from a backup"
    )


def test_a_query_that_cannot_be_answered(landed: DispatchCenter) -> None:
    result = run("sql", "--restricted", "SELECT nothing FROM cad_incidents")

    assert_one_message(result, "The query cannot be answered.", "nothing")


def test_a_mistake_that_looks_like_markup_is_shown_as_it_is(landed: DispatchCenter) -> None:
    result = run("sql", "--restricted", "SELECT '[/x] [bold]seven'::INT")

    assert_one_message(result, "The query cannot be answered.", "[/x] [bold]seven")


def test_what_this_user_may_not_read(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def refuse(_folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", "/data/lake/catalog.sqlite")

    monkeypatch.setattr("dispatchlake.lake.reading.catalog_path", refuse)

    result = run("sql", "SELECT 1")

    assert_one_message(result, "may not read or write /data/lake/catalog.sqlite", "DISPATCHLAKE_DATA_DIR")


def test_sql_where_there_is_no_lake(settings: Settings) -> None:
    result = run("sql", "SELECT 1")

    assert_one_message(result, "There is no lake in", "dispatchlake ingest")


def test_a_csv_without_its_columns(tmp_path: Path, prefect_url: str) -> None:
    file = tmp_path / "centers.csv"
    file.write_text("center_id,client_id\na,b\n")

    result = run("centers", "import", str(file))

    assert_one_message(result, "The CSV has no column scope, client_secret.")


def test_an_option_that_does_not_exist() -> None:
    result = run_process("ingest", "--everything")

    assert result.returncode != 0
    assert "--everything" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
