"""However deliveries are cut into batches, repeated, shuffled and mixed with pages, the lake is the same.

`Fold` says in plain Python, without SQL or Arrow, what the lake should hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dispatchlake.lake import Selection
from tests.examples import examples
from tests.lake.deliveries import (
    caller_location,
    delivery,
    incident_metadata,
    location_updated,
    media,
    note_created,
)
from tests.lake.pages import END, Center, instant, stamp
from tests.lake.test_replay import snapshots

EVENTS = {
    "caller_location": "caller_locations",
    "media": "media",
    "note_created": "cad_notes",
    "location_updated": "cad_locations",
}


@dataclass
class Fold:
    """What one center's lake holds after what it was told, in the order of the archive."""

    versions: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    children: dict[str, set[str]] = field(default_factory=lambda: {table: set() for table in EVENTS.values()})
    set_aside: set[str] = field(default_factory=set)

    def tell(self, content: dict[str, Any], source: str) -> None:
        record = dict(content)
        name = record.pop("type", None) or record.pop("event_type", None)
        text = json.dumps(record, sort_keys=True)
        if name in EVENTS:
            self.children[EVENTS[name]].add(text)
        elif source == "webhook" and name != "incident_metadata":
            self.set_aside.add(json.dumps(content, sort_keys=True))
        else:
            self.versions.setdefault(text, (record, source))
            self.seen.add((record["id"], source))

    def current(self) -> set[tuple[str, Any, Any, str]]:
        best: dict[str, tuple[tuple[str, bool, int], tuple[str, Any, Any, str]]] = {}
        for place, (record, source) in enumerate(self.versions.values()):
            rank = (record["updated_at"], record["audio_call_ended_at"] is not None, place)
            row = (
                record["id"],
                record["audio_call_ended_at"] is not None,
                record["caller_phone_number"],
                source,
            )
            if record["id"] not in best or rank > best[record["id"]][0]:
                best[record["id"]] = (rank, row)
        return {row for _, row in best.values()}

    def all_versions(self) -> set[tuple[Any, ...]]:
        return {
            (
                r["id"],
                r["created_at"],
                r["updated_at"],
                r["audio_call_ended_at"] is not None,
                r["caller_phone_number"],
                source,
            )
            for r, source in self.versions.values()
        }

    def sources(self) -> set[tuple[str, bool, bool]]:
        ids = {identity for identity, _ in self.seen}
        return {(one, (one, "rest") in self.seen, (one, "webhook") in self.seen) for one in ids}


def incident_version(identity: str, updated: int, is_ended: bool, phone: str, shift: int) -> dict[str, Any]:
    # A corrected created_at goes with some versions: other months, other partitions.
    return incident_metadata(
        identity,
        updated=updated,
        created=[0, -40 * 86_400][shift * (updated % 2)],
        audio_call_ended_at=stamp(0) if is_ended else None,
        caller_phone_number=phone,
    )


incident_versions = st.builds(
    incident_version,
    st.sampled_from("xy"),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["+13035550140", "+13035550141"]),
    st.integers(0, 1),
)
without_ties = st.builds(
    incident_version,
    st.sampled_from("xyz"),
    st.integers(0, 3),
    st.booleans(),
    st.just("+13035550140"),
    st.integers(0, 1),
)
children = st.one_of(
    st.builds(caller_location, st.sampled_from("ab"), st.integers(0, 1), lat=st.sampled_from([1.5, 2.5])),
    st.builds(note_created, st.sampled_from("ab"), note=st.sampled_from(["one", "two"])),
    st.builds(location_updated, st.integers(0, 1), lat=st.sampled_from([1.5, 2.5])),
    st.builds(media, id=st.sampled_from(["a", "b"]), media_type=st.sampled_from(["photo", "video"])),
    st.just({"type": "merged", "id": "x"}),
)

Batches = list[tuple[str, list[dict[str, Any]]]]
"""Source and contents of each load."""


def tell(center: Center, batches: Batches) -> None:
    """Land the batches; each page and delivery is received a second after the one before."""
    number = 0
    for source, contents in batches:
        received = [END + timedelta(seconds=number + n) for n in range(len(contents))]
        number += len(contents)
        if source == "webhook":
            center.lake.land(
                [
                    delivery(content, center_id=center.center_id, received_at=at)
                    for content, at in zip(contents, received, strict=True)
                ],
                run_id="landing",
            )
        else:
            pages = [
                center.page(without_name(content), sequence=n, received_at=at)
                for n, (content, at) in enumerate(zip(contents, received, strict=True), 1)
            ]
            center.load_pages(pages)


def without_name(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "type"}


