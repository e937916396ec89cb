"""Answers that stray from the contract: each record is kept, set aside or refused, and never shown.

The pages are served byte for byte over HTTP, and land in a real lake that the tests share.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from dispatchlake.errors import CenterError, CenterUnavailable, ContractBroken
from dispatchlake.ingest import describe, ingest_cell
from dispatchlake.lake import Lake, LoadSummary
from dispatchlake.lake.reading import connect
from dispatchlake.payload import decode_payload
from dispatchlake.settings import Settings
from tests.guarantees.played_center import PlayedCenter
from tests.lake.pages import see_one_center, stamp

CAD, EVENTS = "cad_incidents", "incident_events"

MARK = "quokka"
"""Stands in whatever must not be shown: no word of ours, and no name of a field we know."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lake that the tests of this file share; kept open, so that opening it again is cheap."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("drift"), retry_budget_s=0.1)
    with Lake.open(settings.lake_dir):
        yield settings


@pytest.fixture(scope="module")
def reader(home: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(home.lake_dir) as connection:
        see_one_center(connection)
        yield connection


class Drifting:
    """A center whose answers stray, and the lake they land in."""

    def __init__(self, played: PlayedCenter, home: Settings, reader: duckdb.DuckDBPyConnection) -> None:
        self.played, self._home, self._reader = played, home, reader

    def ingest(self, *pages: bytes, resource: str = CAD) -> LoadSummary:
        """Land these pages; whatever comes of it, nothing of a record may be shown."""
        self.played.pages = list(pages)
        with everything_logged() as lines:
            try:
                return ingest_cell(self.played.center, resource, settings=self._home, run_id="run")
            except CenterError as error:
                lines.append(describe(error))
                raise
            finally:
                self._assert_nothing_shown(lines)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask an analyst's question of the center's own rows."""
        self._reader.execute("SET VARIABLE center = $center", {"center": self.played.center.center_id})
        return self._reader.sql(sql).fetchall()

    def ids(self) -> set[str]:
        """Return the ids that landed."""
        return {identity for (identity,) in self.ask("SELECT cad_incident_id FROM cad_incidents")}

    def _assert_nothing_shown(self, lines: list[str]) -> None:
        assert any("Reading " in line for line in lines), "the log is looked at, and it is ours"
        assert not any(MARK in line for line in lines)
        shown = self.ask(
            """SELECT last_error FROM coverage UNION ALL SELECT error FROM runs
            UNION ALL SELECT reason FROM quarantine UNION ALL SELECT query::VARCHAR FROM raw_pages
            UNION ALL SELECT headers::VARCHAR FROM raw_pages"""
        )
        assert shown
        assert MARK not in str(shown)


@contextlib.contextmanager
def everything_logged() -> Iterator[list[str]]:
    """Collect every line that any logger writes, tracebacks with it."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@pytest.fixture
def drifting(home: Settings, reader: duckdb.DuckDBPyConnection) -> Iterator[Drifting]:
    with PlayedCenter() as played:
        yield Drifting(played, home, reader)


@pytest.fixture(scope="module")
def landed(home: Settings, reader: duckdb.DuckDBPyConnection) -> Iterator[Drifting]:
    """A center that sent every odd record below, each among others on a page of its own, in one load."""
    odd = [text(f'"{name}"', fields) for name, (fields, _, _) in KEPT.items()]
    odd += [record for record, _ in SET_ASIDE.values()]
    with PlayedCenter() as played:
        drifting = Drifting(played, home, reader)
        drifting.ingest(
            *(page(text(f'"before {n}"'), record, text(f'"after {n}"')) for n, record in enumerate(odd))
        )
        yield drifting


def text(identity: str | bytes = '"odd"', more: str | bytes = b"", updated: float = 0) -> bytes:
    """Return a record as it is written: id and further fields as given, byte for byte."""
    identity = identity.encode() if isinstance(identity, str) else identity
    more = more.encode() if isinstance(more, str) else more
    stamps = f'"created_at": "{stamp(0)}", "updated_at": "{stamp(updated)}"'.encode()
    return b'{"id": ' + identity + b", " + stamps + (b", " + more if more else b"") + b"}"


def page(*records: bytes) -> bytes:
    return b"[" + b", ".join(records) + b"]"


def nested(levels: int) -> str:
    return "[" * levels + f'"{MARK}"' + "]" * levels


KEPT: dict[str, tuple[str | bytes, str, Any]] = {
    "a new field": (
        f'"hazmat": {{"{MARK}": [1, null, "{MARK}"]}}',
        "extra",
        {"hazmat": {MARK: [1, None, MARK]}},
    ),
    "new fields with names of our own columns": (
        f'"center_id": "{MARK}", "cad_incident_id": 1, "call_received_at": "x", "source": "y"',
        "extra",
        {"center_id": MARK, "cad_incident_id": 1, "call_received_at": "x", "source": "y"},
    ),
    "new fields with names of our own, again": (
        f'"version_hash": "{MARK}", "raw_id": 2, "extra": {{"extra": 3}}, "position": 4, "receive_order": 5',
        "extra",
        {"version_hash": MARK, "raw_id": 2, "extra": {"extra": 3}, "position": 4, "receive_order": 5},
    ),
    "an event type nobody knows": (f'"type": "{MARK}_seen"', "extra", {"type": f"{MARK}_seen"}),
    "an incident type nobody knows": (f'"incident_type": "{MARK}"', "incident_type", MARK),
    "nesting of 900 levels": (f'"deep": {nested(900)}', "extra", {"deep": json.loads(nested(900))}),
    "text that is not UTF-8": (
        f'"address": "{MARK} caf'.encode() + b'\xe9"', "address", f"{MARK} caf\ufffd",
    ),
    "NaN and infinities": (
        f'"lat": NaN, "lng": -Infinity, "{MARK}": Infinity', "extra", {MARK: None},
    ),
    "a key that stands twice: the last counts": (f'"city": "{MARK}", "city": "Rome"', "city", "Rome"),
    "an integer beyond 64 bits where no column is": (f'"{MARK}": {10**30}', "extra", {MARK: 1e30}),
    "an integer of 5,000 digits": (f'"{MARK}": {"7" * 5000}', "extra", {MARK: None}),
    "a number no double holds": (f'"{MARK}": 1e999', "extra", {MARK: None}),
    "half of a surrogate pair": (rf'"city": "Rome", "{MARK}": "\ud83d"', "extra", {MARK: "\ufffd"}),
    "a NUL where no column is": (rf'"{MARK}": "a\u0000b"', "extra", {MARK: "a\0b"}),
    "line breaks within a text": (f'"city": "{MARK}\n\tRome"', "city", f"{MARK}\n\tRome"),
    "optional fields that vanished": ('"beat": null', "city", None),
}  # fmt: skip
"""Fields of a record, and the value that is in the lake for them."""


@pytest.mark.parametrize("name", KEPT)
def test_what_can_be_kept_is_kept(landed: Drifting, name: str) -> None:
    fields, column, expected = KEPT[name]

    ((value, body),) = landed.ask(
        f"""SELECT i.{column}, body FROM cad_incidents i JOIN raw_pages USING (raw_id)
        WHERE cad_incident_id = '{name}'"""
    )

    assert (json.loads(value) if column == "extra" else value) == expected
    assert text(f'"{name}"', fields) in body, "the page is there as it was received"


SET_ASIDE: dict[str, tuple[bytes, str]] = {
    "a text that became an object": (text(more=f'"address": {{"{MARK}": 1}}'), "address: not a text"),
    "a text that became deep": (text(more=f'"city": {nested(900)}'), "city: not a text"),
    "a list that became a text": (text(more=f'"units": "{MARK}"'), "units: not a list of texts"),
    "a number that became a text": (text(more=f'"lat": "{MARK}"'), "lat: not a number"),
    "a number beyond 64 bits": (
        text(more=f'"alarm_level": {2**70}, "{MARK}": 1'),
        "alarm_level: not an integer",
    ),
    "a time that became a number": (
        text(more=f'"updated_at": 1709251200, "{MARK}": 1'),
        "updated_at: not a time with a zone",
    ),
    "a required field that vanished": (
        f'{{"id": "odd", "created_at": "{stamp(0)}", "{MARK}": 1}}'.encode(),
        "updated_at: missing",
    ),
    "a null id": (text("null", f'"city": "{MARK}"'), "id: missing"),
    "no number as id": (text("NaN", f'"beat": "{MARK}"'), "id: missing"),
    "an id beyond 64 bits": (text(str(2**64 + 1), f'"city": "{MARK}"'), "id: not a text"),
    "an id of 5,000 digits": (text("7" * 5000, f'"address": "{MARK}"'), "id: missing"),
    "an id that is an object": (text(f'{{"{MARK}": 1}}'), "id: not a text"),
    "an id that is not UTF-8": (text(f'"{MARK}'.encode() + b'\xe9"'), "id: not a text"),
    "a list where a record should be": (f'["{MARK}"]'.encode(), "the record is not an object"),
    "a text where a record should be": (f'"{MARK}"'.encode(), "the record is not an object"),
    "null where a record should be": (b"null", "the record is not an object"),
}  # fmt: skip
"""A record as it is written, and why it is set aside."""


@pytest.mark.parametrize("name", SET_ASIDE)
def test_what_cannot_be_typed_is_set_aside_with_a_reason(landed: Drifting, name: str) -> None:
    odd, reason = SET_ASIDE[name]

    number = len(KEPT) + [*SET_ASIDE].index(name) + 1
    ((why, record, position, body),) = landed.ask(
        f"""SELECT q.reason, q.record, q.position, p.body FROM quarantine q JOIN raw_pages p USING (raw_id)
        WHERE p.sequence = {number}"""
    )

    assert (why, position) == (reason, 1)
    assert json.loads(record) == decode_payload(body, None).records[1]
    assert odd in body, "the page is there as it was received"


def test_the_rest_of_each_page_lands(landed: Drifting) -> None:
    pages = range(len(KEPT) + len(SET_ASIDE))

    assert landed.ids() == {f"{place} {n}" for n in pages for place in ("before", "after")} | KEPT.keys()
    assert landed.ask("SELECT count(*) FROM quarantine") == [(len(SET_ASIDE),)]


REFUSED: dict[str, tuple[bytes, type[CenterError], str]] = {
    "nesting of 2,000 levels": (
        page(text(more=f'"deep": {nested(2000)}')),
        CenterUnavailable,
        "the body is not JSON, or nested too deeply",
    ),
    "another array beside the records": (
        f'{{"incidents": [{{"{MARK}": 1}}], "{MARK}": ["{MARK}"]}}'.encode(),
        ContractBroken,
        "an object with 2 arrays; set records_key in the center's configuration",
    ),
    "an object of records by their id": (
        f'{{"{MARK}": {{"id": "{MARK}"}}}}'.encode(),
        ContractBroken,
        "an object with 0 arrays",
    ),
    "an array of errors": (f'{{"errors": ["{MARK}"]}}'.encode(), ContractBroken, "named 'errors'"),
    "half of a page": (page(text(more=f'"city": "{MARK}"'))[:-20], CenterUnavailable, "the body is not JSON"),
    "a text": (f'"{MARK}"'.encode(), ContractBroken, "a JSON string, not a list of records"),
    "nothing": (b"", CenterUnavailable, "the body is not JSON"),
}


@pytest.mark.parametrize(("body", "kind", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_page_is_refused_with_a_reason_and_nothing_of_its_listing_lands(
    drifting: Drifting, body: bytes, kind: type[CenterError], why: str
) -> None:
    with pytest.raises(kind) as caught:
        drifting.ingest(page(text('"g1"')), body)

    assert why in str(caught.value)
    assert drifting.ids() == set(), "half of a listing is none"
    assert drifting.ask("SELECT last_error FROM coverage") == [(str(caught.value),)]
    assert drifting.ask("SELECT body FROM raw_pages") == [(page(text('"g1"')),)]


def test_what_was_refused_lands_once_it_is_mended(drifting: Drifting) -> None:
    with pytest.raises(ContractBroken):
        drifting.ingest(page(text('"g1"')), b"{}")

    drifting.ingest(page(text('"g1"')), page(text('"g2"')))

    assert drifting.ids() == {"g1", "g2"}
    assert drifting.ask("SELECT state, last_error FROM coverage") == [("complete", None)]


def test_a_record_of_5_mb_lands_whole(drifting: Drifting) -> None:
    narrative = f"{MARK} " * 750_000

    drifting.ingest(page(text('"g1"'), text('"odd"', f'"narrative": "{narrative}"'), text('"g2"')))

    assert drifting.ids() == {"g1", "odd", "g2"}
    ((kept,),) = drifting.ask("SELECT extra ->> 'narrative' FROM cad_incidents WHERE extra IS NOT NULL")
    assert kept == narrative


def test_100_000_records_on_one_page_land(drifting: Drifting) -> None:
    body = page(*(text(str(number), f'"caller_phone_number": "{MARK}"') for number in range(100_000)))

    summary = drifting.ingest(body, resource=EVENTS)

    assert (summary.pages, summary.records, summary.new) == (1, 100_000, 100_000)
    assert drifting.ask(
        "SELECT count(*), count(DISTINCT incident_id), min(incident_id), max(incident_id) FROM incidents"
    ) == [(100_000, 100_000, "0", "99999")]


def test_an_id_that_is_a_number_here_and_a_text_there_is_one(drifting: Drifting) -> None:
    summary = drifting.ingest(
        page(text("17", f'"city": "{MARK}"'), text("18")),
        page(text('"17"', '"city": "Rome"', updated=60), text('"18"')),
    )

    assert (summary.new, summary.changed, summary.quarantined) == (2, 1, 0)
    assert drifting.ask("SELECT cad_incident_id, city FROM cad_incidents ORDER BY ALL") == [
        ("17", "Rome"), ("18", None),
    ]  # fmt: skip
    assert drifting.ask("SELECT count(*) FROM cad_incident_versions") == [(3,)]


def test_ids_that_differ_in_bytes_that_are_no_text_are_not_made_one(drifting: Drifting) -> None:
    """Read leniently both would be the same id, and two emergencies one."""
    records = [
        text(b'"caf' + byte + b'"', f'"city": "{MARK}", "beat": "{byte[0]}"') for byte in (b"\xe8", b"\xe9")
    ]

    summary = drifting.ingest(page(*records, text('"g1"')))

    assert summary.quarantined == 2
    assert drifting.ids() == {"g1"}
    assert drifting.ask("SELECT count(*) FROM quarantine") == [(2,)]


def test_empty_pages_are_no_end_and_no_error(drifting: Drifting) -> None:
    drifting.ingest(page(), page(text('"g1"')), page(), page(), page(text('"g2"')), page())
    assert drifting.ids() == {"g1", "g2"}

    summary = drifting.ingest(page())
    assert (summary.pages, summary.records) == (1, 0)
    assert drifting.ids() == {"g1", "g2"}, "an empty listing takes nothing away"


def test_a_bare_array_that_becomes_an_envelope_goes_on(drifting: Drifting) -> None:
    drifting.ingest(page(text('"g1"')))

    drifting.ingest(b'{"' + MARK.encode() + b'": ' + page(text('"g1"'), text('"g2"')) + b', "meta": {}}')

    assert drifting.ids() == {"g1", "g2"}


def test_a_page_of_nothing_but_drift_moves_no_watermark_and_lands_once_it_is_mended(
    drifting: Drifting,
) -> None:
    moved = f'{{"{MARK}": 1, "id": "i1", "created_at": "{stamp(0)}", "changed_at": "{stamp(9)}"}}'.encode()

    summary = drifting.ingest(page(moved))
    assert (summary.new, summary.quarantined, summary.watermark) == (0, 1, None)

    again = drifting.ingest(page(moved))
    assert again.quarantined == 1
    assert drifting.ask("SELECT reason FROM quarantine") == [("updated_at: missing",)], "set aside once"

    assert drifting.ingest(page(text('"i1"', updated=9))).new == 1
    assert drifting.ids() == {"i1"}
