"""`dispatchlake status` and `metrics`, asked of a lake; who is registered is asked in tests/flows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatchlake.ingest import ingest_cell
from dispatchlake.landing import land_deliveries
from dispatchlake.settings import Settings
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind
from tests.centers import put_center
from tests.command_line import run
from tests.lake.deliveries import note_created
from tests.sandbox_process import SandboxProcess
from tests.test_landing import NOW, delivery, keep

LATE = {"DISPATCHLAKE_LATE_AFTER_S": "0.001"}
ROOMY = {"DISPATCHLAKE_DISK_FULL_SHARE": "1"}


def status(*options: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    outcome = run("status", "--lake-only", *options, env=ROOMY | (env or {}))
    assert "Traceback" not in outcome.stderr
    return outcome.returncode, outcome.stdout


def test_all_is_well(lake: str) -> None:
    code, shown = status("--check")

    assert code == 0
    assert f"{lake} cad_incidents" in shown
    assert "1 of 1 listings are ok." in shown


def test_what_is_late_is_said_and_fails_a_check_only(lake: str) -> None:
    code, shown = status(env=LATE)

    assert code == 0
    assert f"{lake} cad_incidents is late: No run has read it for " in shown
    assert "start the worker" in shown
    assert "0 of 1 listings are ok. late: " in shown
    assert status("--check", env=LATE)[0] == 1


def test_a_failure_is_shown_with_its_sentence(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox, client_side={"base_url": "http://127.0.0.1:9"})
    brief = settings.model_copy(update={"retry_budget_s": 0.1})
    with pytest.raises(Exception, match="cannot be reached"):
        ingest_cell(center, "cad_incidents", settings=brief, run_id="r")

    code, shown = status("--check")

    assert code == 1
    assert (
        f"{center.center_id} cad_incidents is late: {center.center_id}: 127.0.0.1:9 cannot be reached."
        in shown
    )
    assert "Nothing to press" in shown


def test_logins_are_counted_refused_ones_too(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(sandbox)
    sandbox.add_fault(center.center_id, "status", status=503, on="token")
    ingest_cell(center, "cad_incidents", settings=settings, run_id="r")
    ingest_cell(center, "cad_incidents", settings=settings, run_id="r")

    (one,) = json.loads(status("--json")[1])["listings"]

    asked = [r for r in sandbox.requests(center.center_id) if r["path"] == "/oauth/token"]
    assert one["logins_last_hour"] == len(asked) == 2


def test_json_has_every_figure_and_the_judgement(lake: str) -> None:
    code, shown = status("--json", "--check", env=LATE)

    content = json.loads(shown)
    (one,) = content["listings"]
    assert code == 1
    assert not content["is_well"]
    assert (one["center_id"], one["resource"], one["state"]) == (lake, "cad_incidents", "late")
    assert datetime.fromisoformat(one["complete_through"]) < datetime.fromisoformat(content["taken_at"])
    assert (one["rows_last_hour"], one["usual_rows_per_hour"], one["quarantined"]) == (300, None, 0)
    assert content["disk"]["total_bytes"] > content["disk"]["free_bytes"] > 0


def test_a_disk_that_is_nearly_full_is_shown(lake: str) -> None:
    _, shown = status(env={"DISPATCHLAKE_DISK_FULL_SHARE": "0"})

    assert "the disk is nearly full." in shown
    assert "Make room" in shown


def test_webhooks_are_shown_with_what_waits_and_what_was_set_aside(settings: Settings) -> None:
    CredentialFile(settings.webhooks_dir).issue("new-tx", CredentialKind.BEARER)
    CredentialFile(settings.webhooks_dir).issue("houston-tx", CredentialKind.BEARER)
    keep(
        settings, delivery(note_created(), "houston-tx"), delivery({"event_type": "unheard of"}, "houston-tx")
    )
    land_deliveries(settings)
    keep(settings, delivery(note_created("n2"), "houston-tx", received_at=datetime.now(UTC)))

    code, shown = status("--check")
    webhooks = {one["center_id"]: one for one in json.loads(status("--json")[1])["webhooks"]}

    assert code == 0
    assert "houston-tx webhook:cad" in shown
    assert "new-tx webhook:incident-events" in shown
    assert "1 deliveries were set aside in the last hour, 1 lie in quarantine; the last because: " in shown
    assert "See why: dispatchlake quarantine --center houston-tx" in shown
    one = webhooks["houston-tx"]
    assert (one["resource"], one["state"], one["deliveries_last_hour"]) == ("webhook:cad", "ok", 2)
    assert (one["waiting"], one["quarantined"], one["quarantined_last_hour"]) == (1, 1, 1)
    assert datetime.fromisoformat(one["last_received_at"]) > NOW
    assert webhooks["new-tx"]["state"] == "nothing yet"


def test_without_a_lake_a_check_fails_and_says_what_to_do(settings: Settings) -> None:
    code, shown = status("--check")
    judged = json.loads(status("--json")[1])

    assert code == 1
    assert f"There is no lake in {settings.lake_dir} yet. Land something first" in shown
    assert (judged["is_well"], judged["has_lake"], judged["headline"]) == (
        False,
        False,
        "There is no lake yet",
    )
    assert status()[0] == 0, "only a check fails"


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_shows_what_matters_most_a_line_for_each_listing(lake: str, width: int) -> None:
    shown = run("status", "--lake-only", env=ROOMY, width=width).stdout

    (row,) = [line for line in shown.splitlines() if line.startswith(f"{lake} cad_incidents ")]
    assert re.fullmatch(r"\S+ cad_incidents +ok +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +.*", row)
    assert len(row) <= width
    assert re.search(r"Too narrow here for: .*logins, last hour\. A wider terminal or --json", shown)


def test_a_wide_terminal_shows_every_column(lake: str) -> None:
    assert "Too narrow here" not in status()[1]


def test_metrics_are_printed_and_written(lake: str, tmp_path: Path) -> None:
    file = tmp_path / "dispatchlake.prom"

    printed = run("metrics", "--lake-only")
    written = run("metrics", "--lake-only", "--file", str(file))

    assert (printed.returncode, written.returncode, written.stdout) == (0, 0, "")
    for text in (printed.stdout, file.read_text()):
        families = {family.name: family.samples for family in text_string_to_metric_families(text)}
        (rows,) = families["dispatchlake_rows_last_hour"]
        assert rows.labels == {"center": lake, "resource": "cad_incidents"}
        assert rows.value == 300


def test_a_file_of_metrics_that_no_collector_reads_is_refused(lake: str, tmp_path: Path) -> None:
    outcome = run("metrics", "--lake-only", "--file", str(tmp_path / "metrics.txt"))

    assert outcome.returncode == 1
    assert "must end in .prom" in outcome.stderr


def test_a_server_that_does_not_answer_does_not_hide_the_lake(lake: str) -> None:
    outcome = run("status", env=ROOMY | {"PREFECT_API_URL": "http://127.0.0.1:9/api"})

    assert outcome.returncode == 0
    assert f"{lake} cad_incidents" in outcome.stdout
    assert "does not answer: centers that were never tried are not shown." in outcome.stderr
