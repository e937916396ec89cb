"""After any replays, a replay of all gives the lake that the right parser would have given from the first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dispatchlake.errors import ConfigError
from dispatchlake.lake import Lake, ReplaySummary, Selection, replay, retyping, selected_pages
from dispatchlake.lake.calls import Calls
from dispatchlake.lake.forgetting import cut_body
from dispatchlake.lake.redacting import Redaction, redact_pages
from dispatchlake.model import RESOURCES
from tests.examples import examples
from tests.lake.faulty_parser import DROPPED, INVENTED, REFUSED, faulty_parser
from tests.lake.pages import END, Center, cell, incident, page, stamp

TABLES = ("incidents", "incident_versions", "quarantine")


def state(center: Center, tables: tuple[str, ...] = TABLES) -> dict[str, list[tuple[Any, ...]]]:
    """Return the center's rows, each with its page's place in the archive, which another center can share."""
    found = {}
    for table in tables:
        own = "center_id, raw_id, quarantine_id" if table == "quarantine" else "center_id, raw_id"
        rows = center.ask(
            f"""SELECT chain_position, rows.* EXCLUDE ({own})
            FROM {table} AS rows LEFT JOIN raw_pages USING (center_id, raw_id)"""
        )
        found[table] = sorted(rows, key=repr)
    return found


def bookkeeping(center: Center) -> list[list[tuple[Any, ...]]]:
    return [
        center.ask(f"FROM {table} ORDER BY ALL") for table in ("watermarks", "coverage", "runs", "raw_pages")
    ]


def snapshots(center: Center) -> int:
    row = center.lake._connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchone()
    assert row is not None
    return int(row[0])


def replayed(center: Center, **selection: Any) -> ReplaySummary:
    """Replay the center's pages; return the summary of its incidents."""
    summaries = center.lake.replay(Selection((center.center_id,), **selection))
    return next(iter(summaries), ReplaySummary(center.center_id, "incident_events"))


Loads = list[list[list[Any]]]
"""Loads of pages of records."""


def deliver(center: Center, loads: Loads) -> None:
    """Load; each page is received a second after the one before."""
    number = 0
    for records_of_pages in loads:
        pages = []
        for records in records_of_pages:
            pages.append(center.page(*records, sequence=number, received_at=second(number)))
            number += 1
        center.load_pages(pages)


def second(number: int) -> datetime:
    return END + timedelta(seconds=number)


def assert_as_if_fresh(center: Center, fresh: Center, loads: Loads) -> None:
    deliver(fresh, loads)
    assert state(center) == state(fresh)


def version(identity: str, updated: int, is_ended: bool, phone: str, form: int) -> Any:
    record = incident(
        identity,
        updated=updated,
        created={0: 0, 1: 0, 2: -40 * 86_400}[updated],
        audio_call_ended_at=stamp(0) if is_ended else None,
        caller_phone_number=phone,
    )
    if phone == INVENTED:
        record["created_at"] = "2024-03-01 00:00:00"  # without a zone: the right parser refuses it
    return [record, record, record, record, "no object", {**record, "updated_at": None}][form]


versions = st.builds(
    version,
    st.sampled_from("xy"),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["a", REFUSED, DROPPED, INVENTED]),
    st.integers(0, 5),
)
loads_of_pages = st.lists(
    st.lists(st.lists(versions, max_size=4), min_size=1, max_size=3), min_size=1, max_size=3
)
replays = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 8), st.integers(1, 5), st.booleans(), st.sampled_from([1, 2, 256])
    ),
    max_size=3,
)
"""With the faulty parser or not, from which page, how many, only those behind quarantine, in batches of."""


