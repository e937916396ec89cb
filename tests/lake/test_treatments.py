"""Each column of the open zone was declared by somebody; what was not shows nothing."""

from __future__ import annotations

import re
from typing import get_args

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatchlake.lake import treatments
from dispatchlake.lake.record_types import Pii
from dispatchlake.lake.schemas import TABLES, Column, Table
from dispatchlake.lake.treatments import HARMLESS, UNPUBLISHED, is_harmless, open_columns, published_tables
from tests.examples import examples

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
    assert is_hidden == (pii in {"none", "free text", "everything"})
    assert bool(column.token) == (pii in {"phone", "fingerprint", "id or fingerprint"})


def shown(pii: Pii, value: str | float | None, kind: str = "VARCHAR") -> object:
    (seen,) = shown_of(pii, [value], kind)
    return seen


def shown_of(pii: Pii, values: list[str] | list[str | float | None], kind: str = "VARCHAR") -> list[object]:
    (column,) = open_columns(Table("x", "", (Column("c", kind, "", pii),)), decimals=3)
    with duckdb.connect() as connection:
        rows = connection.execute(
            f'SELECT {column.sql} FROM (SELECT unnest($v::{kind}[]) AS "c")', {"v": values}
        ).fetchall()
    return [row[0] for row in rows]


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
        ("1437-41 Blake St", "14xx Blake St"),
        ("1437-B Blake St", "14xx Blake St"),
        ("1437-1/2 Blake St", "14xx Blake St"),
        ("1437\u00bd Blake St", "14xx Blake St"),
        ("1437 \u00bd Blake St", "14xx Blake St"),
        ("1437.5 Blake St", "14xx Blake St"),
        ("(1437) Blake St", "(14xx) Blake St"),
        ("12345Blake St", "123xxBlake St"),
        ("37Blake St", "xxBlake St"),
        ("1437BLK BLAKE ST", "14xxBLK BLAKE ST"),
        ("N6W23001 Bluemound Rd", "Nxx Bluemound Rd"),
        ("W1437 County Rd", "W14xx County Rd"),
        ("Blake St 1437A", "Blake St 14xx"),
        ("Blake St 1437B12", "Blake St 14xx"),
        ("Blake St 1437-4B", "Blake St 14xx"),
        ("Blake St 1437 1/2", "Blake St 14xx"),
        ("Blake St/1437", "Blake St/14xx"),
        ("1437TH", "14xxTH"),
        ("\uff11\uff14\uff13\uff17 Blake St", "\uff11\uff14xx Blake St"),
        ("Blake St \u0661\u0664\u0663\u0667", "Blake St \u0661\u0664xx"),
        ("Blaké\uff11\uff14\uff13\uff17", "Blaké\uff11\uff14xx"),
        ("14xx Blake St", "14xx Blake St"),
        ("143XX Blake St", "143XX Blake St"),
        ("300 BLOCK OF 32ND AVE", "3xx BLOCK OF 32ND AVE"),
        ("MARKET ST/101NB MARKET ST ON", "MARKET ST/101NB MARKET ST ON"),
        ("SIH610OB-US290IB S IH 610 FWY E", "SIH610OB-US290IB S IH 610 FWY E"),
        ("SH288OB-BELLFORT 8556 SH 288 HWY OB", "SH288OB-BELLFORT 85xx SH 288 HWY OB"),
        ("RM 620 & MAIN", "RM 620 & MAIN"),
        ("BLAKE ST @ 15TH ST", "BLAKE ST @ 15TH ST"),
        ("ST. PAUL ST @ 15TH ST", "ST. PAUL ST @ 15TH ST"),
        ("lat 39,7421", None),
        ("lat 39.742", None),
        ("lat 39\u066b742", None),
        ("39\u00b044 N", None),
        ("josé@example.org", None),
        ("joe @ example.org", None),
        ("joe @ example . org", None),
        ("joe@ example", None),
        ("joe\uff20example.org", None),
        ("\uff11\uff14\uff13\uff17 Blake St, 555-0142", None),
        ("", ""),
        (None, None),
    ],
)
def test_an_address_is_shown_to_the_block(address: str | None, block: str | None) -> None:
    assert shown("address", address) == block


