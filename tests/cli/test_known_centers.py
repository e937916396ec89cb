"""A center that nobody knows is refused, with the names of those that are known."""

from __future__ import annotations

import pytest

from dispatchlake.lake import open_lake
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run
from tests.lake.pages import incident, load
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.usefixtures("_archived")

HOLD = ("hold", "add", "nope", "i1", "--reason", "case 7")


@pytest.fixture
def _archived(settings: Settings) -> None:
    """A lake with pages of two centers."""
    with open_lake(settings) as lake:
        load(lake, incident())
        load(lake, incident(), center_id="center-b")


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "nope"),
        ("replay", "nope"),
        ("quarantine", "--center", "nope"),
        HOLD,
        ("webhooks", "issue", "nope"),
        ("retention", "set", "records", "30", "--center", "nope"),
    ],
    ids=" ".join,
)
def test_it_is_refused_and_the_known_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    outcome = run(*words)

    assert outcome.returncode == 1
    assert "nope" in outcome.stderr
    assert ": center-a, center-b." in outcome.stderr
    assert run("hold", "list").stdout == "No incident is held.\n"
    assert run("retention", "show").stdout == "There is no rule: everything is kept.\n"


def test_a_center_with_nothing_in_quarantine_is_known_all_the_same() -> None:
    outcome = run("quarantine", "--center", "center-b")

    assert (outcome.returncode, outcome.stdout) == (0, "Nothing is in quarantine for center-b.\n")


@pytest.mark.xdist_group("prefect")
def test_a_registered_center_is_known_before_anything_of_it_has_come(
    prefect_url: str, sandbox: SandboxProcess
) -> None:
    from tasks.centers import delete_center, save_center

    center = put_center(sandbox)
    save_center(center)
    try:
        refused, held = run(*HOLD), run("hold", "add", center.center_id, "i1", "--reason", "case 7")
    finally:
        delete_center(center.center_id)

    assert center.center_id in refused.stderr
    assert (held.returncode, held.stdout) == (0, "Held.\n"), held.stderr