@examples(4, suppress_health_check=[HealthCheck.too_slow])
@given(loads=loads_of_pages, are_faulty=st.lists(st.booleans(), min_size=3, max_size=3), replays=replays)
def test_after_any_replays_a_replay_of_all_gives_a_fresh_lake(
    new_center: Callable[[], Center],
    loads: Loads,
    are_faulty: list[bool],
    replays: list[tuple[bool, int, int, bool, int]],
) -> None:
    center = new_center()
    number = 0
    for load, is_faulty in zip(loads, are_faulty, strict=False):
        with faulty_parser(is_faulty):
            center.load_pages(
                [
                    center.page(*records, sequence=number + n, received_at=second(number + n))
                    for n, records in enumerate(load)
                ]
            )
        number += len(load)
    kept = bookkeeping(center)

    for is_faulty, start, count, only_quarantined, in_batch in replays:
        with faulty_parser(is_faulty), pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay, "MAX_PAGES", in_batch)
            replayed(
                center,
                received_since=second(start),
                received_until=second(start + count),
                only_quarantined=only_quarantined,
            )
    summary = replayed(center)

    assert_as_if_fresh(center, new_center(), loads)
    assert bookkeeping(center) == kept
    assert summary.quarantined == sum(
        not isinstance(record, dict)
        or record["updated_at"] is None
        or record["caller_phone_number"] == INVENTED
        for load in loads
        for records in load
        for record in records
    )
    before = snapshots(center)
    assert replayed(center).is_without_effect
    assert snapshots(center) == before, "a replay that changes nothing writes nothing"


def test_records_a_fault_refused_land_and_leave_quarantine(center: Center, new_center: Any) -> None:
    loads: Loads = [[[incident("a", caller_phone_number=REFUSED), incident("b"), "no object"]]]
    with faulty_parser():
        deliver(center, loads)

    summary = replayed(center)

    assert summary == ReplaySummary(
        center.center_id, "incident_events", pages=1, records=3, added=1, released=1, quarantined=1
    )
    assert_as_if_fresh(center, new_center(), loads)


def test_versions_a_fault_spoiled_are_typed_anew(center: Center, new_center: Any) -> None:
    loads: Loads = [
        [[incident("a", caller_phone_number=DROPPED, audio_call_ended_at=stamp(5))]],
        [[incident("b"), incident("a", caller_phone_number=DROPPED, audio_call_ended_at=stamp(5))]],
    ]
    with faulty_parser():
        deliver(center, loads)

    summary = replayed(center)

    assert (summary.added, summary.removed, summary.quarantined) == (1, 1, 0)
    assert center.ask("SELECT audio_call_ended_at IS NULL FROM incidents ORDER BY incident_id") == [
        (False,),
        (True,),
    ]
    assert_as_if_fresh(center, new_center(), loads)


def test_versions_that_were_no_records_are_set_aside(center: Center, new_center: Any) -> None:
    bad = incident("a", caller_phone_number=INVENTED) | {"created_at": "2024-03-01 00:00:00"}
    loads: Loads = [[[bad, incident("b")]]]
    with faulty_parser():
        deliver(center, loads)

    summary = replayed(center)

    assert (summary.added, summary.removed, summary.set_aside) == (0, 1, 1)
    assert center.ask("SELECT incident_id FROM incidents") == [("b",)]
    assert_as_if_fresh(center, new_center(), loads)


def test_what_is_left_of_a_page_that_something_was_cut_out_of_is_typed_anew(
    center: Center, new_center: Any
) -> None:
    rest = [
        incident("a", caller_phone_number=REFUSED),
        incident("b", caller_phone_number=DROPPED, audio_call_ended_at=stamp(5)),
        incident("c", caller_phone_number=INVENTED) | {"created_at": "2024-03-01 00:00:00"},
        "no object",
    ]
    with faulty_parser():
        deliver(center, [[[*rest, incident("cut", caller_phone_number=DROPPED)]]])
    cut_out(center, "cut")
    kept = center.ask("FROM incident_versions WHERE incident_id = 'cut'")

    summary = replayed(center)

    assert (summary.added, summary.removed, summary.released, summary.set_aside) == (2, 2, 1, 1)
    assert center.ask("FROM incident_versions WHERE incident_id = 'cut'") == kept != []
    left = {table: [row for row in rows if "'cut'" not in repr(row)] for table, rows in state(center).items()}
    fresh = new_center()
    deliver(fresh, [[rest]])
    assert left == state(fresh)
    assert replayed(center).is_without_effect


def cut_out(center: Center, identity: str) -> None:
    """Cut an incident out of the center's pages, as an erasure does that is killed then."""
    calls = Calls(center.center_id, frozenset({identity}))
    forgotten = calls.forgotten("an erasure")

    def cut(resource: str, body: bytes, _received_at: datetime) -> tuple[bytes, set[str]]:
        return cut_body(body, RESOURCES[resource], forgotten)

    redaction = Redaction(center.center_id, cut, reason="for a test", run_id="cut")
    with center.lake.session() as connection:
        assert redact_pages(connection, center.lake.transact, redaction) == 1


