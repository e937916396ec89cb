"""The explorer in Chromium: every picture is drawn, from this machine alone, for who has its address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dispatchlake.settings import Settings
from tests.browser.explorer import ExplorerPage, ExplorerProcess

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def process(chromium: str, demo_settings: Settings) -> Iterator[ExplorerProcess]:
    with ExplorerProcess(demo_settings.data_dir) as process:
        yield process


@pytest.fixture
def explorer(
    process: ExplorerProcess, browser: Browser, picture_path: Callable[[str], Path]
) -> Iterator[ExplorerPage]:
    context = browser.new_context(
        viewport={"width": 1240, "height": 950}, locale="en-US", timezone_id="Asia/Tokyo"
    )
    page = ExplorerPage(context.new_page(), picture_path)
    page.open(process.address)
    yield page
    context.close()


def test_every_picture_is_drawn_and_nobody_else_is_asked(
    explorer: ExplorerPage, process: ExplorerProcess
) -> None:
    """The browser is in another time zone than any center: what it shows is the centers' time."""
    explorer.see(re.compile("3,630 CAD incidents of 1 center, 6 Jul 2024 to 8 Jul 2024"))
    explorer.see_pictures(2, beside=re.compile("^CAD incidents by their time of creation"))
    explorer.picture("explore-volume", height=990)

    explorer.show("Map")
    explorer.see_pictures(1, beside=re.compile("0 have no coordinates, [0-9]+ lie far from the others"))
    explorer.picture("explore-map", height=990)

    explorer.show("Response times")
    explorer.see("None of them has both times.")
    explorer.choose("Centers", "Houston Emergency Center", "San Francisco Fire Department")
    explorer.see(re.compile("4,895 CAD incidents of 1 center, 2 Apr 2020 to 14 Apr 2020"))
    explorer.see_pictures(1, beside="Of 4,895 CAD incidents, 4,716 (96%) have both times in order")
    explorer.picture("explore-response-times", height=740)

    explorer.choose("Centers", "San Diego Police Department", "San Francisco Fire Department")
    explorer.show("Completeness")
    explorer.see_pictures(1, beside=re.compile("^The last 31 of the days chosen"))
    explorer.picture("explore-completeness", height=740)

    assert explorer.asked
    assert all(
        url.startswith((process.origin, process.origin.replace("http", "ws"), "data:", "blob:"))
        for url in explorer.asked
    )
    assert explorer.complaints == []
    assert explorer.page.get_by_text("Open in Vega Editor").count() == 0, "it would send the data away"


def test_types_narrow_what_is_looked_at(explorer: ExplorerPage) -> None:
    explorer.choose("Types", "EMS EVENT")

    explorer.see(re.compile("2,350 CAD incidents of 1 center"))


def test_one_incident_tells_its_story(explorer: ExplorerPage) -> None:
    explorer.show("One incident")
    explorer.page.get_by_role("checkbox").first.click()

    explorer.see(re.compile("What is known of [0-9a-f-]{36}"))
    explorer.see("first version")
    explorer.picture("explore-incident", height=930)
    explorer.page.get_by_label("Id or CAD number").fill("no such id")
    explorer.page.keyboard.press("Tab")
    explorer.see(re.compile("^0 rows"))


def test_the_browser_is_told_to_ask_nobody_else(explorer: ExplorerPage) -> None:
    """Another port of this machine is somebody else already."""
    refused = explorer.page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.blockedURI));
            fetch("http://127.0.0.1:9/stolen").catch(() => {});
        })"""
    )

    assert refused == "http://127.0.0.1:9/stolen"


def test_who_lacks_the_token_is_shown_nothing(process: ExplorerProcess, browser: Browser) -> None:
    page = browser.new_context().new_page()

    for address in (process.origin, f"{process.origin}/?access_token=guessed"):
        page.goto(address)
        assert "/auth/login" in page.url
        expect(page.get_by_text("CAD incidents")).to_have_count(0)
