"""The page and its server without a browser: every cell runs, and nobody without the token sees anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from dispatchlake.settings import Settings
from tests.browser.explorer import ExplorerProcess

pytestmark = pytest.mark.xdist_group("demo")

RUN = """
import json, sys
from dispatchlake.explore import wording
from dispatchlake.explore.app import app

_, names = app.run()
found = {"count": names["count"], "chosen": names["chosen_centers"].value, "tab": names["page"].value}
print(json.dumps(found))
"""


def run_page(data_dir: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN],
        env=os.environ | {"DISPATCHLAKE_DATA_DIR": data_dir},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_cells_of_the_first_tab_run(demo_settings: Settings) -> None:
    ended = run_page(str(demo_settings.data_dir))

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {
        "count": 3630,
        "chosen": ["houston-tx"],
        "tab": "Volume",
    }


@pytest.fixture(scope="module")
def process(demo_settings: Settings) -> Iterator[ExplorerProcess]:
    with ExplorerProcess(demo_settings.data_dir) as process:
        yield process


def answer(address: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(address, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as got:
            return got.status, got.url, dict(got.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.url or "", dict(error.headers)


def test_every_answer_tells_the_browser_to_ask_nobody_else(process: ExplorerProcess) -> None:
    for path in ("/", "/auth/login", "/favicon.ico", "/no/such/thing"):
        _, _, headers = answer(process.origin + path)
        policy = headers.get("content-security-policy") or headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "http:" not in policy
        assert "https:" not in policy


def test_only_the_token_of_this_start_opens_it(process: ExplorerProcess) -> None:
    assert "/auth/login" in answer(process.origin)[1]
    assert "/auth/login" in answer(f"{process.origin}/?access_token=guessed")[1]
    for path in ("/ws", "/api/kernel/run", "/api/export/html", "/api/status/connections"):
        assert answer(process.origin + path)[0] in {401, 403, 404, 405}


def test_a_name_that_somebody_points_at_this_machine_is_refused(process: ExplorerProcess) -> None:
    assert answer(process.address, host="rebound.example")[0] == 400
