"""A replay is killed at every write in its midst: what came before is done, and the next does the rest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guarantees import replays
from tests.guarantees.content import Content
from tests.guarantees.ledger import Ledger
from tests.guarantees.tidy import assert_tidy
from tests.guarantees.victims import Point, Victim

WRITES = (
    "DELETE FROM incident_versions",
    "INSERT INTO incident_versions",
    "DELETE FROM incidents",
    "INSERT INTO incidents",
    "DELETE FROM quarantine",
)
LAST_WRITE = WRITES[-1]
"""What the commit of a page follows."""

NTH = replays.PAGES // 2
"""The page within whose transaction a replay is killed: there are some before it and some after."""

POINTS = [
    *(Point(one, NTH, "after") for one in WRITES),
    *(Point("COMMIT", NTH, when, follows=LAST_WRITE) for when in ("before", "after", 2.0, 10.0)),
]
"""Every write of one page: after each, which is before the next; before, within and after its commit."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A lake to be replayed, to be copied, and what it holds before the first page and after each."""

    folder: Path
    stages: list[Content]


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    folder = tmp_path_factory.mktemp("replayed")
    Victim(replays.put_lake, folder / "data").result()
    undisturbed = Path(shutil.copytree(folder / "data", folder / "undisturbed"))
    stages = Victim(replays.replay_page_by_page, undisturbed).result()
    assert len({stage.records for stage in stages}) == replays.PAGES + 1, "each page changes something"
    assert len(stages[0].quarantined) == replays.PAGES
    assert not stages[-1].quarantined
    return Replayed(folder / "data", stages)


@pytest.fixture
def data_dir(replayed: Replayed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(replayed.folder, tmp_path / "data"))


@pytest.mark.fault("SIGKILL at a write of a replay, and within its commit")
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_replay_killed_at_a_write(replayed: Replayed, data_dir: Path, ledger: Ledger, point: Point) -> None:
    victim = Victim(replays.replay_all, data_dir, point)

    assert victim.wait_until_killed()
    ledger.tried()

    found = replays.read(data_dir)
    done = NTH if found == replayed.stages[NTH] else NTH - 1
    ledger.compare(found, replayed.stages[done])
    assert found == replayed.stages[done], "all of some pages, and nothing of those after them"
    if point.statement != "COMMIT" or point.when == "before":
        assert done == NTH - 1
    elif point.when == "after":
        assert done == NTH
    replays.replay_all(data_dir)
    ledger.compare(replays.read(data_dir), replayed.stages[-1])
    if point == POINTS[0]:
        assert_tidy(data_dir, lambda: replays.read(data_dir), ledger)


def test_every_write_of_a_replay_is_one_that_is_killed_at(data_dir: Path) -> None:
    statements = Victim(replays.replay_all, data_dir).result()

    writes = [
        text
        for text in statements
        if text.startswith(("INSERT", "DELETE", "UPDATE")) and " memory." not in text
    ]
    of_itself = ("INSERT INTO replayed", "DELETE FROM replayed")
    assert {text[:60] for text in writes if not text.startswith((*WRITES, *of_itself))} == set()
    for write in WRITES:
        assert len([text for text in writes if text.startswith(write)]) == replays.PAGES, write
