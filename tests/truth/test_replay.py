"""A lake that a faulty parser filled is, after a replay, what the center has: no second call to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import Selection, open_lake, typed_pages
from dispatchlake.lake.parsing import Parsed, parse_records
from dispatchlake.lake.record_types import RecordType
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal, assert_versions_equal

CAD = "cad_incidents"


def parse_wrongly(records: Sequence[Any], record_type: RecordType) -> Parsed:
    """Reject a third of the records, and lose the address of another."""
    spoiled: list[Any] = []
    for number, record in enumerate(records):
        spoiled.append([record, None, {**record, "address": None}][number % 3])
    return parse_records(spoiled, record_type)


def test_a_replay_gives_the_truth_without_another_request(
    sandbox: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Current records and every version, of a center whose records changed between two runs."""
    center = put_center(
        sandbox, sandbox_side={"epoch": "2024-03-01T12:00:00Z"}, override={"since_param": "updated_since"}
    )
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    with monkeypatch.context() as patch:
        patch.setattr(typed_pages, "parse_columns", lambda *_: None)
        patch.setattr(typed_pages, "parse_records", parse_wrongly)
        for _ in range(2):
            ingest_cell(center, CAD, settings=settings, run_id="run")
            truth = sandbox.truth(center.center_id, CAD)["current"]
            seen |= {(record["id"], record["updated_at"]): record for record in truth}
            sandbox.advance_clock(3600)
    with pytest.raises(AssertionError):
        assert_equal(settings.lake_dir, center.center_id, CAD, truth)
    requests = sandbox.counts(center.center_id)

    with open_lake(settings) as lake:
        (summary,) = lake.replay(Selection((center.center_id,)))

    assert (summary.quarantined, summary.unreadable) == (0, 0)
    assert_equal(settings.lake_dir, center.center_id, CAD, truth)
    assert_versions_equal(settings.lake_dir, center.center_id, CAD, list(seen.values()))
    assert sandbox.counts(center.center_id) == requests