def assert_as_folded(center: Center, batches: Batches) -> None:
    fold = Fold()
    for source, contents in batches:
        for content in contents:
            fold.tell(content, source)
    columns = "audio_call_ended_at IS NOT NULL, caller_phone_number, source"
    current = center.ask(f"SELECT incident_id, {columns} FROM incidents")
    versions = center.ask(f"SELECT incident_id, created_at, updated_at, {columns} FROM incident_versions")
    stamps = {instant(second): stamp(second) for second in (-40 * 86_400, 0, 1, 2, 3)}
    assert len(current) == len(set(current))
    assert set(current) == fold.current()
    assert sorted(
        map(str, ((i, stamps[born], stamps[at], *rest) for i, born, at, *rest in versions))
    ) == sorted(map(str, fold.all_versions()))
    assert set(center.ask("SELECT incident_id, by_rest, by_webhook FROM incident_sources")) == fold.sources()
    for table, expected in fold.children.items():
        ((rows, hashes),) = center.ask(f"SELECT count(*), count(DISTINCT version_hash) FROM {table}")
        assert rows == hashes == len(expected), table
    assert center.ask("SELECT count(*) FROM quarantine") == [(len(fold.set_aside),)]


def rows_of(center: Center) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows, each with its page's place in the archive, which another center can share."""
    found = {}
    for table in ("incidents", "incident_versions", "incident_sightings", "quarantine", *EVENTS.values()):
        own = "center_id, raw_id, quarantine_id" if table == "quarantine" else "center_id, raw_id"
        found[table] = sorted(
            center.ask(
                f"""SELECT chain_position, rows.* EXCLUDE ({own})
                FROM {table} AS rows LEFT JOIN raw_pages USING (center_id, raw_id)"""
            ),
            key=repr,
        )
    return found


batches_of_both = st.lists(
    st.one_of(
        st.tuples(st.just("webhook"), st.lists(incident_versions | children, min_size=1, max_size=5)),
        st.tuples(st.just("rest"), st.lists(incident_versions, min_size=1, max_size=3)),
    ),
    max_size=5,
)


@examples(8, suppress_health_check=[HealthCheck.too_slow])
@given(batches=batches_of_both)
def test_any_mixture_gives_what_plain_python_says(new_center: Callable[[], Center], batches: Batches) -> None:
    center = new_center()

    tell(center, batches)

    assert_as_folded(center, batches)


@examples(5, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_order_repetition_and_cut_gives_the_same_lake(
    new_center: Callable[[], Center], data: st.DataObject
) -> None:
    contents = data.draw(st.lists(without_ties | children, min_size=1, max_size=8))
    one, other = new_center(), new_center()
    tell(one, [("webhook", contents)])

    repeated = contents + data.draw(st.lists(st.sampled_from(contents), max_size=6))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    parts = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    tell(other, [("webhook", part) for part in parts if part])

    for table in ("incidents", "incident_versions", *EVENTS.values()):
        query = f"SELECT * EXCLUDE (center_id, raw_id, received_at) FROM {table} ORDER BY ALL"
        assert other.ask(query) == one.ask(query), table
    assert_as_folded(one, [("webhook", contents)])


@examples(4, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=batches_of_both.filter(bool),
    replays=st.lists(
        st.tuples(
            st.sampled_from([(), ("incident_events",), ("webhook:incident-events",), ("webhook:cad",)]),
            st.integers(0, 6),
            st.integers(1, 6),
        ),
        max_size=3,
    ),
    spoiled=st.sets(
        st.sampled_from(["incidents", "incident_versions", "incident_sightings", "caller_locations", "media"])
    ),
)
def test_after_any_replays_and_losses_a_replay_of_all_gives_the_same_lake(
    new_center: Callable[[], Center],
    batches: Batches,
    replays: list[tuple[tuple[str, ...], int, int]],
    spoiled: set[str],
) -> None:
    center = new_center()
    tell(center, batches)
    before = rows_of(center)

    for table in spoiled:  # as a parser that knew nothing of them would have left it
        center.lake._connection.execute(f"DELETE FROM {table} WHERE center_id = ?", [center.center_id])
    for resources, start, count in replays:
        center.lake.replay(
            Selection(
                (center.center_id,),
                resources,
                END + timedelta(seconds=start),
                END + timedelta(seconds=start + count),
            )
        )
    center.lake.replay(Selection((center.center_id,)))

    assert rows_of(center) == before
    newest = snapshots(center)
    assert all(one.is_without_effect for one in center.lake.replay(Selection((center.center_id,))))
    assert snapshots(center) == newest, "a replay that changes nothing writes nothing"
