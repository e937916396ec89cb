"""Each column of the open zone was declared by somebody; what was not shows nothing."""

from __future__ import annotations

from typing import get_args

import duckdb
import pytest

from dispatchlake.lake import treatments
from dispatchlake.lake.record_types import Pii
from dispatchlake.lake.schemas import TABLES, Column, Table
from dispatchlake.lake.treatments import HARMLESS, UNPUBLISHED, is_harmless, open_columns, published_tables

COLUMNS = [(table, column) for table in TABLES if table.name not in UNPUBLISHED for column in table.columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda one: one.name)
def test_every_column_has_a_declared_class(table: Table, column: Column) -> None:
    declared = column.pii != "none"

    assert declared != is_harmless(table, column), (
        f"Say what {table.name}.{column.name} may reveal: give it a class of personal information, or, if it "
        "reveals nothing of a person, name it in treatments.HARMLESS."
    )


def test_what_is_said_to_be_harmless_is_there() -> None:
    there = {(table.name, column.name) for table, column in COLUMNS}

    assert {(table, name) for table, names in HARMLESS.items() for name in names} <= there


def test_a_column_that_nobody_declared_shows_nothing() -> None:
    new = Table("incidents", "One row per x.", (Column("nickname", "VARCHAR", "New."),))
    unknown = Table("diary", "One row per x.", (Column("entry", "VARCHAR[]", "New."),))

    assert [column.sql for column in open_columns(new, decimals=3)] == ["NULL::VARCHAR"]
    assert [column.sql for column in open_columns(unknown, decimals=3)] == ["NULL::VARCHAR[]"]


def test_a_table_of_which_nothing_was_declared_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Table("diary", "One row per x.", (Column("entry", "VARCHAR", "New."),))
    monkeypatch.setattr(treatments, "TABLES", (*TABLES, diary))

    assert {table.name for table in published_tables()} == {
        table.name for table in TABLES if table.name not in UNPUBLISHED
    }


@pytest.mark.parametrize("pii", get_args(Pii))
def test_each_class_has_a_treatment_and_free_text_has_none_that_shows(pii: Pii) -> None:
    (column,) = open_columns(Table("x", "", (Column("c", "VARCHAR", "", pii),)), decimals=3)

    is_hidden = column.sql == "NULL::VARCHAR"
    assert is_hidden == (pii in {"none", "free text", "link", "everything"})
    assert bool(column.token) == (pii in {"phone", "fingerprint", "id or fingerprint"})


def shown(pii: Pii, value: str | float | None, kind: str = "VARCHAR") -> object:
    (column,) = open_columns(Table("x", "", (Column("c", kind, "", pii),)), decimals=3)
    with duckdb.connect() as connection:
        row = connection.execute(
            f'SELECT {column.sql} FROM (SELECT $v::{kind} AS "c")', {"v": value}
        ).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("1437 Blake St", "14xx Blake St"),
        ("1437 Blake St Apt 12", "14xx Blake St"),
        ("1437 BLAKE ST, UNIT B-4", "14xx BLAKE ST"),
        ("1437 Blake St #3", "14xx Blake St"),
        ("1437B Blake St", "14xx Blake St"),
        ("37-41 Blake St", "xx Blake St"),
        ("1437-1441 Blake St", None),  # it may as well be a number to call
        ("1437 1/2 Blake St", "14xx Blake St"),
        ("12345 Main", "123xx Main"),
        ("37 Blake St", "xx Blake St"),
        ("7 5th Ave", "xx 5th Ave"),
        ("1437", "14xx"),
        ("14XX Blake St", "14XX Blake St"),
        ("1400 BLOCK OF BLAKE ST", "14xx BLOCK OF BLAKE ST"),
        ("BLAKE ST / 15TH ST", "BLAKE ST / 15TH ST"),
        ("5TH AVE & MAIN ST", "5TH AVE & MAIN ST"),
        ("100TH ST & MAIN", "100TH ST & MAIN"),
        ("I-45 N AT FM 1960", "I-45 N AT FM 1960"),
        ("1200 HWY 290", "12xx HWY 290"),
        ("MUSEUM, 2001 COLORADO BLVD", "MUSEUM, 20xx COLORADO BLVD"),
        ("CLINIC 123 456 OAK", "CLINIC 1xx 4xx OAK"),
        ("1437_BLAKE", "14xx BLAKE"),
        ("39.74213,-104.99153", None),
        ("CALL 303 555 0140", None),
        ("someone@example.org", None),
        ("x" * 101, None),
        ("", ""),
        (None, None),
    ],
)
def test_an_address_is_shown_to_the_block(address: str | None, block: str | None) -> None:
    assert shown("address", address) == block


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("MEDICAL EMERGENCY", "MEDICAL EMERGENCY"),
        ("10-4521", "10-4521"),
        ("ask for Jo at 303-555-0140", None),
        ("303.555.0140", None),
        ("(303) 555 0140", None),
        ("mail jo@example.org", None),
        ("x" * 101, None),
        (None, None),
    ],
)
def test_a_wording_is_shown_unless_it_is_more_than_that(words: str | None, seen: str | None) -> None:
    assert shown("wording", words) == seen


@pytest.mark.parametrize(
    ("code", "area"),
    [
        ("80202", "80202"),
        ("80202-1441", "80202"),
        ("K1A 0B1", "K1A 0"),
        ("see the notes", None),
        (None, None),
    ],
)
def test_a_postal_code_is_shown_without_what_names_a_street(code: str | None, area: str | None) -> None:
    assert shown("postal code", code) == area


@pytest.mark.parametrize(("degrees", "seen"), [(39.742137, 39.742), (-104.991531, -104.992), (None, None)])
def test_coordinates_are_rounded(degrees: float | None, seen: float | None) -> None:
    assert shown("coordinates", degrees, "DOUBLE") == seen
