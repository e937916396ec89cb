"""The lake as of a moment, in both senses: exactly what a fold of the versions in plain Python gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.lake.pages import END, Center, cell, incident, instant, stamp

NewCenter = Callable[[], Center]


@dataclass(frozen=True)
class Sent:
    """A version that a center sends, and after how many seconds we receive it."""

    number: int
    updated_s: int
    is_ended: bool
    received_s: int

    def record(self) -> dict[str, object]:
        ended = stamp(5) if self.is_ended else None
        return incident(f"i{self.number}", updated=self.updated_s, audio_call_ended_at=ended)


SENT = st.lists(
    st.builds(Sent, st.integers(0, 2), st.integers(0, 5), st.booleans(), st.integers(0, 20)),
    min_size=1,
    max_size=10,
    unique_by=lambda sent: sent.received_s,
)


def first_received(sent: list[Sent]) -> dict[tuple[int, int, bool], Sent]:
    """Return each distinct version as it came first, in order of receipt."""
    found: dict[tuple[int, int, bool], Sent] = {}
    for one in sorted(sent, key=lambda one: one.received_s):
        found.setdefault((one.number, one.updated_s, one.is_ended), one)
    return found


def fold(versions: list[Sent]) -> set[tuple[str, int, bool]]:
    """Return the newest version of each incident: newest, then ended, then received last."""
    newest: dict[int, Sent] = {}
    for one in versions:
        had = newest.get(one.number)
        if had is None or rank(one) >= rank(had):
            newest[one.number] = one
    return {(f"i{one.number}", one.updated_s, one.is_ended) for one in newest.values()}


def rank(one: Sent) -> tuple[int, bool, int]:
    return (one.updated_s, one.is_ended, one.received_s)


def answer(center: Center, macro: str, moment: str) -> set[tuple[str, int, bool]]:
    rows = center.ask(
        f"""SELECT incident_id, updated_at, audio_call_ended_at IS NOT NULL
        FROM {macro}(TIMESTAMPTZ '{moment}') WHERE center_id = '{center.center_id}'"""
    )
    found = {(row[0], round((row[1] - instant(0)).total_seconds()), row[2]) for row in rows}
    assert len(found) == len(rows), "an incident is there twice"
    return found


@examples(12)
@given(sent=SENT, moments=st.lists(st.integers(-1, 21), min_size=1, max_size=3))
def test_any_versions_as_of_any_moment_are_what_a_fold_in_plain_python_gives(
    new_center: NewCenter, sent: list[Sent], moments: list[int]
) -> None:
    center = new_center()
    for one in sorted(sent, key=lambda one: one.received_s):
        received_at = END + timedelta(seconds=one.received_s)
        center.load_pages([center.page(one.record(), received_at=received_at)])
    versions = first_received(sent)

    for moment in moments:
        known = [one for one in versions.values() if one.received_s <= moment]
        assert answer(center, "incidents_as_of", f"{END + timedelta(seconds=moment)}") == fold(known)
        true = [one for one in versions.values() if one.updated_s <= moment]
        assert answer(center, "incidents_at_source", f"{instant(moment)}") == fold(true)


def test_the_rows_are_shaped_like_the_tables(center: Center) -> None:
    for table in ("incidents", "cad_incidents"):
        shape = center.ask(f"SELECT column_name, column_type FROM (DESCRIBE FROM {table})")
        for sense in ("as_of", "at_source"):
            described = f"SELECT column_name, column_type FROM (DESCRIBE FROM {table}_{sense}(now()))"
            assert center.ask(described) == shape


def test_as_of_now_is_the_current_table_even_where_nothing_tells_two_versions_apart(center: Center) -> None:
    """In one page, of one second, neither ended: only the order within the page says which is newer."""
    record = incident("i1", updated=3)
    for note in "abcdef":
        center.load_pages(
            [center.page({**record, "chatroom_url": "first"}, {**record, "chatroom_url": note})],
        )

    current = center.ask("SELECT incident_id, version_hash FROM incidents")
    for sense in ("as_of", "at_source"):
        assert center.ask(f"SELECT incident_id, version_hash FROM incidents_{sense}(now())") == current


def test_a_cad_incident_too_is_as_it_was_known(center: Center) -> None:
    for number, closed in enumerate((None, stamp(60))):
        received_at = END + timedelta(hours=number)
        record = {"id": "c1", "created_at": stamp(0), "updated_at": stamp(60 * number), "closed_at": closed}
        page = center.page(record, resource="cad_incidents", received_at=received_at)
        center.lake.load([page], cell=cell(center.center_id, "cad_incidents"), run_id="run")

    def closed_at(macro: str, moment: object) -> list[tuple[object, ...]]:
        return center.ask(f"SELECT closed_at FROM {macro}(TIMESTAMPTZ '{moment}')")

    assert closed_at("cad_incidents_as_of", END - timedelta(seconds=1)) == []
    assert closed_at("cad_incidents_as_of", END) == [(None,)]
    assert closed_at("cad_incidents_as_of", END + timedelta(hours=1)) == [(instant(60),)]
    assert closed_at("cad_incidents_at_source", instant(59)) == [(None,)]
    assert closed_at("cad_incidents_at_source", instant(60)) == [(instant(60),)]
