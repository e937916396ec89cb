"""The Prefect UI as a person uses it: what to click for what. Everything that knows its markup is here."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

from playwright.sync_api import Locator, Page

from tests.cli.up_process import wait_until

LIMIT_MS = 120_000
"""Longest wait for anything on a page; the machine may be busy."""

RUN_LIMIT_MS = 1_800_000
"""Longest wait for a run to end."""

WIDTH = 1440
"""Of the window, in pixels: a common screen's."""


class Ui:
    """One browser tab on a Prefect UI, opened at its address as a person types it.

    Args:
        page: The tab.
        url: Address of the UI, without a path.
        picture_path: Where the picture of a name goes.
    """

    def __init__(self, page: Page, url: str, picture_path: Callable[[str], Path]) -> None:
        self.page = page
        self._picture_path = picture_path
        page.set_default_timeout(LIMIT_MS)
        page.goto(url)

    def open(self, menu: str) -> None:
        """Open one of the pages in the menu on the left, such as Deployments."""
        self.page.get_by_role("link", name=menu, exact=True).first.click()

    def follow(self, text: str) -> None:
        """Follow the first link of this text in the page's content."""
        self.page.get_by_role("main").get_by_role("link", name=text, exact=True).first.click()

    def see(self, text: str | re.Pattern[str], *, limit_ms: float = LIMIT_MS) -> Locator:
        """Wait until this text can be seen, and return where."""
        there = self.page.get_by_text(text).filter(visible=True).first
        there.wait_for(timeout=limit_ms)
        return there

    def picture(self, name: str, *, height: int = 800) -> None:
        """Take a picture of what is seen, when notices have gone and pages have been loaded."""
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.mouse.move(0, 0)
        notices = self.page.locator("[data-sonner-toast]")
        while notices.count():
            notices.first.wait_for(state="detached")
        self.page.wait_for_function("document.fonts.status === 'loaded'")
        self.page.screenshot(path=self._picture_path(name), animations="disabled")

    # A deployment's form

    def open_form(self, deployment: str) -> None:
        """Go from the list of deployments to the form of one."""
        self.open("Deployments")
        self.follow(deployment)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.see("Parameters")

    def choose(self, field: str, *texts: str) -> None:
        """Choose these in a list that offers them."""
        self.page.get_by_role("button", name=f"Select {field}").click()
        for text in texts:
            self.page.get_by_role("option", name=text, exact=True).click()
        if (offered := self.page.get_by_role("listbox")).is_visible():
            self.page.keyboard.press("Escape")
        offered.wait_for(state="detached")

    def pick(self, field: str, day: date) -> None:
        """Choose a day in the date picker: its year, its month, then the day itself."""
        chosen = self.page.get_by_role("button", name=field, exact=True)
        chosen.click()
        self.page.get_by_role("combobox", name="Choose the Year").select_option(str(day.year))
        self.page.get_by_role("combobox", name="Choose the Month").select_option(f"{day:%b}")
        self.page.get_by_role("button", name=re.compile(rf"{day:%B} {day.day}\w\w, {day.year}")).click()
        chosen.get_by_text(re.compile(rf"{day:%B} {day.day}\w\w, {day.year}")).wait_for()
        if (picker := self.page.get_by_role("grid")).is_visible():
            self.page.keyboard.press("Escape")
        picker.wait_for(state="detached")

    def type_in(self, field: str, text: str) -> None:
        """Type into a field, in the place of what it says."""
        self.page.get_by_label(re.compile(f"^{field}")).fill(text)

    def submit(self) -> None:
        """Start the run that the form describes, and go to its page.

        Where Prefect's database was busy (503) the form stays as it is, and a person presses again.
        """
        status = 503
        while status == 503:
            with self.page.expect_response("**/create_flow_run") as answer:
                self.page.get_by_role("button", name="Submit", exact=True).click()
            status = answer.value.status
        notice = self.page.locator("[data-sonner-toast]")
        notice.get_by_role("button").or_(notice.get_by_role("link")).first.click()
        self._wait_for_run_page()

    # A run's page

    @property
    def run_id(self) -> str:
        """Return the id of the run whose page is open."""
        (run_id,) = re.findall(r"/flow-run/([0-9a-f-]{36})", self.page.url)
        return str(run_id)

    def open_run(self, name: str) -> None:
        """Go from the list of runs to one."""
        self.open("Runs")
        self.follow(name)
        self._wait_for_run_page()

    def _wait_for_run_page(self) -> None:
        """Wait until a run's page has taken the place of the one before, and not only its address."""
        self.page.wait_for_url("**/runs/flow-run/**")
        self.page.get_by_role("tab", name="Task Runs").wait_for()

    def wait_for_state(self, *names: str) -> str:
        """Wait until the run of this page is in one of these states, and return which."""
        one_of = re.compile(f"^({'|'.join(names)})$")
        # Beside the run's name: below it are the states of its tasks, which may be there first.
        name = self.page.get_by_role("navigation", name="breadcrumb")
        badge = name.locator("xpath=following-sibling::*").get_by_text(one_of).first
        badge.wait_for(timeout=RUN_LIMIT_MS)
        return badge.inner_text()

    def open_tab(self, name: str) -> None:
        """Open one of the tabs below the picture of the run."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def open_artifact(self, key: str) -> Locator:
        """Go from a run's page to its artifact, which is the newest of this key; return where its text is.

        Prefect shows the versions of a key first; what a version says is one click further.
        """
        heading = self.page.get_by_role("heading", name=key, exact=True)
        card = self.page.get_by_role("link").filter(has=heading)
        wait_until(lambda: self._artifacts_show(card), f"the artifact {key}")
        card.click()
        self.page.wait_for_url(f"**/artifacts/key/{key}")
        self.page.get_by_role("main").get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
        text = self.page.get_by_role("tabpanel", name="Artifact")
        self.read(text)
        return text

    def read(self, text: Locator) -> str:
        """Return what an artifact says, once it says anything: its panel is there before, with a button."""
        return str(wait_until(lambda: text.inner_text().replace("Show Raw Data", "").strip(), "its text"))

    def _artifacts_show(self, card: Locator) -> bool:
        """Say whether a card is among the run's artifacts; the page looks for new ones only when loaded."""
        self.page.reload()
        self.open_tab("Artifacts")
        card.or_(self.see(re.compile("did not produce any artifacts|^Created$"))).first.wait_for()
        return card.count() == 1

    # A block's page

    def open_block_form(self, name: str) -> None:
        """Go from the list of blocks to the form in which one is edited."""
        self.open("Blocks")
        self.follow(name)
        self.page.get_by_role("navigation", name="breadcrumb").get_by_text(name, exact=True).wait_for()
        self.page.get_by_role("main").get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name="Edit").click()
        self.page.get_by_role("button", name="Save").wait_for()