@pytest.mark.parametrize(
    "unit",
    [
        *(
            " Apt4B",
            " APT12",
            " Apt. 4",
            " Apt-4",
            " apt.4b",
            " Apt B",
            " Apts 4-5",
            ",Apt 4",
            "/Apt 4",
            " (Apt 4)",
        ),
        *(
            " Unit5",
            " UNIT-5",
            " unit B",
            " Units 5 6",
            " Ste 100",
            " STE100",
            " Suite.3",
            " Room 7",
            " Rm7",
            " LOT3",
        ),
        *(
            " Bldg 2 Apt 4",
            " BLDG2",
            " Trlr 9",
            " Flat 3",
            " Flat3a",
            " Flat E",
            " Fl 3",
            " FL3",
            " Floor 3",
            " PH 2",
        ),
        *(" Spc 12", " Space 12", " #12", "#12", " # B", " No. 12", " No 12", " NO.12A", " N\u00b0 12"),
        *(" \u2116 12", " \uff0312", " Apt\u00a04", " Apt\uff14", " Apt 4\nrear"),
    ],
)
def test_an_address_ends_where_a_part_of_a_house_is_named(unit: str) -> None:
    addresses = [f"1437 Blake St{unit}", f"1437{unit} Blake St", f"14xx Blake St{unit}, Denver"]

    assert shown_of("address", addresses) == ["14xx Blake St", "14xx", "14xx Blake St"]


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("Unit 5 1437 Blake St", ""),
        ("APT4B, 1437 Blake St", ""),
        ("1437Apt4 Blake St", "14xx"),
        ("APT FULTON VILLAGE FULTON ST #639", "APT FULTON VILLAGE FULTON ST"),
        ("OAK APTS W GULF BANK RD", "OAK APTS W GULF BANK RD"),
        ("HILL SUITES BY THE LAKE 1437 BLAKE ST", "HILL SUITES BY THE LAKE 14xx BLAKE ST"),
        ("2950 UNITY DR", "29xx UNITY DR"),
        ("1437 FLAT ROCK RD", "14xx FLAT ROCK RD"),
        ("1437 SPACE CENTER BLVD", "14xx SPACE CENTER BLVD"),
        ("1437 NO 5TH ST", "14xx NO 5TH ST"),
        ("CASINO 45", "CASINO xx"),
        ("PILOT RD / SLOT ST", "PILOT RD / SLOT ST"),
    ],
)
def test_a_word_that_may_name_a_part_of_a_house_may_name_a_place(address: str, block: str) -> None:
    assert shown("address", address) == block


@pytest.mark.parametrize(
    ("address", "block"),
    [
        (" 34 Main St", " xx Main St"),
        ("\u00a034\u00a0Main St", " xx Main St"),
        ("N 34 Main St", "N xx Main St"),
        ("34/36 Main St", "xx Main St"),
        ("34-36 Main St", "xx Main St"),
        ("34 & 36 Main St", "xx & xx Main St"),
        ("Main St 34", "Main St xx"),
        ("Main St, 34", "Main St, xx"),
        ("Main St 34-36", "Main St xx"),
        ("Main St 34B", "Main St xx"),
        ("Main St34", "Main Stxx"),
        ("Main St\u00a0\u00a034", "Main St  xx"),
        ("Main St \uff13\uff14", "Main St xx"),
        ("Main St \u0663\u0664", "Main St xx"),
        ("1412\u00a0\u00bd Main St", "14xx Main St"),
        ("Main St 34 \u00bd", "Main St xx"),
        ("\u00bd Main St", "xx Main St"),
        ("Main St \u2463", "Main St xx"),
        ("No. 34 Main St", ""),
        ("Main St No. 34", "Main St"),
        ("1412 Blake St 4B", "14xx Blake St xx"),
        ("1412 Blake St, B4", "14xx Blake St, xx"),
        ("1412 Blake St B-4", "14xx Blake St xx"),
        ("1412 Blake St, #4", "14xx Blake St"),
        ("1412 Blake St 4th Floor", "14xx Blake St"),
        ("4TH FL, 1412 BLAKE ST", ""),
        ("RM 30, 1412 BLAKE ST", "RM xx, 14xx BLAKE ST"),
        ("US 1412 Blake St", "US 14xx Blake St"),
        ("US 34 Main St", "US xx Main St"),
        ("US 141 N Main St", "US 1xx N Main St"),
        ("I 34-36 Main St", "I xx Main St"),
        ("CR 34 Main St", "CR xx Main St"),
        ("Blake Loop 34", "Blake Loop xx"),
        ("Caf\u00e9\u00a0Loop 34", "Caf\u00e9 Loop xx"),
        ("Old Mill Hwy 1412, Denver", "Old Mill Hwy 14xx, Denver"),
        ("Oak Cr 34", "Oak Cr xx"),
        ("Avenue I 34", "Avenue I xx"),
        ("Calle I 34", "Calle I xx"),
        ("Avenida I 34", "Avenida I xx"),
        ("Street I 34", "Street I xx"),
        ("34 St / 7 Ave", "xx St / xx Ave"),
    ],
)
def test_a_house_number_is_hidden_wherever_and_however_it_stands(address: str, block: str) -> None:
    assert shown("address", address) == block


