"""What holds for any input, beyond what each part's own tests prove of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatchlake.api.listing import MAX_READINGS, Listing
from dispatchlake.errors import CenterUnavailable, ContractBroken
from dispatchlake.lake import Lake
from dispatchlake.lake.reading import connect
from dispatchlake.model import Page
from dispatchlake.payload import decode_payload
from dispatchlake.windows import next_window
from tests.api.changing_list import CENTER_ID, resource
from tests.examples import examples
from tests.lake.pages import Center, incident, instant, see_one_center

NewCenter = Callable[[], Center]


@pytest.fixture(scope="module")
def new_center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewCenter]:
    """Gives one more center of a shared lake with each call."""
    lake_dir = tmp_path_factory.mktemp("properties") / "lake"
    with Lake.open(lake_dir) as lake, connect(lake_dir) as reader:
        lake._connection.execute("SET threads = 1")  # a third less work for loads as small as these
        see_one_center(reader)
        numbers = count()
        yield lambda: Center(lake, reader, f"center-{next(numbers)}")


# --- deliveries: `tests/lake/test_any_delivery.py` proves the same of good records

ODD = [
    "no object", None, 7, [], {}, {"id": "x"}, {"id": None}, incident("x", address=7), incident("x", lat="a"),
    incident("x") | {"updated_at": "soon"}, incident("caf\ufffd"),
]  # fmt: skip
"""Set aside, each for a reason of its own or with another content."""

cad_records = st.one_of(
    st.builds(
        lambda identity, updated, units, extra: incident(identity, updated=updated, units=units, zone=extra),
        st.sampled_from("xyz"),
        st.integers(0, 2),
        st.sampled_from([None, [], ["E1", "E2"], ["E2", "E1"]]),
        st.sampled_from([None, {"a": [1]}, "b"]),
    ),
    st.sampled_from(ODD),
)


def cad_content(center: Center) -> list[list[tuple[Any, ...]]]:
    return [
        center.ask("SELECT cad_incident_id, version_hash FROM cad_incident_versions ORDER BY ALL"),
        center.ask("SELECT reason, record FROM quarantine ORDER BY ALL"),
        center.ask("SELECT cad_incident_id, updated_at FROM cad_incidents ORDER BY ALL"),
    ]


@examples(5)
@given(st.data())
def test_records_set_aside_and_kept_are_the_same_however_they_are_delivered(
    new_center: NewCenter, data: st.DataObject
) -> None:
    content = data.draw(st.lists(cad_records, min_size=1, max_size=12))
    one, other = new_center(), new_center()
    one.load(*content, resource="cad_incidents")

    again = content + data.draw(st.lists(st.sampled_from(content), max_size=8))
    shuffled = data.draw(st.permutations(again))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    for start, end in zip([0, *cuts], [*cuts, None], strict=True):
        other.load(*shuffled[start:end], resource="cad_incidents")

    assert cad_content(other) == cad_content(one)


# --- whatever bytes a page has: `tests/lake/test_parsing.py` proves that typing them raises nothing

SCALARS = [
    "null", "true", "0", "-1", "1.5", "1e400", "NaN", "-Infinity", str(2**64), str(10**30), "9" * 4500,
    '""', '"x"', r'"\u0000"', r'"\ud800"', '"\t"', "[]", "{}", '["E1", null]', "[" * 400 + "]" * 400,
    r'{"": {"\u0000": 1}}', '"2024-03-01 00:00:00 UTC"', '"9999-12-31T23:59:59-14:00"',
    '"0001-01-01 00:00:00 UTC"',
]  # fmt: skip
scalars = st.sampled_from(SCALARS)
names = st.sampled_from(
    [
        "id",
        "created_at",
        "updated_at",
        "lat",
        "units",
        "alarm_level",
        "closed_at",
        "city",
        "zone",
        "extra",
        "",
    ]
)
STAMPS = '"created_at": "2024-03-01 00:00:00 UTC", "updated_at": "2024-03-01 00:00:00 UTC"'
written = st.one_of(
    scalars,
    st.builds(
        lambda identity, fields: (
            f'{{"id": "{identity}", {STAMPS}' + "".join(f', "{name}": {text}' for name, text in fields) + "}"
        ),
        st.sampled_from("xyz"),
        st.lists(st.tuples(names, scalars), max_size=3),
    ),
)


@examples(12)
@given(texts=st.lists(written, min_size=10, max_size=40), noise=st.sampled_from([b"", b"\xff", b"caf\xe9"]))
def test_whatever_a_page_holds_each_record_lands_or_is_set_aside(
    new_center: NewCenter, texts: list[str], noise: bytes
) -> None:
    center = new_center()
    body = f"[{', '.join(texts)}, ".encode() + b'"' + noise + b'"]'

    summary = center.load_pages([center.page(body=body)], resource="cad_incidents")

    assert summary.records == len(texts) + 1
    assert summary.quarantined >= 1, "a text is no record"
    assert summary.new + summary.changed + summary.unchanged + summary.quarantined == summary.records
    ((versions,),) = center.ask("SELECT count(*) FROM cad_incident_versions")
    assert versions == summary.new + summary.changed


# --- watermarks, coverage and windows

steps = st.lists(
    st.tuples(
        st.sampled_from(["land", "land", "fail", "break", "backfill"]),
        st.lists(st.sampled_from([-(10**8), 0, 50, 100, 200, 10**9]), max_size=2),  # when the records changed
        st.sampled_from([None, 0, 60, 120, 180]),  # where the window starts
        st.sampled_from([30, 90, 150, 400]),  # how long it is
        st.sampled_from([None, 0, 60, 120, 500]),  # the source's clock when it answers
    ),
    max_size=5,
)


@examples(8)
@given(steps)
@example([("land", [50], None, 30, None), ("land", [], 60, 30, 0)])
@example([("land", [50], 60, 30, None), ("land", [], 0, 30, 0)])
def test_no_sequence_of_loads_moves_a_watermark_back_or_claims_a_span_that_was_not_read(
    new_center: NewCenter, loads: list[tuple[str, list[int], int | None, int, int | None]]
) -> None:
    """Also failing ones, ones that break off, backfills, gaps, and records of the future or of no date.

    One that is ahead of the source's clock goes back.
    """
    center = new_center()
    watermark: datetime | None = None
    read: list[tuple[float, float]] = []

    for what, changes, start, length, answered in loads:
        span: dict[str, Any] = {
            "start": None if start is None else instant(start),
            "end": instant((start or 0) + length),
            "kind": "backfill" if what == "backfill" else "ingest",
        }
        records = [incident(f"i{changed}", updated=changed) for changed in changes]
        source_now = None if answered is None else instant(answered)
        claimed = complete_through(center)
        is_apart = does_not_meet(center, span["start"], span["end"])
        if what in {"fail", "break"}:
            with pytest.raises(ContractBroken):
                center.load_pages(breaking(center, records if what == "break" else []), **span)
        else:
            center.load_pages([center.page(*records, answered_at=source_now)], **span)
            read.append((float("-inf") if start is None else start, (start or 0) + length))
        after = center.lake.watermark(center.center_id, "incident_events")

        if what != "land":
            assert after == watermark
            assert complete_through(center) == claimed
        if what == "land" and watermark is not None and source_now is not None and watermark > source_now:
            assert after is not None
            assert after <= source_now or (is_apart and after == watermark), "apart, it counts as a backfill"
        elif after != watermark:
            assert after is not None
            assert watermark is None or after > watermark
            assert after <= min(span["end"], source_now or span["end"])
        assert_is_read(center, read)
        watermark = after


def breaking(center: Center, records: list[dict[str, Any]]) -> Iterator[Page]:
    if records:
        yield center.page(*records)
    raise ContractBroken("center: it goes round in circles.")


def complete_through(center: Center) -> datetime | None:
    rows = center.ask("SELECT complete_through FROM complete_through")
    return rows[0][0] if rows else None


def does_not_meet(center: Center, start: datetime | None, end: datetime) -> bool:
    """Say whether a window lies apart from what has been read live."""
    live = "SELECT window_start, window_end FROM coverage WHERE kind = 'ingest' AND state = 'complete'"
    return any(
        (start is not None and start > until) or (since is not None and end < since)
        for since, until in center.ask(live)
    )


def assert_is_read(center: Center, read: list[tuple[float, float]]) -> None:
    """Every span the lake says was read live is one: no gap in it was left out."""
    for start, end in center.ask("SELECT window_start, window_end FROM coverage WHERE state = 'complete'"):
        reached = float("-inf") if start is None else (start - instant(0)).total_seconds()
        for one_start, one_end in sorted(read):
            if one_start <= reached:
                reached = max(reached, one_end)
        assert (end - instant(0)).total_seconds() <= reached


@examples(6)
@given(
    runs=st.lists(
        st.tuples(
            st.integers(-7200, 7200),  # how wrong our clock is
            st.lists(st.integers(0, 600), max_size=3),  # when things change before it, at the center
            st.lists(st.sampled_from([1000, 10**5]), max_size=1),  # how far ahead others are dated
            st.booleans(),  # whether it fails
        ),
        max_size=4,
    ),
    lookback_s=st.sampled_from([0, 60]),
    has_until=st.booleans(),
)
@example(runs=[(7200, [], [10**5], False), (7200, [500], [], False)], lookback_s=60, has_until=False)
def test_whatever_our_clock_says_every_change_is_read_in_the_end(
    new_center: NewCenter,
    runs: list[tuple[int, list[int], list[int], bool]],
    lookback_s: int,
    has_until: bool,
) -> None:
    """Window after window: the next one begins where all before it has been read, wherever the clock was.

    Also where the center shows records that it dates ahead of its own clock, which its answers tell.
    """
    center = new_center()
    there: dict[str, int] = {}
    now = 0
    for wrong, changes, ahead, fails in [*runs, (0, [], [], False)]:
        there |= {f"i{now + offset}": now + offset for offset in [*changes, *ahead]}
        now += 900
        watermark = center.lake.watermark(center.center_id, "incident_events")
        window = next_window(watermark, lookback=timedelta(seconds=lookback_s), now=instant(now + wrong))
        seen = [
            incident(identity, updated=changed)
            for identity, changed in there.items()
            if (window.start is None or instant(changed) >= window.start)
            and (not has_until or instant(changed) <= window.end)
        ]
        if fails:
            with pytest.raises(ContractBroken):
                center.load_pages(breaking(center, seen), start=window.start, end=window.end)
        else:
            page = center.page(*seen, answered_at=instant(now))
            center.load_pages([page], start=window.start, end=window.end)

    landed = {identity for (identity,) in center.ask("SELECT incident_id FROM incidents")}
    assert landed >= {identity for identity, changed in there.items() if changed <= now or not has_until}


# --- paging: `tests/api/test_listing.py` proves the same of what headers name

KEYS = [
    "next",
    "next_url",
    "next_page",
    "next_cursor",
    "after",
    "has_more",
    "page",
    "total_pages",
    "total_count",
]
envelopes = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, "", "a", "b", "/v1/x?page=2", "/v1/x?c=a", {"href": "?page=3"}, []]
    ),
    max_size=3,
)
answers = st.lists(
    st.tuples(
        st.lists(
            st.builds(lambda n, at: {"id": n, "updated_at": at}, st.integers(0, 6), st.integers(0, 2)),
            max_size=3,
        ),
        envelopes,
        st.sampled_from([None, "meta", "links", "paging"]),
    ),
    min_size=1,
    max_size=8,
)


@given(answers=answers, max_pages=st.integers(1, 8), check_total=st.booleans())
def test_the_guards_end_whatever_the_envelopes_name(
    answers: list[tuple[list[Any], dict[str, Any], str | None]], max_pages: int, check_total: bool
) -> None:
    """The answers come round and round for ever; the reading must not, and raises nothing but ours."""
    url = httpx.URL("https://center.example/v1/x")
    listing = Listing(resource(max_pages=max_pages, check_total=check_total), CENTER_ID, url)
    numbers, bound = count(), 2 * (MAX_READINGS + 1) * max_pages

    with contextlib.suppress(ContractBroken, CenterUnavailable):
        while (asked := listing.next_url) is not None:
            number = next(numbers)
            assert number < bound, "it does not end"
            records, named, where = answers[number % len(answers)]
            body = json.dumps({"records": records} | ({where: named} if where else named)).encode()
            listing.take(asked, httpx.Response(200), decode_payload(body, "records"))
