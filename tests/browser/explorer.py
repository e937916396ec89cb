"""The explorer as a person uses it: a process of its own, and a tab in which it is open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from playwright.sync_api import Locator, Page, expect

LIMIT_MS = 120_000
"""Longest wait for anything on the page; the machine may be busy."""


class ExplorerProcess:
    """`dispatchlake explore` over a data folder, on a free port; ended with the context."""

    def __init__(self, data_dir: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dispatchlake", "explore", "--port", "0", "--no-browser"],
            env=os.environ | {"DISPATCHLAKE_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = ""

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?access_token=\S+", line)
        if found is None:
            self._stop()
            raise RuntimeError(f"the explorer did not start: {line}")
        self.address = found[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    @property
    def origin(self) -> str:
        """Return its address without the token."""
        return self.address.split("/?")[0]


class ExplorerPage:
    """A tab on the explorer, opened at the address that was printed.

    Attributes:
        asked: Address of everything the browser asked for.
        complaints: What the page's console told of errors.
    """

    def __init__(self, page: Page, picture_path: Callable[[str], Path]) -> None:
        self.page = page
        self._picture_path = picture_path
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(LIMIT_MS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type == "error" else None,
        )

    def open(self, address: str) -> None:
        """Go to the address and wait until the page is there."""
        self.page.goto(address)
        self.page.get_by_role("tab", name="Volume").wait_for()

    def show(self, tab: str) -> None:
        """Choose one of the tabs."""
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def see(self, text: str | re.Pattern[str]) -> Locator:
        """Wait until this text can be seen, and return where."""
        there = self.page.get_by_text(text).filter(visible=True).first
        there.wait_for()
        return there

    def see_pictures(self, number: int, *, beside: str | re.Pattern[str]) -> None:
        """Wait until so many pictures are drawn, and what is said about them is there."""
        self.see(beside)
        expect(self.page.locator("canvas.marks, svg.marks")).to_have_count(number, timeout=LIMIT_MS)

    def choose(self, field: str, *names: str) -> None:
        """Switch these on or off in a list of several."""
        self.page.locator("marimo-multiselect").filter(has_text=field).get_by_role("button").first.click()
        for name in names:
            self.page.get_by_role("option", name=name, exact=True).click()
        self.page.keyboard.press("Escape")

    def picture(self, name: str, *, height: int) -> None:
        """Take a picture of what is seen."""
        self.page.set_viewport_size({"width": 1240, "height": height})
        self.page.mouse.move(0, 0)
        self.page.wait_for_function("document.fonts.status === 'loaded'")
        self.page.screenshot(path=self._picture_path(name), animations="disabled")
