"""What a person has in front of them: everything that `dispatchlake up` starts, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.ui import WIDTH, Ui
from tests.cli.up_process import UpProcess, wait_until
from tests.command_line import run_process

IMAGES = Path(__file__).parents[2] / "docs" / "images"

KEEP_SCREENSHOTS = os.environ.get("DISPATCHLAKE_KEEP_SCREENSHOTS", "") not in {"", "0"}
"""Whether the pictures go into docs/images: `make screenshots`."""


@pytest.fixture(scope="package")
def chromium() -> str:
    """The program of the system's Chromium; none is ever downloaded."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("There is no Chromium to look at the UI with. Install it: apt-get install chromium")
    return program


@pytest.fixture(scope="package")
def up(chromium: str, tmp_path_factory: pytest.TempPathFactory, migrated_home: Path) -> Iterator[UpProcess]:
    """An `up` whose schedules are switched off: only what a test starts runs."""
    process = UpProcess(tmp_path_factory.mktemp("browser"), migrated_home)
    process.environment["DISPATCHLAKE_RETRY_BUDGET_S"] = "2"
    try:
        process.start()
        for deployment in process.api("/deployments/filter", {}):
            for schedule in deployment["schedules"]:
                path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
                process.api(path, {"active": False}, "PATCH")
        yield process
    finally:
        run_process("down", env=process.environment)
        wait_until(lambda: not process.is_running, "it has ended")


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    """A browser of the test's own: Playwright's event loop ends with it, and other tests have theirs."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot be had by root, as which a container runs; it sees loopback only.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        with playwright.chromium.launch(executable_path=chromium, args=arguments) as browser:
            yield browser


@pytest.fixture
def picture_path(tmp_path: Path) -> Callable[[str], Path]:
    """Where a picture of a name goes: into the docs only when asked for."""
    folder = IMAGES if KEEP_SCREENSHOTS else tmp_path
    return lambda name: folder / f"{name}.png"


@pytest.fixture
def har(tmp_path: Path) -> Path:
    """Where everything that the browser sent and received is written down, once the tab is closed."""
    return tmp_path / "traffic.har"


@pytest.fixture
def ui(up: UpProcess, browser: Browser, picture_path: Callable[[str], Path], har: Path) -> Iterator[Ui]:
    """A tab on the UI of `up`."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 800},
        locale="en-US",
        timezone_id="America/Chicago",
        record_har_path=har,
        record_har_content="embed",
    )
    page = context.new_page()
    try:
        yield Ui(page, f"http://127.0.0.1:{up.port}", picture_path)
    finally:
        if not page.is_closed():  # for whoever wants to know why it failed
            page.screenshot(path=har.with_name("last-seen.png"))
            har.with_name("last-seen.txt").write_text(page.locator("body").aria_snapshot())
        context.close()
