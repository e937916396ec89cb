"""A disk gets full at each write of a load, within its files too: nothing is lost, and the next one lands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake.custody import verify
from dispatchlake.settings import Settings
from tests.guarantees.content import read_content
from tests.guarantees.disks import small_disk
from tests.guarantees.ledger import Ledger
from tests.guarantees.test_environment import CHANGING, put_behind
from tests.guarantees.tidy import assert_tidy
from tests.guarantees.victims import Point
from tests.guarantees.witness import CAD
from tests.guarantees.work import watched
from tests.sandbox_process import SandboxProcess

MANY: dict[str, Any] = CHANGING | {
    "dataset": {"synthetic": {"count": 1500, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}},
    "page_size_cap": 80,
}
"""So many that all they come to is written to files, and not to the catalog."""

ARCHIVE, VERSIONS, CURRENT = (
    f"INSERT INTO {table} " for table in ("raw_pages", "cad_incident_versions", "cad_incidents")
)
SOME_OF_A_FILE = 16 * 1024

FULL_AT: list[tuple[Point, int, str]] = [
    (Point("BEGIN"), 0, ARCHIVE),
    (Point(ARCHIVE), SOME_OF_A_FILE, ARCHIVE),
    (Point("COMMIT", follows=ARCHIVE), 0, "COMMIT"),
    (Point(ARCHIVE, 3), 0, ARCHIVE),
    (Point(VERSIONS), 0, VERSIONS),
    (Point(VERSIONS), SOME_OF_A_FILE, VERSIONS),
    (Point("DELETE FROM cad_incidents "), 0, CURRENT),
    (Point(CURRENT), SOME_OF_A_FILE, CURRENT),
    (Point("INSERT INTO coverage"), 0, "COMMIT"),
    (Point("COMMIT", follows="INSERT INTO runs"), 0, "COMMIT"),
]
"""Before which write of a load the disk gets full, what is left of it, and at which write that is met."""


@pytest.mark.fault("a disk that gets full at a write of a load")
def test_a_disk_that_gets_full_at_a_write_costs_nothing_once_there_is_room(
    sandbox: SandboxProcess, settings: Settings, tmp_path: Path, ledger: Ledger
) -> None:
    with small_disk(tmp_path / "disk", 64 * 2**20) as disk:
        settings = settings.model_copy(update={"data_dir": disk.folder})
        witness, before = put_behind(sandbox, settings, sandbox_side=MANY)
        for point, leave, met_at in FULL_AT:
            with (
                watched(point, partial(disk.fill, leave)) as statements,
                pytest.raises(LakeError, match="free space"),
            ):
                witness.ingest()
            ledger.tried()
            disk.free()
            assert statements[statements.index("ROLLBACK") - 1].startswith(met_at), point
            assert witness.books() == (before.records, before.watermark), "a load that failed is not seen"

        witness.ingest()
        witness.assert_whole(ledger)
        assert all(custody.broken is None for custody in verify(settings.lake_dir))
        assert_tidy(
            disk.folder, lambda: read_content(settings.lake_dir, witness.center.center_id, CAD), ledger
        )
