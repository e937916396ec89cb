"""After a restore to an older catalog the lake equals the truth again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake.backup import back_up, restore
from dispatchlake.lake.maintenance import maintain
from dispatchlake.lake.reading import query_arrow
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal


@pytest.mark.parametrize("resource", ["incident_events", "cad_incidents"])
def test_the_next_ingest_reads_from_the_older_watermark_and_lands_what_was_lost(
    sandbox: SandboxProcess, settings: Settings, tmp_path: Path, resource: str
) -> None:
    center = put_center(
        sandbox,
        sandbox_side={"epoch": "2024-03-01T12:00:00Z"},
        override={"since_param": "updated_since"},
    )

    def ingest() -> int:
        return ingest_cell(center, resource, settings=settings, run_id="run").records

    def watermark() -> object:
        query = "SELECT watermark_at FROM watermarks"
        return query_arrow(query, lake_dir=settings.lake_dir).to_pylist()

    ingest()
    then, expected = watermark(), sandbox.truth(center.center_id, resource)
    back_up(settings, tmp_path / "backup")
    sandbox.advance_clock(6 * 3600)
    brought = ingest()
    assert brought > 0
    assert watermark() != then

    restore(settings, tmp_path / "backup")

    assert watermark() == then
    assert_equal(settings.lake_dir, center.center_id, resource, expected["current"])
    assert ingest() == brought, "what came after the backup, and no more"
    report = maintain(settings, keep_snapshots_days=0, keep_files_days=0)
    assert not report.failed
    truth = sandbox.truth(center.center_id, resource)
    assert_equal(settings.lake_dir, center.center_id, resource, truth["current"])
    assert report.after.files == sum(table.files for table in report.after.tables)