def test_a_replay_of_an_old_page_leaves_a_newer_current_row(center: Center) -> None:
    """Also where the old page's version is one that nobody had: it is history, not news."""
    with faulty_parser():
        deliver(
            center, [[[incident("a", updated=1, caller_phone_number=REFUSED)]], [[incident("a", updated=9)]]]
        )
    before = center.ask("FROM incidents")

    summary = replayed(center, received_until=second(1))

    assert (summary.pages, summary.added) == (1, 1)
    assert center.ask("FROM incidents") == before
    assert center.ask("SELECT count(*) FROM incident_versions") == [(2,)]


@pytest.mark.parametrize("order", [(1, 0), (0, 1)], ids=["later page first", "earlier page first"])
def test_of_two_versions_in_one_second_the_one_received_last_wins(
    center: Center, order: tuple[int, ...]
) -> None:
    one, other = (incident("a", caller_phone_number=REFUSED, note=note) for note in ("first", "last"))
    with faulty_parser():
        deliver(center, [[[one, other]], [[incident("a", caller_phone_number=REFUSED, note="last of all")]]])

    for number in order:
        replayed(center, received_since=second(number), received_until=second(number + 1))

    assert center.ask("SELECT extra FROM incidents") == [('{"note":"last of all"}',)]
    assert center.ask("SELECT count(*) FROM incident_versions") == [(3,)]


def test_within_a_page_the_later_of_two_in_one_second_wins(center: Center) -> None:
    notes = [f"note {number}" for number in range(9)]
    with faulty_parser():
        deliver(center, [[[incident("a", caller_phone_number=REFUSED, note=note) for note in notes]]])

    replayed(center)

    assert center.ask("SELECT extra FROM incidents") == [('{"note":"note 8"}',)]


def test_one_that_is_further_along_wins_over_one_received_later(center: Center) -> None:
    ended = incident("a", caller_phone_number=REFUSED, audio_call_ended_at=stamp(5))
    with faulty_parser():
        deliver(center, [[[ended]], [[incident("a")]]])

    replayed(center)

    assert center.ask("SELECT audio_call_ended_at IS NOT NULL FROM incidents") == [(True,)]


def test_a_record_that_still_fails_keeps_its_row_and_a_new_reason_makes_a_new_one(center: Center) -> None:
    with faulty_parser():
        deliver(center, [[["no object", incident("a", caller_phone_number=REFUSED) | {"updated_at": None}]]])
    before = dict(center.ask("SELECT position, quarantine_id FROM quarantine"))

    summary = replayed(center)

    after = center.ask("SELECT position, quarantine_id, reason FROM quarantine ORDER BY position")
    assert [(row[0], row[2]) for row in after] == [
        (0, "the record is not an object"),
        (1, "updated_at: missing"),
    ]
    assert [row[1] == before[row[0]] for row in after] == [True, False]
    assert (summary.released, summary.set_aside, summary.quarantined) == (1, 1, 2)


def test_a_version_is_of_the_earliest_page_that_has_it(center: Center, new_center: Any) -> None:
    record = incident("a", caller_phone_number=REFUSED)
    loads: Loads = [[[record]], [[record]]]
    with faulty_parser():
        deliver(center, loads)

    replayed(center, received_since=second(1))
    assert center.ask("SELECT received_at FROM incidents") == [(second(1),)]
    replayed(center, received_until=second(1))

    assert center.ask("SELECT received_at FROM incidents") == [(second(0),)]
    assert_as_if_fresh(center, new_center(), loads)


