"""`docs/deliveries.md`: every example in SQL runs, and every table and event is told of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from dispatchlake.lake import Lake
from dispatchlake.lake.reading import connect
from dispatchlake.lake.record_types import EVENT_TYPES
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.views import VIEWS
from tests.lake.deliveries import (
    caller_location,
    delivery,
    incident_metadata,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import incident, load

PAGE = (Path(__file__).parents[2] / "docs" / "deliveries.md").read_text()
EXAMPLES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
CENTER = "houston-tx"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    lake_dir = tmp_path_factory.mktemp("deliveries") / "lake"
    now = datetime.now(UTC)
    at = f"{now:%F %T} UTC"
    contents = [
        incident_metadata("i1", created_at=at, updated_at=at),
        incident_metadata("i2", created_at=at, updated_at=at),
        caller_location(created_at=at, source="ali"),
        note_created(created_at=at, subtype="insight_summary"),
        location_updated(),
        media(url="https://media.example.net/a.jpg?sig=x", media_type="photo", created_at=at),
    ]
    with Lake.open(lake_dir) as lake:
        lake.land([delivery(one, center_id=CENTER, received_at=now) for one in contents], run_id="landing")
        by_rest = [incident(one) | {"created_at": at, "updated_at": at} for one in ("i1", "i3")]
        load(lake, *by_rest, center_id=CENTER)
    with connect(lake_dir) as connection:
        yield connection


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES, ids=[" ".join(one.split())[:40] for one in EXAMPLES])
def test_an_example_runs_and_answers_something(reader: duckdb.DuckDBPyConnection, example: str) -> None:
    assert reader.sql(example).fetchall()


def test_the_reconciliation_adds_up(reader: duckdb.DuckDBPyConnection) -> None:
    counted = "SELECT incidents, by_both, by_rest_only, by_webhook_only FROM reconciliation"
    assert reader.sql(counted).fetchall() == [(3, 1, 1, 1)]


def test_every_table_and_event_is_told_of() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))

    assert set(EVENT_TYPES) <= told
    assert {one.versions for one in EVENT_TYPES.values()} <= told
    assert {"incident_sightings", "incident_sources", "reconciliation"} <= told & (
        {table.name for table in TABLES} | {view.name for view in VIEWS}
    )


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        if target != "webhooks.md":  # the receiver's page
            assert (Path(__file__).parents[2] / "docs" / target).exists(), target
