"""The lake as of any moment is what the center had: as we knew it then, and as it was there then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import open_lake
from dispatchlake.lake.reading import connect
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import TABLES, expected, rows_of

EPOCH = datetime(2024, 3, 2, tzinfo=UTC)
INSTANTS = 30
"""Chosen by chance, beside those around each change at the source, or at the ends of each run."""

STEPS = 12
STEP_S = 180
RECORDS = 12

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """One reading of a listing: when it began and ended by our clock, and what the center had then."""

    began_at: datetime
    ended_at: datetime
    truth: Rows


def versions(chance: random.Random, ended: str) -> list[dict[str, Any]]:
    """Return records of which some change, and some come to be, at the start of each step."""
    made = []
    for number in range(RECORDS):
        first = chance.choice([0, 0, chance.randrange(1, STEPS)])
        for step in [first, *(s for s in range(first + 1, STEPS) if chance.random() < 0.3)]:
            changed_at = f"{EPOCH + timedelta(seconds=step * STEP_S):%FT%TZ}"
            record = {
                "id": f"r{number:02}",
                "created_at": f"{EPOCH - timedelta(hours=number):%FT%TZ}",
                "updated_at": changed_at,
                ended: changed_at if chance.random() < 0.3 else None,
            }
            made.append({"visible_at": changed_at, "record": record})
    return made


@dataclass(frozen=True)
class Read:
    """A lake that has read a center at every step."""

    center: DispatchCenter
    sandbox: SandboxProcess
    runs: dict[str, list[Run]]
    connection: duckdb.DuckDBPyConnection

    def truth(self, resource: str, elapsed_s: float) -> Rows:
        path = f"truth/{self.center.center_id}/{resource}?elapsed_s={elapsed_s}"
        return expected(self.sandbox.call("GET", path)["current"], resource)

    def ask(self, resource: str, sense: str, moment: datetime) -> Rows:
        """Return the rows of a macro by id, in the fields that the source has."""
        table, _, key = TABLES[resource]
        found = rows_of(self.connection, f"SELECT * FROM {table}_{sense}(TIMESTAMPTZ '{moment.isoformat()}')")
        assert len({row[key] for row in found}) == len(found), "an incident is there twice"
        fields = {key, "created_at", "updated_at", "audio_call_ended_at", "closed_at"}
        return {row[key]: {name: row[name] for name in fields & set(row)} for row in found}


@pytest.fixture(scope="module")
def read(_sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    sandbox, chance = _sandbox_process, random.Random(7)
    settings = Settings(data_dir=tmp_path_factory.mktemp("as-of"), retry_budget_s=5)
    records = {
        "incident_events": versions(chance, "audio_call_ended_at"),
        "cad_incidents": versions(chance, "closed_at"),
    }
    center = put_center(sandbox, sandbox_side={"dataset": {"records": records}, "epoch": f"{EPOCH:%FT%TZ}"})
    runs: dict[str, list[Run]] = {resource: [] for resource in records}
    with open_lake(settings):  # kept open, so that none of the runs has to open it
        for step in range(STEPS):
            sandbox.call("POST", "clock", {"elapsed_s": step * STEP_S})
            for resource in records:
                began_at = datetime.now(UTC)
                ingest_cell(center, resource, settings=settings, run_id=f"run-{step}")
                truth = sandbox.truth(center.center_id, resource)["current"]
                runs[resource].append(Run(began_at, datetime.now(UTC), expected(truth, resource)))
    with connect(settings.lake_dir) as connection:
        yield Read(center, sandbox, runs, connection)


@pytest.mark.parametrize("resource", TABLES)
def test_at_the_source_is_what_was_true_there_at_any_of_many_instants(read: Read, resource: str) -> None:
    chance = random.Random(11)
    answers = set()
    around = [step * STEP_S + beside_s for step in range(STEPS) for beside_s in (-1, 0, 1)]
    for elapsed_s in [*around, *(chance.randrange(-STEP_S, STEPS * STEP_S) for _ in range(INSTANTS))]:
        ours = read.ask(resource, "at_source", EPOCH + timedelta(seconds=elapsed_s))
        theirs = read.truth(resource, elapsed_s) if elapsed_s >= 0 else {}
        assert ours == theirs, elapsed_s
        answers.add(frozenset((name, row["updated_at"]) for name, row in ours.items()))
    assert len(answers) > STEPS / 2, "instants at which nothing differs prove nothing"


@pytest.mark.parametrize("resource", TABLES)
def test_as_known_is_what_the_last_run_before_any_of_many_instants_had_read(
    read: Read, resource: str
) -> None:
    chance = random.Random(13)
    runs = read.runs[resource]
    begin, end = runs[0].began_at, runs[-1].ended_at
    known_between_runs = 0
    moments = [begin + (end - begin) * chance.random() for _ in range(INSTANTS)]
    for moment in [*moments, *(at for run in runs for at in (run.began_at, run.ended_at))]:
        ours = read.ask(resource, "as_of", moment)
        before = [run.truth for run in runs if run.ended_at <= moment]
        within = [run.truth for run in runs if run.began_at <= moment < run.ended_at]
        known = before[-1] if before else {}
        if not within:
            assert ours == known, moment
            known_between_runs += 1
        for identity, row in ours.items():
            assert row in [known.get(identity), *(truth.get(identity) for truth in within)], moment
        assert set(known) <= set(ours)
    assert known_between_runs > STEPS + INSTANTS / 10, "beside the moments at which a run had just ended"
    assert read.ask(resource, "as_of", end) == runs[-1].truth