def test_a_selection_narrows_by_window_listing_center_and_quarantine(
    center: Center, new_center: Callable[[], Center]
) -> None:
    deliver(center, [[[incident("a")], ["no object"], [incident("b")], [], []]])
    center.load(incident("c"), "no object", resource="cad_incidents")
    new_center().load(incident("a"))
    cad = RESOURCES["cad_incidents"].name

    def pages(**selection: Any) -> dict[str, int]:
        summaries = center.lake.replay(Selection((center.center_id,), **selection))
        assert all(summary.is_without_effect for summary in summaries)
        return {summary.resource: summary.pages for summary in summaries}

    assert pages() == {"incident_events": 5, cad: 1}
    assert pages(resources=(cad,)) == {cad: 1}
    assert pages(resources=("incident_events",), received_since=second(1)) == {"incident_events": 4}
    assert pages(resources=("incident_events",), received_until=second(1)) == {"incident_events": 1}
    assert pages(received_since=second(1), received_until=second(3)) == {"incident_events": 2}
    assert pages(only_quarantined=True) == {"incident_events": 1, cad: 1}
    assert pages(only_quarantined=True, resources=(cad,)) == {cad: 1}
    assert pages(received_until=second(-9)) == {}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"received_since": datetime(2024, 3, 1)}, "must say their time zone"),  # noqa: DTZ001 - that is the point
        ({"received_since": second(2), "received_until": second(2)}, "give an end after the start"),
        (
            {"resources": ("radio",)},
            "There is no resource 'radio'. Known are: incident_events, cad_incidents.",
        ),
    ],
    ids=["zone-less", "empty window", "no such listing"],
)
def test_a_selection_that_cannot_be_is_refused(selection: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Selection(**selection)


def test_a_center_without_pages_is_refused_and_the_others_named(center: Center) -> None:
    center.load()

    with pytest.raises(ConfigError, match="no page of dispatch center nowhere-tx") as caught:
        center.lake.replay(Selection((center.center_id, "nowhere-tx")))
    assert center.center_id in str(caught.value)


def archived_only(center: Center, body: bytes) -> None:
    """Archive a page that brings nothing: as when it was understood otherwise."""
    kept = center.page(sequence=99, received_at=second(99))
    center.load_pages([replace(kept, body=body, records=[])])


def test_pages_that_are_no_payload_are_counted_and_do_no_harm(
    center: Center, caplog: pytest.LogCaptureFixture
) -> None:
    with faulty_parser():
        center.load(incident("a", caller_phone_number=REFUSED))
    archived_only(center, b"<html>secret text</html>")
    archived_only(center, b'{"secret text": 1, "a": [], "b": []}')

    summary = replayed(center)

    assert (summary.pages, summary.unreadable, summary.records, summary.added) == (3, 2, 1, 1)
    assert caplog.text.count("is left alone") == 2
    assert "secret" not in caplog.text
    assert replayed(center).unreadable == 2


def test_a_page_that_cannot_be_read_any_more_keeps_what_came_of_it(center: Center) -> None:
    center.load_pages([center.page(body=b'{"data": [{"id": "a", "created_at": "2024-03-01T00:00:00Z", '
                                        b'"updated_at": "2024-03-01T00:00:00Z"}]}')])  # fmt: skip
    before = state(center)
    elsewhere = RESOURCES["incident_events"].model_copy(update={"records_key": "incidents"})

    summaries = center.lake.replay(
        Selection((center.center_id,)), {(center.center_id, "incident_events"): elsewhere}
    )

    assert [summary.unreadable for summary in summaries] == [1]
    assert state(center) == before


def test_a_page_with_other_names_of_fields_than_configured_keeps_what_came_of_it(center: Center) -> None:
    """A center's registration may be gone: what it brought must not go to quarantine for that."""
    own = RESOURCES["incident_events"].model_copy(update={"changed_field": "modified"})
    record = {"id": "a", "created_at": stamp(0), "modified": stamp(1)}
    center.lake.load(
        [center.page(record, "no object")], cell=replace(cell(center.center_id), resource=own), run_id="run"
    )
    before = state(center)
    assert len(before["incidents"]) == len(before["quarantine"]) == 1

    assert replayed(center).unreadable == 1
    assert state(center) == before


def test_a_body_that_was_changed_is_not_taken_for_what_was_received(center: Center) -> None:
    center.load(incident("a"))
    before = state(center)
    center.lake._connection.execute(
        "UPDATE raw_pages SET body = '[]'::BLOB WHERE center_id = ?", [center.center_id]
    )

    assert replayed(center).unreadable == 1
    assert state(center) == before


def test_a_center_s_own_field_names_count(center: Center) -> None:
    record = {"uuid": "a", "created_at": stamp(0), "modified": stamp(1)}
    center.load(record)
    assert center.ask("SELECT reason FROM quarantine") == [("id: missing",)]
    assert replayed(center).is_without_effect
    own = RESOURCES["incident_events"].model_copy(update={"id_field": "uuid", "changed_field": "modified"})

    (summary,) = center.lake.replay(
        Selection((center.center_id,), only_quarantined=True), {(center.center_id, "incident_events"): own}
    )

    assert (summary.added, summary.released) == (1, 1)
    assert center.ask("SELECT incident_id FROM incidents") == [("a",)]
    assert center.ask("FROM quarantine") == []


def test_cad_incidents_are_replayed_under_their_own_key(center: Center) -> None:
    with faulty_parser():
        center.load(
            incident("a", caller_phone_number=REFUSED, closed_at=stamp(3)),
            incident("b"),
            resource="cad_incidents",
        )

    summary = replayed(center)

    assert (summary.resource, summary.added) == ("cad_incidents", 1)
    rows = center.ask("SELECT cad_incident_id, closed_at IS NULL FROM cad_incidents ORDER BY ALL")
    assert rows == [("a", False), ("b", True)]


def test_batches_are_bounded_by_pages_and_bytes_and_cover_each_page_once(
    center: Center, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10, 10, 30, 2, 90, 200, 2, 2, 2]
    center.load_pages([center.page(body=b"[" + b" " * (size - 2) + b"]") for size in sizes])
    monkeypatch.setattr(selected_pages, "MAX_BYTES", 100)
    selected_pages.select(center.lake._connection, Selection((center.center_id,)))

    batches = selected_pages.iter_batches(center.lake._connection, center.center_id, "incident_events", 4)

    parts = [
        [[page.position for page in part] for part in selected_pages.iter_fitting(batch, 25)]
        for batch in batches
    ]
    assert parts == [[[1, 2], [3], [4]], [[5]], [[6]], [[7, 8, 9]]]


def test_a_page_that_needs_more_memory_than_there_is_is_left_alone_and_the_others_are_replayed(
    empty_lake: Path, lake_dir: Path
) -> None:
    shutil.copytree(empty_lake, lake_dir)
    bodies = [
        json.dumps([incident(name, caller_phone_number=REFUSED, note="?")]).encode()
        for name in ("a", "b", "c")
    ]
    bodies[1] = bodies[1].replace(b"?", b"\xff" * (8 << 20))  # three times as long as text
    pages = [page(sequence=number, body=body) for number, body in enumerate(bodies)]
    with Lake.open(lake_dir, memory_limit_mb=1024) as lake, faulty_parser():
        lake.load(pages, cell=cell(), run_id="run")

    with Lake.open(lake_dir) as lake:
        (limited,) = lake.replay()
    with Lake.open(lake_dir, memory_limit_mb=1024) as lake:
        (unlimited,) = lake.replay()

    reason = "it needs more memory than there is, raise DISPATCHLAKE_MEMORY_LIMIT_MB"
    assert (limited.pages, limited.added, limited.unreadable, limited.reasons) == (3, 2, 1, ((reason, 1),))
    assert (unlimited.pages, unlimited.added, unlimited.unreadable) == (3, 1, 0)


@pytest.mark.parametrize("step", ["_reconcile_versions", "retype"])
def test_a_replay_that_fails_anywhere_is_finished_by_the_next(
    center: Center, new_center: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What one batch does is there whole or not at all; batches before it stay."""
    loads: Loads = [
        [[incident("a", updated=number, caller_phone_number=REFUSED), incident("b")], ["no object"]]
        for number in range(2)
    ]
    with faulty_parser():
        deliver(center, loads)
    monkeypatch.setattr(replay, "MAX_PAGES", 1)
    before = state(center)
    module: Any = replay if step == "retype" else retyping
    real, calls = getattr(module, step), 0

    def do_and_fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = real(*args, **kwargs)
        if calls == fail_at:
            raise ZeroDivisionError
        return result

    for fail_at in (1, 3):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(module, step, do_and_fail)
            with pytest.raises(ZeroDivisionError):
                replayed(center)
        assert (state(center) == before) is (fail_at == 1)

    assert replayed(center).added == 1, "the first page's is there"
    assert_as_if_fresh(center, new_center(), loads)
