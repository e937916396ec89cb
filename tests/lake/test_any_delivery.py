"""However versions are cut into pages and loads, repeated and shuffled, the lake is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dispatchlake.lake import Lake, LoadSummary, migrations, staging
from dispatchlake.lake.reading import connect
from tests.examples import examples
from tests.lake.model import Model
from tests.lake.pages import Center, incident, see_one_center, stamp

DAY_S = 86_400

Deliveries = list[list[list[dict[str, Any]]]]
"""Loads of pages of records."""


def version(identity: str, updated: int, is_ended: bool, phone: str) -> dict[str, Any]:
    # A corrected created_at goes with some versions: other months, other partitions.
    created = {0: 0, 1: 0, 2: -40 * DAY_S, 3: 400 * DAY_S}[updated]
    return incident(
        identity,
        updated=updated,
        created=created,
        audio_call_ended_at=stamp(0) if is_ended else None,
        caller_phone_number=phone,
    )


versions = st.builds(
    version, st.sampled_from("xyz"), st.integers(0, 3), st.booleans(), st.sampled_from(["", "a", "b"])
)
without_ties = st.builds(version, st.sampled_from("xyz"), st.integers(0, 3), st.booleans(), st.just("a"))


def stored(center: Center, table: str) -> set[tuple[Any, ...]]:
    rows = center.ask(
        f"SELECT incident_id, updated_at, created_at, audio_call_ended_at, caller_phone_number FROM {table}"
    )
    assert len(set(rows)) == len(rows), f"{table} has a row twice"
    return set(rows)


def expected(records: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    def time(text: str | None) -> datetime | None:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC) if text else None

    return {
        (
            record["id"],
            time(record["updated_at"]),
            time(record["created_at"]),
            time(record["audio_call_ended_at"]),
            record["caller_phone_number"],
        )
        for record in records
    }


def deliver(center: Center, loads: Deliveries) -> None:
    for pages in loads:
        center.load_pages([center.page(*records, sequence=n) for n, records in enumerate(pages, 1)])


def assert_as_modelled(center: Center, loads: Deliveries) -> None:
    model = Model()
    for pages in loads:
        for records in pages:
            model.receive(*records)
    assert stored(center, "incidents") == expected(model.current())
    assert stored(center, "incident_versions") == expected(model.versions())


@examples(6)
@given(st.lists(st.lists(st.lists(versions, max_size=4), max_size=3), max_size=4))
def test_any_deliveries_give_what_plain_python_says(
    new_center: Callable[[], Center], loads: Deliveries
) -> None:
    center = new_center()

    deliver(center, loads)

    assert_as_modelled(center, loads)


@examples(5)
@given(st.data())
def test_any_cut_order_and_repetition_gives_the_same_lake(
    new_center: Callable[[], Center], data: st.DataObject
) -> None:
    content = data.draw(st.lists(without_ties, min_size=1, max_size=8))
    one, other = new_center(), new_center()
    deliver(one, [[content]])

    repeated = content + data.draw(st.lists(st.sampled_from(content), max_size=6))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=5)))
    pages = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    size = data.draw(st.integers(1, 3))
    deliver(other, [pages[start : start + size] for start in range(0, len(pages), size)])

    assert stored(other, "incidents") == stored(one, "incidents")
    assert stored(other, "incident_versions") == stored(one, "incident_versions")


@pytest.fixture(scope="module")
def mixed_center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Center]]:
    """New centers of a lake that keeps up to 2 rows in its catalog, and more in files."""
    folder = tmp_path_factory.mktemp("mixed") / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "INLINED_ROWS", 2)
        lake = Lake.open(folder)
    with lake, connect(folder) as reader:
        see_one_center(reader)
        count = iter(range(10**6))
        yield lambda: Center(lake, reader, f"center-{next(count)}")


def flush(center: Center) -> None:
    """Write inlined rows to files, one table at a time: for all at once DuckLake 1.5.5 may end the process.

    It did in about 1 of 8 runs of 50 flushes (double free, segmentation fault), and never table by table.
    """
    for name in ("incidents", "incident_versions"):
        center.lake._connection.execute(f"CALL ducklake_flush_inlined_data('lake', table_name => '{name}')")


def compact(center: Center) -> None:
    flush(center)
    for name in ("incidents", "incident_versions"):
        for procedure in ("ducklake_rewrite_data_files", "ducklake_merge_adjacent_files"):
            center.lake._connection.execute(f"CALL {procedure}('lake', '{name}')")


@examples(6, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.lists(versions, max_size=6), st.sampled_from([None, None, flush, compact])),
        max_size=5,
    )
)
def test_rows_kept_in_the_catalog_and_in_files_merge_alike_also_after_flush_and_compaction(
    mixed_center: Callable[[], Center],
    steps: list[tuple[list[dict[str, Any]], Callable[[Center], None] | None]],
) -> None:
    center = mixed_center()

    for records, maintain in steps:
        deliver(center, [[records]])
        if maintain:
            maintain(center)

    assert_as_modelled(center, [[records] for records, _ in steps])


@examples(12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(versions, max_size=9), max_size=3), st.integers(1, 4))
def test_a_load_too_large_for_memory_comes_in_portions_to_what_it_comes_to_at_once(
    mixed_center: Callable[[], Center], loads: list[list[dict[str, Any]]], portion: int
) -> None:
    """Also where one portion supersedes what another has put into the catalog or a file just before."""
    at_once, in_portions = mixed_center(), mixed_center()
    expected = [counts(at_once.load(*records)) for records in loads]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "IN_MEMORY_BYTES", 0)
        patch.setattr(staging, "PORTION", portion)
        found = [counts(in_portions.load(*records)) for records in loads]

    assert found == expected
    assert_as_modelled(in_portions, [[records] for records in loads])


def counts(summary: LoadSummary) -> dict[str, Any]:
    fields = asdict(summary)
    return {
        name: value for name, value in fields.items() if name not in {"center_id", "seconds", "watermark"}
    }
