"""`docs/data-dictionary.md` says what the declarations say, and `docs/analysts.md` names what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dispatchlake.lake import Lake
from dispatchlake.lake.dictionary import entries
from dispatchlake.lake.dictionary_page import page
from dispatchlake.lake.reading import connect
from dispatchlake.lake.views import MACROS, VIEWS
from dispatchlake.lake.views.quality import CHECKS
from tests.lake.pages import START, incidents, load

DOCS = Path(__file__).parents[2] / "docs"
ANALYSTS = (DOCS / "analysts.md").read_text()
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"```sql\n(.*?)```", ANALYSTS, re.DOTALL)
    for statement in block.split(";")
]
OPERATING = {"complete_through", "status", "webhook_status", "incident_sources", "reconciliation"}
"""Views that other pages tell of."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A lake with a few records, read by somebody."""
    lake_dir = tmp_path_factory.mktemp("read") / "lake"
    with Lake.open(lake_dir) as lake:
        for resource in ("incident_events", "cad_incidents"):
            load(lake, *incidents(3), center_id="houston-tx", resource=resource)
    with connect(lake_dir) as connection:
        yield connection


def test_the_page_is_as_the_declarations_are() -> None:
    assert (DOCS / "data-dictionary.md").read_text() == page(), "write it anew: make dictionary"


def test_the_page_has_every_object_and_column() -> None:
    there = page()

    for entry in entries():
        name = entry.column_name or entry.object
        assert f"`{name}`" in there or f"### {name}" in there


def test_every_view_and_macro_is_told_of() -> None:
    told = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", ANALYSTS))

    assert {one.name for one in [*VIEWS, *MACROS]} - OPERATING <= told
    assert {name for _, name in CHECKS} <= told


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_example_can_be_asked(reader: duckdb.DuckDBPyConnection, statement: str) -> None:
    if f"{START:%F}" in statement and "require_complete" in statement:
        assert reader.sql(statement).fetchall() == [(0,)]
    else:
        reader.sql(statement).fetchall()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", ANALYSTS):
        assert (DOCS / target).exists(), target