@pytest.mark.parametrize(
    "address",
    [
        *("5th Ave", "I-10", "US 59", "Highway 6", "FM 1960", "Loop 610", "W 34TH ST", "05TH AVE"),
        *("I-35E", "S SH 6", "N LOOP 610 E", "OLD HWY 90", "STATE HIGHWAY 6", "US HWY 59 S", "County Rd 12"),
        *(
            "U.S. 59",
            "U.S. Hwy. 59",
            "I-10 East",
            "I-10 WB bridge",
            "Highway 6 South & Main",
            "5th Ave / I-10",
        ),
        *("I-45/US-59", "NB 5 / I-8 EB", "HWY 6 & FM 1093", "US 59, Denver", "BLAKE ST AT HIGHWAY 6"),
        *("INTERSTATE 805 NB / GOVERNOR DR", "STATE ROUTE 54 WB OFF RAMP", "E FM 1960 RD", "W BW 8 TWY N"),
        *("SH288OB-BINZ SH 288 HWY OB", "US290OB-DACOMA ST US 290 FWY OB", "BLK US 90A FWY IB"),
        *("FM 1959 - DIXIE FARM EXIT RD", "xx Main St", "14xx Blake St", "14xx-A", "14xx HWY 290"),
        *("W14xx County Rd", "14xxBLK BLAKE ST", "143XX Blake St", "N xx Main St", "14XX BROADWAY"),
    ],
)
def test_a_road_that_is_called_by_its_number_and_a_block_stay(address: str) -> None:
    assert shown("address", address) == address


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("MEDICAL EMERGENCY", "MEDICAL EMERGENCY"),
        ("10-4521", "10-4521"),
        ("10851RR", "10851RR"),
        ("E1, M3, T12, BC7, E22, M14", "E1, M3, T12, BC7, E22, M14"),
        ("cb 303 - 555 - 0142", None),
        ("303 ... 555 ... 0142", None),
        ("303" + "." * 40 + "555" + " " * 40 + "0142", None),
        ("303x555x0142", None),
        ("303X555 x 0142", None),
        ("303/555/0142", None),
        ("303_555_0142", None),
        ("303\n555\n0142", None),
        ("+1 (303) 555-0142", None),
        ("555-0142 ext. 12", None),
        ("cb \uff13\uff10\uff13\uff15\uff15\uff15\uff10\uff11\uff14\uff12", None),
        ("cb \uff13\uff10\uff13-555-\u0660\u0661\u0664\u0662", None),
        ("\u0663\u0660\u0663\u0665\u0665\u0665\u0660\u0661\u0664\u0662", None),
        ("\u0969\u0966\u0969 \u096b\u096b\u096b \u0966\u0967\u096a\u0968", None),
        ("mail josé@example.org", None),
        ("joe @ example.org", None),
        ("joe @ example", None),
        ("j.doe_@example.org", None),
        ("joe\ufe6bexample.org", None),
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


@pytest.mark.parametrize(
    ("number", "seen"),
    [
        ("+13035550140", "+13035550140"),
        ("911", "911"),
        ("\uff19\uff11\uff11", "\uff19\uff11\uff11"),
        *((none, None) for none in ("", " ", "-", "+", "(   )    -", "unknown", None)),
    ],
)
def test_what_says_that_there_is_no_number_gets_no_token(number: str | None, seen: str | None) -> None:
    assert shown("phone", number) == seen


@pytest.mark.parametrize(("link", "seen"), [("https://media.example/a", "hidden"), ("", ""), (None, None)])
def test_of_a_link_it_is_shown_whether_there_is_one(link: str | None, seen: str | None) -> None:
    assert shown("link", link) == seen


