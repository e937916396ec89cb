"""Pages are kept exactly as received, before anything is understood of them, whatever happens then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.errors import CenterUnavailable
from dispatchlake.lake import Lake, archive, typed_pages
from dispatchlake.lake.archive import MAX_PAGES, iter_batches
from dispatchlake.model import Page
from tests.examples import examples
from tests.lake.conftest import Ask
from tests.lake.pages import CENTER, END, Center, cell, incident, incidents, page
from tests.waiting import wait_until

EMPTY_TABLES = (
    "incidents", "incident_versions", "cad_incidents", "cad_incident_versions", "quarantine", "coverage",
    "watermarks", "runs",
)  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b' \n [ {"id" : "i1" , "id":"i2"} ]\n\n',
        b'[{"id": "\\u0000\\ud800", "x": 1e999, "y": NaN}]',
        b'\xef\xbb\xbf[{"id": "\xff\xfe\x00"}]',
        json.dumps(incidents(400), indent=1).encode(),
        b'[{"x": "' + bytes(range(128, 256)) * 20_000 + b"'\"}]".replace(b'"}', b'\\""}'),
    ],
    ids=["empty", "spaces and doubled keys", "sloppy values", "not UTF-8", "large", "megabytes"],
)
def test_a_page_is_archived_byte_for_byte(center: Center, body: bytes) -> None:
    center.load_pages([center.page(body=body)])

    rows = center.ask("SELECT body, body_bytes, body_sha256 FROM raw_pages")

    assert rows == [(body, len(body), hashlib.sha256(body).hexdigest())]


def test_a_page_is_archived_with_where_it_came_from(center: Center) -> None:
    received_at = END + timedelta(seconds=1.25)
    first = center.page(incident(), received_at=received_at, sequence=7)

    center.load_pages([first], run_id="run-1")

    rows = center.ask(
        """SELECT * EXCLUDE (body, body_sha256, body_bytes, chain_position, previous_sha256, record_sha256,
            redacted_at, redacted_sha256, redaction_id)
        FROM raw_pages"""
    )
    ((raw_id, *rest),) = rows
    assert raw_id
    assert rest == [
        center.center_id, "incident_events", "run-1", 7, "/v1/incident_events", '{"page":"7"}', 200,
        '{"x-request-id":"request-7"}', received_at - timedelta(seconds=1), received_at,
    ]  # fmt: skip


@examples(5)
@given(bodies=st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_are_archived_as_they_are(new_center: Callable[[], Center], bodies: list[bytes]) -> None:
    """Also what is no JSON at all: the archive does not look inside."""
    center = new_center()
    pages = [
        Page(
            center.center_id, "incident_events", number, "/", {}, 200, {}, END, END, body, records=[]
        )
        for number, body in enumerate(bodies)
    ]  # fmt: skip

    center.load_pages(pages)

    assert center.ask("SELECT body FROM raw_pages ORDER BY sequence") == [(body,) for body in bodies]


def test_reading_the_same_again_archives_its_pages_again(center: Center) -> None:
    """A page is evidence of one request; what it brought is known by its rows."""
    center.load(incident())
    center.load(incident())

    assert center.ask("SELECT count(*), count(DISTINCT raw_id), count(DISTINCT body) FROM raw_pages") == [
        (2, 2, 1)
    ]


def test_a_page_is_archived_before_it_is_parsed(
    lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of the parser")

    monkeypatch.setattr(typed_pages, "parse_records", fail)

    with pytest.raises(ZeroDivisionError):
        lake.load([page(incident())], cell=cell(), run_id="run")

    assert ask("SELECT body FROM raw_pages") == [(page(incident()).body,)]
    assert [name for name in EMPTY_TABLES if ask(f"FROM {name}")] == []


@pytest.mark.parametrize("in_batch", [1, 2, 64], ids=lambda n: f"batches of {n}")
@pytest.mark.parametrize(
    "failure", [CenterUnavailable("gone"), RuntimeError("a fault of ours")], ids=["center", "fault"]
)
def test_a_reading_that_fails_half_way_leaves_its_pages_and_nothing_else(
    lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch, failure: Exception, in_batch: int
) -> None:
    monkeypatch.setattr(archive, "MAX_PAGES", in_batch)

    def pages() -> Iterator[Page]:
        for number in range(3):
            yield page(incident(f"i{number}"), "no object", sequence=number)
        raise failure

    with pytest.raises(type(failure)) as caught:
        lake.load(pages(), cell=cell(), run_id="run")

    assert caught.value is failure
    assert ask("SELECT sequence FROM raw_pages ORDER BY ALL") == [(0,), (1,), (2,)]
    assert [name for name in EMPTY_TABLES if ask(f"FROM {name}")] == []
    assert lake.watermark(CENTER, "incident_events") is None


def test_a_load_that_failed_half_way_lands_whole_when_run_again(lake: Lake, ask: Ask) -> None:
    def broken() -> Iterator[Page]:
        yield page(*incidents(3))
        raise CenterUnavailable("gone")

    with pytest.raises(CenterUnavailable):
        lake.load(broken(), cell=cell(), run_id="run")
    summary = lake.load([page(*incidents(5))], cell=cell(), run_id="run")

    assert (summary.new, summary.records) == (5, 5)
    assert ask("SELECT count(*), count(DISTINCT incident_id) FROM incidents") == [(5, 5)]


def test_pages_are_archived_before_all_have_come(
    lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the third batch is read, the second waits and the first is in the archive."""
    monkeypatch.setattr(archive, "MAX_PAGES", 2)
    archived: list[int] = []

    def count() -> int:
        archived.append(ask("SELECT count(*) FROM raw_pages")[0][0])
        return archived[-1]

    def pages() -> Iterator[Page]:
        for number in range(6):
            if number == 4:
                wait_until(lambda: count() >= 2)
            yield page(sequence=number)

    lake.load(pages(), cell=cell(), run_id="run")

    assert set(archived) <= {0, 2}
    assert count() == 6


