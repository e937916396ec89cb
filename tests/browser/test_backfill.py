"""A backfill by hand: the form, the run, the grid; and a mistake in the form."""

from __future__ import annotations

import os
import re
from datetime import date, timedelta

import pytest

from dispatchlake.cli.local_sandbox import CENTERS
from tests.browser.ui import Ui
from tests.cli.up_process import UpProcess, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

DAYS = int(os.environ.get("DISPATCHLAKE_BACKFILL_DAYS", "5"))
"""Days that the form asks for; `make screenshots` asks for 90."""

LAST_DAY = date(2024, 7, 9)
FIRST_DAY = LAST_DAY - timedelta(days=DAYS - 1)
RESOURCES = ("incident_events", "cad_incidents")
CELLS = DAYS * len(CENTERS) * len(RESOURCES)


def set_latency(up: UpProcess, milliseconds: int, *centers: str) -> None:
    for center_id in centers or CENTERS:
        up.sandbox(f"centers/{center_id}", {"latency_ms": milliseconds}, "PATCH")


def test_a_backfill_is_filled_in_started_and_watched_to_its_end(ui: Ui, up: UpProcess) -> None:
    set_latency(up, 50)
    if DAYS < 90:  # one center keeps it under way until it has been seen: just within the client's timeout
        set_latency(up, 25_000, "houston-tx")
    ui.open("Deployments")
    ui.see("ingest-full")
    ui.picture("deployments", height=640)

    ui.open_form("backfill")
    ui.choose("centers", *CENTERS)
    ui.choose("resources", *RESOURCES)
    ui.pick("first_day", FIRST_DAY)
    ui.pick("last_day", LAST_DAY)
    ui.type_in("slice_days", "1")
    ui.choose("mode", "everything again")
    ui.picture("backfill-form", height=1480)
    ui.submit()
    ui.wait_for_state("Running")
    run_page, run_id = ui.page.url, ui.run_id
    name = up.api(f"/flow_runs/{run_id}")["parameters"]
    grid = ui.open_artifact("backfill-grid")
    wait_until(lambda: ui.page.reload() and re.search("[1-9].* left", ui.read(grid)), "some are left")
    if DAYS >= 90:
        wait_until(lambda: ui.page.reload() and re.search("[1-4]\\d %", ui.read(grid)), "some are read")
    ui.picture("grid-running", height=1000)
    set_latency(up, 50)
    ui.page.goto(run_page)
    ended = ui.wait_for_state("Completed", "Partial", "Failed", "Crashed")

    assert ended == "Completed"
    assert name["centers"] == list(CENTERS), "what was chosen in the form"
    assert (name["first_day"], name["last_day"]) == (str(FIRST_DAY), str(LAST_DAY))
    assert name["mode"] == "everything again"
    ui.open_tab("Task Runs")
    ui.see(re.compile(rf"houston-tx .* {LAST_DAY}"))
    grid = ui.open_artifact("backfill-grid")
    assert f"{CELLS:,} of {CELLS:,} cells read" in ui.read(grid)
    for center_id in CENTERS:
        for resource in RESOURCES:
            row = grid.get_by_role("row", name=f"{center_id} {resource} {DAYS} {DAYS} 0 0 0 100 %")
            assert row.count() == 1
    assert ui.read(grid).count("🟩") == CELLS + 1, "each cell, and one in the legend"
    ui.picture("grid-finished", height=1000)


def test_an_end_before_the_start_is_refused_at_once_with_a_sentence(ui: Ui) -> None:
    ui.open_form("backfill")
    ui.pick("first_day", date(2024, 7, 9))
    ui.pick("last_day", date(2024, 7, 5))
    ui.submit()

    assert ui.wait_for_state("Failed", "Completed", "Partial", "Crashed") == "Failed"
    ui.open_tab("Details")
    ui.see("The last day (2024-07-05) is before the first day (2024-07-09)")
