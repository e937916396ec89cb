"""Fixtures that any test may ask for: a data folder of its own, the sandbox, a Prefect server."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.settings import Settings
from tests.demo_lake import make_demo_lake
from tests.examples import register_profiles
from tests.guarantees.table import print_table
from tests.prefect_home import copy_home, make_migrated_home
from tests.sandbox_process import SandboxProcess

register_profiles()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data folder of the test's own, for this process and those it starts."""
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DISPATCHLAKE_RETRY_BUDGET_S", "5")
    return Settings(data_dir=tmp_path / "data", retry_budget_s=5)


@pytest.fixture(scope="session")
def _sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess({"centers": {}}) as process:
        yield process


@pytest.fixture
def sandbox(_sandbox_process: SandboxProcess) -> SandboxProcess:
    """A sandbox whose clock is at zero; each test puts centers of its own, under ids of their own."""
    _sandbox_process.call("POST", "clock", {"elapsed_s": 0})
    return _sandbox_process


@pytest.fixture(scope="session")
def demo_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The lake that two demos make, for reading only; it takes ten seconds to make.

    Tests that ask for it must carry `@pytest.mark.xdist_group("demo")`: one such lake per test run.
    """
    return make_demo_lake(tmp_path_factory.mktemp("demo") / "data")


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that no Prefect server has used, to be copied by those who start one."""
    own = tmp_path_factory.getbasetemp()
    return make_migrated_home(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory, migrated_home: Path) -> Path:
    """Home of the test run's Prefect server."""
    home = tmp_path_factory.mktemp("prefect")
    copy_home(migrated_home, home / "prefect")
    return home


@pytest.fixture(scope="session")
def prefect_url(prefect_home: Path) -> Iterator[str]:
    """The URL of a real Prefect server, and this process set up to use it.

    Tests that ask for it must carry `@pytest.mark.xdist_group("prefect")`: one server per test run.
    """
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_HOME"] = str(prefect_home)
    with prefect_api(Settings(data_dir=prefect_home)) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the Prefect server said with a test of it that failed: without that nobody can tell why."""
    report = yield
    home = getattr(item, "funcargs", {}).get("prefect_home")
    log = home / "prefect" / "server.log" if home else None
    if report.failed and log is not None and log.exists():
        report.sections.append(("the Prefect server's log, its end", log.read_text()[-8000:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with what the guarantees were put through, and what it cost."""
    print_table(terminalreporter)
