"""What a victim does: the product's own ways to the lake, with its connection watched."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from filelock import FileLock

from dispatchlake.ingest import ingest_cell, open_client
from dispatchlake.lake import (
    Cell,
    LoadSummary,
    archive,
    catalog_file,
    maintenance,
    open_lake,
    opened,
    removal,
)
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from dispatchlake.windows import Window
from tests.guarantees.content import Content, read_content
from tests.guarantees.victims import Point, Watched, at, die

PLACES: dict[str, tuple[Any, str]] = {
    "remove what is listed": (removal, "remove_listed"),
    "remove orphans": (removal, "remove_orphans"),
    "compact the catalog": (catalog_file, "compact"),
}
"""Calls of a maintenance that a victim may die before, within or after, beside the statements to DuckDB."""


def settings_of(data_dir: Path) -> Settings:
    """Return settings that give up soon enough for a test."""
    return Settings(data_dir=data_dir, retry_budget_s=20, lock_wait_s=60)


@contextmanager
def watched(point: Point | None, happen: Callable[[], None] = die) -> Iterator[list[str]]:
    """Let every statement of a writer be noted, and the process die at the point, or what is said happen."""
    statements: list[str] = []
    connect = opened.connect_writer

    def connect_watched(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        return Watched(connection, statements, point, happen)

    # Nine pages make three batches: all but the last are archived by themselves, while the load goes on.
    with (
        mock.patch.object(opened, "connect_writer", connect_watched),
        mock.patch.object(archive, "MAX_PAGES", 4),
    ):
        yield statements


@contextmanager
def dying_at(point: Point | None, places: dict[str, tuple[Any, str]]) -> Iterator[list[str]]:
    """Let statements be noted, and the process die at the point, which may be one of the places too."""
    with ExitStack() as patches:
        if point is not None and point.statement in places:
            home, name = places[point.statement]
            seen = iter(range(1, 1000))

            def is_it(*_: Any, nth: int = point.nth) -> bool:
                return next(seen) == nth

            patches.enter_context(mock.patch.object(home, name, at(point, getattr(home, name), is_it)))
            point = None
        yield patches.enter_context(watched(point))


def ingest(center: DispatchCenter, resource: str, data_dir: Path, point: Point | None = None) -> list[str]:
    """Land one cell; return the statements it took."""
    with watched(point) as statements:
        ingest_cell(center, resource, settings=settings_of(data_dir), run_id="run")
    return statements


def make_lake(data_dir: Path, point: Point | None = None) -> list[str]:
    """Open the lake, which makes it; return the statements it took."""
    with watched(point) as statements:
        open_lake(settings_of(data_dir)).close()
    return statements


def ingest_storing(center: DispatchCenter, resource: str, data_dir: Path, point: Point) -> None:
    """Land one cell; die at a step of storing the token."""
    step = getattr(os, point.statement)
    is_here = {"open": lambda path, *_: str(path).endswith(".new")}.get(point.statement, lambda *_: True)
    with mock.patch.object(os, point.statement, at(point, step, is_here)):
        ingest_cell(center, resource, settings=settings_of(data_dir), run_id="run")


def ingest_until(center: DispatchCenter, resource: str, data_dir: Path, stop: Path) -> int:
    """Land one cell again and again until the file `stop` is there; return how often."""
    turns = 0
    while not stop.exists():
        ingest_cell(center, resource, settings=settings_of(data_dir), run_id=f"live {os.getpid()} {turns}")
        turns += 1
    return turns


def backfill(
    center: DispatchCenter, resource: str, data_dir: Path, start: datetime, end: datetime
) -> LoadSummary:
    """Land one window as a backfill does."""
    settings, window = settings_of(data_dir), Window(start, end)
    cell = Cell(center.center_id, center.resource(resource), window, kind="backfill")
    with open_lake(settings) as lake, open_client(center, settings) as client:
        return lake.load(
            client.iter_pages(cell.resource, window), cell=cell, run_id=f"backfill {start:%H:%M}"
        )


def watch(center_id: str, resource: str, data_dir: Path, stop: Path) -> int:
    """Look at the lake until the file `stop` is there; fail at the first look that does not add up.

    What was once seen stays: versions are never lost, and the watermark, `complete_through` and the number of
    loads never go back.
    """
    looks = 0
    before: Content | None = None
    while not stop.exists():
        now = read_content(data_dir / "lake", center_id, resource)
        assert now.repeated == 0, "rows are there more than once"
        if before is not None:
            assert before.versions <= now.versions, "versions are gone"
            assert before.landed <= now.landed
            assert _is_later(before.watermark, now.watermark), "the watermark went back"
            assert _is_later(before.complete_through, now.complete_through)
        before = now
        looks += 1
    return looks


def _is_later(before: datetime | None, now: datetime | None) -> bool:
    return before is None or (now is not None and now >= before)


def maintain(data_dir: Path, point: Point | None = None, only: str = "") -> list[str]:
    """Maintain the lake as far as can be, or do one step of that; return the statements it took."""
    steps = maintenance._Maintenance._steps

    def meant(self: maintenance._Maintenance) -> dict[str, Callable[[], str]]:
        return {name: step for name, step in steps(self).items() if only in ("", name)}

    with dying_at(point, PLACES) as statements, mock.patch.object(maintenance._Maintenance, "_steps", meant):
        report = maintenance.maintain(settings_of(data_dir), keep_snapshots_days=0, keep_files_days=0)
    assert not report.failed, [step.error for step in report.failed]
    assert report.steps, only
    return statements


def count_statements(data_dir: Path) -> dict[str, range]:
    """Maintain the lake as far as can be; return which statements each step took, counted from 1."""
    counts = {}
    run_step = maintenance._Maintenance._run_step
    with watched(None) as statements:

        def run_and_count(
            self: maintenance._Maintenance, name: str, step: Callable[[], str]
        ) -> maintenance.StepResult:
            begun = len(statements)
            result = run_step(self, name, step)
            counts[name] = range(begun + 1, len(statements) + 1)
            return result

        with mock.patch.object(maintenance._Maintenance, "_run_step", run_and_count):
            report = maintenance.maintain(settings_of(data_dir), keep_snapshots_days=0, keep_files_days=0)
    assert not report.failed, [step.error for step in report.failed]
    return counts


def maintain_until(data_dir: Path, stop: Path) -> int:
    """Maintain the lake again and again until the file `stop` is there; return how often."""
    turns = 0
    while not stop.exists():
        report = maintenance.maintain(settings_of(data_dir))
        assert not report.failed, [step.error for step in report.failed]
        turns += 1
    return turns


def hold_the_lock(data_dir: Path, held: Path) -> None:
    """Take the lake's lock as a writer does, and keep it."""
    with FileLock(_lock(data_dir)):
        held.touch()
        time.sleep(600)


def ingest_refused(center: DispatchCenter, resource: str, data_dir: Path, refused: Path) -> list[str]:
    """Land one cell; make the file `refused` once the kernel has refused the lake's lock."""
    flock = fcntl.flock

    def flock_and_tell(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        except OSError:
            if Path(f"/proc/self/fd/{descriptor}").readlink() == _lock(data_dir):
                refused.touch()
            raise

    with mock.patch.object(fcntl, "flock", flock_and_tell):
        return ingest(center, resource, data_dir)


def _lock(data_dir: Path) -> Path:
    return data_dir / "lake" / "commit.lock"
