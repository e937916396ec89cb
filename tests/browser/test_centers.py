"""A center that fails, a center's block, and who is told: what a person sees of them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.ui import Ui
from tests.cli.up_process import ENDED, UpProcess
from tests.command_line import run_process
from tests.flows.receiver import Receiver
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def ingest(up: UpProcess, *center_ids: str) -> dict[str, Any]:
    """Run `ingest` to its end and return the run; again, where one was under way and it was cancelled."""
    while True:
        run_id = up.run("ingest/ingest", {"centers": list(center_ids)})
        if up.wait_for(run_id, *ENDED)["type"] != "CANCELLED":
            run: dict[str, Any] = up.api(f"/flow_runs/{run_id}")
            return run


def test_a_failed_center_is_named_with_what_to_do(ui: Ui, up: UpProcess) -> None:
    up.sandbox("faults/san-francisco-ca", {"kind": "revoke_token", "times": 2})
    refusal = {"status": 401, "body": json.dumps({"error": "invalid_client"})}
    up.sandbox("faults/san-francisco-ca", {"kind": "status", "on": "token", "times": 50, **refusal})
    try:
        run = ingest(up)
    finally:
        up.sandbox("faults/san-francisco-ca", method="DELETE")

    ui.open_run(run["name"])
    assert ui.wait_for_state("Completed", "Partial", "Failed", "Crashed") == "Partial"
    run_page = ui.page.url
    ui.open_tab("Details")
    ui.see(re.compile("4 of 6 cells landed: .*Failed: san-francisco-ca"))
    ui.picture("failed-run", height=1010)
    summary = ui.open_artifact("ingest-summary")
    assert "san-francisco-ca" in ui.read(summary)
    assert "secret is wrong or no longer valid" in ui.read(summary)
    ui.page.goto(run_page)
    status = ui.open_artifact("status")
    advice = (
        status.get_by_role("listitem").filter(has_text="san-francisco-ca cad_incidents is login failed").first
    )
    assert "Do:" in advice.inner_text()
    fine = status.get_by_role("row").filter(has_text="🟢 ok")
    wait_until(lambda: fine.count() == 4, status.inner_text, limit_s=10)
    ui.picture("status", height=900)

    assert ingest(up)["state"]["type"] == "COMPLETED"


def test_a_block_is_edited_and_no_secret_reaches_the_browser(ui: Ui, up: UpProcess, har: Path) -> None:
    block_id = up.api("/block_types/slug/dispatch-center/block_documents/name/houston-tx")["id"]
    stored = up.api(f"/block_documents/{block_id}?include_secrets=true")["data"]
    secrets = [value for name, value in stored.items() if name.endswith("_secret")]
    frames: list[str | bytes] = []
    ui.page.on("websocket", lambda socket: socket.on("framereceived", frames.append))

    ui.open_block_form("houston-tx")
    ui.type_in("Display Name", "Houston, by another name")
    ui.picture("center-block", height=1400)
    shown = [ui.page.content()]
    shown += [field.input_value() for field in ui.page.locator("input, textarea").all()]
    ui.page.get_by_role("button", name="Save").click()
    ui.see("Houston, by another name")
    shown.append(ui.page.content())
    ui.page.context.close()

    assert len(secrets) == 2
    assert all(len(secret) > 30 for secret in secrets)
    received = bodies(har)
    assert any("houston-tx-cad_incidents" in body for body in received), "the block has been received"
    for text in [*shown, *received, har.read_text(), *map(str, frames)]:
        assert not any(secret in text for secret in secrets)
    saved = up.api(f"/block_documents/{block_id}?include_secrets=true")["data"]
    assert saved == stored | {"display_name": "Houston, by another name"}
    logins = up.sandbox("stats")["houston-tx"]["logins_ok"]
    up.sandbox("faults/houston-tx", {"kind": "revoke_token"})
    assert ingest(up, "houston-tx")["state"]["type"] == "COMPLETED"
    assert up.sandbox("stats")["houston-tx"]["logins_ok"] > logins, "with the secret of the block"


def bodies(har: Path) -> list[str]:
    """Return the text of every answer that the browser received."""
    found = []
    for entry in json.loads(har.read_text())["log"]["entries"]:
        content = entry["response"]["content"]
        text = content.get("text", "")
        is_packed = content.get("encoding") == "base64"
        found.append(base64.b64decode(text).decode(errors="replace") if is_packed else text)
    return found


def test_the_automations_are_there_once_somebody_is_to_be_told(ui: Ui, up: UpProcess, tmp_path: Path) -> None:
    address = tmp_path / "address"
    with Receiver() as receiver:
        address.write_text(receiver.url)
        told = run_process("alerts", "set", str(address), env=up.environment)
    assert told.returncode == 0, told.stderr
    names = [one["name"] for one in up.api("/automations/filter", {})]

    ui.open("Automations")

    assert len(names) == 16
    for name in names:
        ui.see(name)
    ui.picture("automations", height=1000)
