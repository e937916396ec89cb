"""What one load changes is there whole or not at all: after any failure, any kill, for any reader."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dispatchlake.errors import LakeError
from dispatchlake.lake import Lake, bookkeeping, commit, watermarks
from dispatchlake.lake.reading import connect
from tests.lake.conftest import Ask
from tests.lake.pages import cell, incident, instant, load, page
from tests.lake.scripts import Script

TABLES = ("incidents", "incident_versions", "quarantine", "coverage", "watermarks", "runs")


def everything(ask: Ask) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(ask(f"FROM {table}"), key=repr) for table in TABLES}


def second_load(lake: Lake) -> Any:
    """A load that changes every table there is."""
    records = [incident("i1", updated=50), incident("new", updated=60), "no object"]
    return lake.load([page(*records)], cell=cell(end=instant(10**6)), run_id="second")


STEPS = (
    (commit, "merge"),
    (commit, "quarantine"),
    (bookkeeping, "cover"),
    (watermarks, "advance"),
    (bookkeeping, "record_runs"),
)


def test_a_step_that_fails_leaves_every_table_as_it_was(
    lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(lake, incident("i1"), "no object either")
    before = everything(ask)

    for module, step in STEPS:
        with monkeypatch.context() as patch:
            patch.setattr(module, step, failing_after(getattr(module, step)))
            with pytest.raises(ZeroDivisionError):
                second_load(lake)
        assert everything(ask) == before, f"{step} left a trace"

    summary = second_load(lake)
    assert (summary.new, summary.changed, summary.quarantined) == (1, 1, 1)


def failing_after(step: Callable[..., Any]) -> Callable[..., Any]:
    def do_and_fail(*args: Any, **kwargs: Any) -> None:
        step(*args, **kwargs)
        raise ZeroDivisionError

    return do_and_fail


class FailingConnection:
    """A connection whose n-th statement fails, before or after it did what it should."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, fail_at: int) -> None:
        self._connection, self.statements, self._fail_at = connection, 0, fail_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        self.statements += 1
        if self.statements == self._fail_at:
            raise duckdb.IOException("IO Error: the disk is full of secrets")
        return self._connection.execute(statement, *parameters)


def test_whichever_statement_fails_every_table_is_as_it_was(lake: Lake, ask: Ask) -> None:
    load(lake, incident("i1"), "no object either")
    counts = f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in TABLES)}"
    before, connection = ask(counts), lake._connection

    for number in range(1, 100):
        lake._begun = FailingConnection(connection, number)  # type: ignore[assignment]  # much like one
        if (error := failure_of(lake)) is None:
            break
        assert "secrets" not in str(error)
        assert ask(counts) == before, f"statement {number} left a trace"

    assert 15 < number < 99, "all were tried, and the last attempt failed after its commit at most"
    assert len(ask("FROM runs")) == 2


def failure_of(lake: Lake) -> LakeError | None:
    try:
        second_load(lake)
    except LakeError as error:
        return error
    return None


LOADER = """
import sys
from pathlib import Path
from dispatchlake.lake import Lake
from tests.lake.pages import cell, incident, incidents, instant, page

with Lake.open(Path(sys.argv[1])) as lake:
    (first,) = lake._connection.execute("SELECT count(*) FROM runs").fetchone()
    print("open", flush=True)
    for number in range(first, 10**6):
        size = 5 if number % 2 else 150  # kept in the catalog, kept in files
        records = [*incidents(size, f"{number}-"), incident("always", updated=number), f"no object {number}"]
        lake.load([page(*records)], cell=cell(end=instant(10**6 + number)), run_id=f"run-{number}")
"""

TOGETHER = f"""
SELECT
    count(*) AS landed,
    sum(new) IS NOT DISTINCT FROM (SELECT nullif(count(*), 0) FROM incidents),
    sum(new + changed) IS NOT DISTINCT FROM (SELECT nullif(count(*), 0) FROM incident_versions),
    landed = (SELECT count(*) FROM quarantine),
    landed <= (SELECT count(*) FROM raw_pages),
    landed = 0 OR (SELECT list(run_id) FROM coverage) = ['run-' || (landed - 1)],
    landed = 0 OR (SELECT max(epoch(window_end)) FROM coverage) = {instant(10**6).timestamp()} + landed - 1,
    landed = 0 OR (SELECT epoch(updated_at) FROM incidents WHERE incident_id = 'always')
        = {instant(0).timestamp()} + landed - 1,
    (SELECT count(*) FROM watermarks) = least(landed, 1)
FROM runs
"""


def test_a_reader_never_sees_half_of_a_load(lake_dir: Path) -> None:
    with Lake.open(lake_dir):
        pass
    seen: set[int] = set()
    with Script(LOADER, lake_dir) as loader, connect(lake_dir) as reader:
        while len(seen) < 4:
            assert loader.is_running(), loader.failure()
            landed, *are_together = reader.sql(TOGETHER).fetchall()[0]
            assert are_together == [True] * len(are_together)
            seen.add(landed)


def test_a_transaction_of_a_reader_sees_one_state(lake_dir: Path) -> None:
    with Lake.open(lake_dir) as lake, connect(lake_dir) as reader:
        load(lake, incident("i1"))
        reader.execute("BEGIN")
        before = reader.sql("SELECT count(*) FROM incidents").fetchall()

        load(lake, incident("i2"))

        assert reader.sql("SELECT count(*) FROM incident_versions").fetchall() == before == [(1,)]
        reader.execute("COMMIT")
        assert reader.sql("SELECT count(*) FROM incidents").fetchall() == [(2,)]


def test_a_process_killed_anywhere_leaves_whole_loads(lake_dir: Path) -> None:
    for _ in range(2):
        with Script(LOADER, lake_dir) as loader:
            assert loader.line() == "open"
            time.sleep(random.uniform(0.02, 0.6))

    with connect(lake_dir) as reader:
        ((landed, *are_together),) = reader.sql(TOGETHER).fetchall()
        assert are_together == [True] * len(are_together)
    with Lake.open(lake_dir) as lake:
        assert load(lake, incident("after the kills")).new == 1
    with connect(lake_dir) as reader:
        assert reader.sql("SELECT count(*) FROM runs").fetchall() == [(landed + 1,)]