def sizes(pages: list[Page]) -> list[int]:
    return [len(batch.pages) for batch in iter_batches(pages)]


def test_batches_are_bounded_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_PAGES", 3)
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    small, large = page(body=b"[]"), page(body=b"[" + b" " * 98 + b"]")

    assert sizes([]) == []
    assert sizes([small] * 7) == [3, 3, 1]
    assert sizes([small, large, small, large, large]) == [2, 2, 1]


def test_batches_are_bounded_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow center's pages do not wait for their batch to fill."""
    clock_s = 100.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return clock_s

    def pages(seconds: list[float]) -> Iterator[Page]:
        nonlocal clock_s
        for wait in seconds:
            clock_s += wait
            yield page()

    monkeypatch.setattr(archive, "time", Clock)

    batches = []
    for batch in iter_batches(pages([0.5, 0.5, 0.5, 0.5, 0.5, 60, 0.5])):
        batches.append(len(batch.pages))
        clock_s += 3600  # what is done with a batch does not count as waiting for the next

    assert batches == [4, 2, 1]


def test_every_archived_page_has_an_id_of_its_own() -> None:
    same = page()

    ids = [archived.raw_id for batch in iter_batches([same] * 200) for archived in batch.pages]

    assert len(set(ids)) == 200


def test_files_of_pages_that_were_merged_are_still_read_in_small_parts(lake: Lake, ask: Ask) -> None:
    """A row group is read as a whole: one of thousands of bodies would not fit into memory."""
    for _ in range(4):
        lake.load([page(sequence=number) for number in range(60)], cell=cell(), run_id="run")

    lake._connection.execute("CALL ducklake_merge_adjacent_files('lake', 'raw_pages')")

    ((file,),) = ask("SELECT data_file FROM ducklake_list_files('lake', 'raw_pages')")
    rows = ask(f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('{file}')")
    assert sum(row[1] for row in rows) == 240
    assert max(row[1] for row in rows) < 2 * MAX_PAGES