@pytest.mark.parametrize(("degrees", "seen"), [(39.742137, 39.742), (-104.991531, -104.992), (None, None)])
def test_coordinates_are_rounded(degrees: float | None, seen: float | None) -> None:
    assert shown("coordinates", degrees, "DOUBLE") == seen


LETTERS = "abcdefghijklmnopqrstuvwyz"
"""Without the x of an extension, or between the parts of a number."""

DIGIT = st.characters(categories=["Nd"])
BETWEEN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=f"\0{LETTERS}{LETTERS.upper()}"),
    max_size=6,
)
NUMBER = st.lists(st.tuples(DIGIT, BETWEEN).map("".join), min_size=7, max_size=12).map("".join)
WORDS = st.text("abkqé -/.", max_size=8)
"""No road or street is called with these letters."""

ADDRESS = st.lists(st.one_of(WORDS, DIGIT, st.text("0123456789", max_size=5)), max_size=12).map("".join)


@given(texts=st.lists(st.tuples(WORDS, NUMBER, WORDS).map("".join), min_size=1, max_size=40))
@examples(20)
def test_seven_digits_with_no_letter_between_them_are_shown_nowhere(texts: list[str]) -> None:
    assert [text for text in shown_of("wording", texts) if text is not None] == []
    assert [text for text in shown_of("address", texts) if text is not None] == []


HOUSE = st.integers(1, 99_999).map(str)
SCRIPT = st.sampled_from(["0123456789", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19",
                          "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669"])  # fmt: skip
NUMBERED = st.builds(
    lambda house, script, also: house.translate(str.maketrans("0123456789", script)) + also,
    HOUSE,
    SCRIPT,
    st.sampled_from(["", "A", "-B", "\u00bd", " \u00bd", " 1/2", "-36", "/36", " & 36", "-1/2", ".5"]),
)
AHEAD = st.sampled_from(["", " ", "\u00a0", "N ", "No. ", "Nr ", "(", "at ", "\u00bd "])
ROAD_AHEAD = st.sampled_from(["US ", "I ", "Bus ", "NB ", "CR ", "Hwy "])
GAP = st.sampled_from([" ", "\u00a0", ", ", "  ", "/", "-", "", "\u200b", " - "])
STREET = st.sampled_from(
    [
        "Main St",
        "N Blake St",
        "Blake Loop",
        "Old Mill Hwy",
        "Caf\u00e9 Loop",
        "Oak Cr",
        "Avenue I",
        "Stra\u00dfe",
    ]
)
UNIT = st.sampled_from(
    ["", " 4B", ", 4", ", #4", " B4", " 2nd floor", "\u00a04", " Apt 4", " \u0664", ", 12-C"]
)
"""None of these streets has a number in its name."""

HOUSES = st.one_of(
    st.tuples(st.one_of(AHEAD, ROAD_AHEAD), NUMBERED, st.sampled_from([" ", "  ", "\u00a0"]), STREET, UNIT),
    st.tuples(AHEAD, NUMBERED, GAP, STREET, UNIT),
    st.tuples(STREET, GAP, NUMBERED, UNIT),
    st.tuples(STREET, GAP, AHEAD, NUMBERED, st.sampled_from(["", ", Denver", " Denver"])),
).map("".join)


@given(addresses=st.lists(HOUSES, min_size=1, max_size=60))
@examples(20)
def test_of_a_house_number_no_more_is_shown_than_its_block(addresses: list[str]) -> None:
    for address, block in zip(addresses, shown_of("address", addresses), strict=True):
        blocks = {number[:-2] for number in re.findall(r"\d{3,}", address)}
        shown_numbers = re.findall(r"(\d+)(xx)?", str(block))
        assert {number for number, _ in shown_numbers} <= blocks, (address, block)
        assert all(rest == "xx" for _, rest in shown_numbers), (address, block)
        assert not re.search("[\u00bd\u2463]", str(block)), (address, block)


@given(addresses=st.lists(ADDRESS, min_size=1, max_size=40))
@example(["1 1/2345 abk", "1 1/2\u0663\u0664\u0665", "ab 123é456", "123 456 ab", "ab 123-4567"])
@examples(30)
def test_no_number_keeps_its_last_two_digits(addresses: list[str]) -> None:
    blocks = shown_of("address", addresses)

    assert [block for block in blocks if re.search(r"\d(?!\d*xx)", str(block))] == []
