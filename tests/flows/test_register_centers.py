"""The register of dispatch centers: blocks on a real Prefect server, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run

pytestmark = pytest.mark.xdist_group("prefect")

SECRET = "a-secret-nobody-may-see"


def add(center_id: str, *more: str, stdin: str = SECRET) -> object:
    return run("centers", "add", center_id, "--scope", "cad_incidents", "--client-id", "app-1",
               "--secret-file", "-", "--base-url", "http://127.0.0.1:9", *more, stdin=stdin)  # fmt: skip


def test_a_registered_center_is_listed_without_its_secret(prefect_url: str) -> None:
    added = add("listed-tx", "--name", "Listed, TX", "--time-zone", "America/Chicago")
    listed = run("centers", "list")

    assert added.returncode == 0, added.stderr
    assert "Registered listed-tx (Listed, TX): can read cad_incidents." in added.stdout
    assert "listed-tx" in listed.stdout
    assert "America/Chicago" in listed.stdout
    assert SECRET not in added.stdout + added.stderr + listed.stdout + listed.stderr


def test_a_second_scope_is_added_to_a_registered_center(prefect_url: str) -> None:
    add("two-scopes-tx", "--name", "Two scopes")
    second = run("centers", "add", "two-scopes-tx", "--scope", "incident_events", "--client-id", "app-2",
                 "--secret-file", "-", stdin="other")  # fmt: skip

    assert "Registered two-scopes-tx (Two scopes): can read incident_events, cad_incidents." in second.stdout


def test_a_csv_registers_all_its_centers(prefect_url: str, tmp_path: Path) -> None:
    file = tmp_path / "centers.csv"
    file.write_text(
        "center_id,scope,client_id,client_secret,name,time_zone,base_url\n"
        f"csv-a,cad_incidents,a,{SECRET},A,America/Denver,http://127.0.0.1:9\n"
        f"csv-a,incident_events,b,{SECRET},A,America/Denver,http://127.0.0.1:9\n"
        f"csv-b,cad_incidents,c,{SECRET},B,,http://127.0.0.1:9\n"
    )

    imported = run("centers", "import", str(file))

    assert "Registered csv-a (A): can read incident_events, cad_incidents." in imported.stdout
    assert "Registered csv-b (B): can read cad_incidents." in imported.stdout
    assert SECRET not in imported.stdout + imported.stderr


def test_one_bad_row_registers_nothing(prefect_url: str, tmp_path: Path) -> None:
    file = tmp_path / "centers.csv"
    file.write_text(
        "center_id,scope,client_id,client_secret,time_zone\n"
        f"bad-row-a,cad_incidents,a,{SECRET},America/Denver\n"
        f"bad-row-b,cad_incidents,a,{SECRET},Mars/Olympus\n"
    )

    refused = run("centers", "import", str(file))
    listed = run("centers", "list")

    assert refused.returncode == 1
    assert "row 3" in refused.stderr
    assert "Mars/Olympus" in refused.stderr
    assert "Nothing was registered" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert SECRET not in refused.stderr
    assert "bad-row-a" not in listed.stdout


def test_a_removed_center_is_forgotten(prefect_url: str) -> None:
    add("removed-tx")
    add("stays-tx")

    removed = run("centers", "remove", "removed-tx")
    again = run("centers", "remove", "removed-tx")

    assert removed.returncode == 0, removed.stderr
    assert again.returncode == 1
    assert "Unknown dispatch center: removed-tx" in again.stderr


def test_a_secret_is_not_readable_in_prefects_database(prefect_url: str, prefect_home: Path) -> None:
    add("secret-tx")

    content = b"".join(file.read_bytes() for file in prefect_home.rglob("*") if file.is_file())

    assert b"secret-tx" in content, "the block is there"
    assert SECRET.encode() not in content


def test_a_center_keeps_its_resources_through_the_block(prefect_url: str) -> None:
    from pydantic import SecretStr

    from dispatchlake.model import Credentials, DispatchCenter, Paging, ResourceOverride, Scope
    from tasks.centers import load_center, save_center

    center = DispatchCenter(
        center_id="round-trip-tx",
        name="Round trip",
        time_zone="America/Chicago",
        base_url="https://api.example.com",
        credentials={Scope.CAD_INCIDENTS: Credentials(client_id="a", client_secret=SecretStr(SECRET))},
        resources={
            "cad_incidents": ResourceOverride(path="/v2/cad", paging=Paging(style="page", page_size=50))
        },
    )

    save_center(center)

    assert load_center("round-trip-tx") == center
    assert json.dumps(load_center("round-trip-tx").resource("cad_incidents").path) == '"/v2/cad"'


def test_a_block_with_a_value_that_cannot_be_is_one_sentence(prefect_url: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentUpdate

    from tasks.blocks import DispatchCenterBlock

    add("odd-values-tx")
    with get_client(sync_client=True) as client:
        slug = DispatchCenterBlock.get_block_type_slug()
        block = client.read_block_document_by_name("odd-values-tx", slug, include_secrets=True)
        changed = BlockDocumentUpdate(
            data=block.data | {"max_requests_per_s": -1, "token_body": "xml"}, merge_existing_data=False
        )
        client.update_block_document(block.id, changed)
        try:
            listed = run("centers", "list")
        finally:
            client.delete_block_document(block.id)

    assert listed.returncode == 1
    said = " ".join(listed.stderr.split())
    assert "The configuration of dispatch center odd-values-tx cannot be used." in said
    assert "token_body: must be 'json' or 'form'; max_requests_per_s: must be greater than 0." in said
    assert SECRET not in said
