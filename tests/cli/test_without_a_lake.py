"""Who asks, where nothing has landed yet, is told so, and leaves no lake behind."""

from __future__ import annotations

import pytest

from dispatchlake.settings import Settings
from tests.command_line import run


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--check"],
        ["sql", "SHOW TABLES"],
        ["quarantine"],
        ["verify"],
        ["replay"],
        ["hold", "list"],
        ["hold", "add", "houston-tx", "i1", "--reason", "case 7"],
        ["hold", "remove", "houston-tx", "i1"],
        ["retention", "show"],
        ["retention", "unset", "records"],
        ["retention", "run", "--dry-run"],
        ["erasures"],
        ["erase", "--unfinished"],
        ["dictionary", "incidents"],
        ["opening-sql"],
        ["export", "incidents", "--to", "incidents.csv"],
        ["maintain"],
        ["publish"],
    ],
    ids=" ".join,
)
def test_it_is_said_that_there_is_none_and_nothing_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    outcome = run(*words)

    assert outcome.returncode == 1
    said = outcome.stdout + outcome.stderr
    assert "There is no lake in" in said
    assert "Land something first (dispatchlake ingest)" in said
    assert not settings.data_dir.exists()
