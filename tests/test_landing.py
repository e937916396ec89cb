"""From the spool to the lake: each delivery once, whoever lands it, and nothing at all where none waits."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatchlake import landing
from dispatchlake.errors import LakeError, SpoolError
from dispatchlake.lake import Lake, open_lake, publishing
from dispatchlake.lake.reading import connect
from dispatchlake.landing import keep_landing, land_deliveries
from dispatchlake.settings import Settings
from dispatchlake.spool import NAME, Delivery, DeliveryKind, Spool, is_anything_waiting
from dispatchlake.stop import Stop
from tests.lake.deliveries import caller_location, incident_metadata, note_created
from tests.lake.faulty_parser import REFUSED, faulty_parser

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


def delivery(content: Any, center_id: str = "center-a", received_at: datetime = NOW) -> Delivery:
    is_cad = isinstance(content, dict) and "event_type" in content
    return Delivery(
        raw_id=str(uuid.uuid4()),
        center_id=center_id,
        kind=DeliveryKind.CAD if is_cad else DeliveryKind.INCIDENT_EVENTS,
        received_at=received_at,
        headers={"content-type": "application/json"},
        body=content if isinstance(content, bytes) else json.dumps(content).encode(),
    )


def keep(settings: Settings, *deliveries: Delivery) -> list[Delivery]:
    with Spool.open(settings.spool_dir) as spool:
        spool.keep(deliveries)
    return list(deliveries)


def ask(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with connect(settings.lake_dir) as connection:
        return connection.sql(sql).fetchall()


def test_where_nobody_receives_nothing_is_made(settings: Settings) -> None:
    assert not is_anything_waiting(settings.spool_dir)
    assert land_deliveries(settings).batches == 0
    assert not settings.spool_dir.exists()
    assert not settings.lake_dir.exists()


def test_where_nothing_waits_the_lake_is_not_opened(settings: Settings) -> None:
    keep(settings)

    assert land_deliveries(settings).sentence() == "No delivery waits"
    assert not settings.lake_dir.exists()


def test_what_waits_lands_as_it_came_and_is_forgotten(settings: Settings) -> None:
    kept = keep(
        settings,
        delivery(incident_metadata()),
        delivery(note_created(), "center-b"),
        delivery(b"\x00\xff", "center-b"),
    )

    summary = land_deliveries(settings)

    assert summary.sentence().startswith("3 deliveries landed in ")
    assert summary.sentence().endswith(" s: 2 new, 0 changed, 1 set aside")
    rows = ask(
        settings,
        """SELECT raw_id, center_id, resource, url_path, headers, body, requested_at = received_at
        FROM raw_pages ORDER BY received_at""",
    )
    assert rows == [
        (
            one.raw_id,
            one.center_id,
            f"webhook:{one.kind}",
            f"/webhooks/{one.center_id}/{one.kind}",
            '{"content-type":"application/json"}',
            one.body,
            True,
        )
        for one in kept
    ]
    assert not is_anything_waiting(settings.spool_dir)
    assert land_deliveries(settings).batches == 0


def taken(settings: Settings) -> list[list[Delivery]]:
    """Take all that waits from the spool, as a landing does, and return the batches."""
    batches: list[list[Delivery]] = []
    with Spool.open(settings.spool_dir) as spool:
        for batch in landing._iter_batches(spool):
            batches.append(batch)
            spool.forget([one.raw_id for one in batch])
    return batches


def test_batches_are_bounded_fair_and_in_the_order_received(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(settings, *(delivery(caller_location(f"{n}"), f"c{n % 3}") for n in range(20)))
    kept += keep(settings, *(delivery(b"x" * 100, "c0") for _ in range(4)))
    monkeypatch.setattr(landing, "MAX_COUNT", 6)
    monkeypatch.setattr(landing, "MAX_BYTES", 600)
    batches = taken(settings)

    assert all(len(batch) <= 6 for batch in batches)
    assert all(sum(len(one.body) for one in batch) <= 600 for batch in batches)
    assert {one.center_id for one in batches[0]} == {"c0", "c1", "c2"}, "no center waits for another"
    for center_id in ("c0", "c1", "c2"):
        of_center = [one.raw_id for batch in batches for one in batch if one.center_id == center_id]
        assert of_center == [one.raw_id for one in kept if one.center_id == center_id]


def test_large_deliveries_of_several_centers_are_no_larger_batch_and_no_center_is_starved(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(settings, *(delivery(b"x" * 400, f"c{n % 3}") for n in range(6)), delivery(b"x" * 900, "c1"))
    monkeypatch.setattr(landing, "MAX_BYTES", 600)
    batches = taken(settings)

    assert [[one.center_id for one in batch] for batch in batches] == [
        [center_id] for center_id in ("c0", "c1", "c2", "c0", "c1", "c2", "c1")
    ]


def test_a_large_delivery_leaves_room_for_no_other_and_small_ones_fill_a_batch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [("c0", 900), ("c0", 100), ("c1", 500), ("c2", 100), ("c2", 400), ("c3", 10)]
    keep(settings, *(delivery(b"x" * size, center_id) for center_id, size in sizes))
    monkeypatch.setattr(landing, "MAX_BYTES", 600)
    batches: list[list[int]] = []
    with Spool.open(settings.spool_dir) as spool:
        for batch in landing._iter_batches(spool):
            batches.append([len(one.body) for one in batch])
            spool.forget([one.raw_id for one in batch])

    assert batches == [[900], [500, 100], [400, 10, 100]]


def test_a_body_larger_than_a_batch_lands_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MAX_BYTES", 10)
    keep(settings, delivery(incident_metadata()), delivery(incident_metadata("i2")))

    assert land_deliveries(settings).batches == 2
    assert ask(settings, "SELECT count(*) FROM incidents") == [(2,)]


def test_what_the_lake_cannot_take_waits_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(settings, delivery(incident_metadata()))

    def refuse(*_: object, **__: object) -> None:
        raise LakeError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "land", refuse)
        with pytest.raises(LakeError):
            land_deliveries(settings)

    assert is_anything_waiting(settings.spool_dir)
    assert land_deliveries(settings).landed.deliveries == 1


def swelling() -> bytes:
    """Return a body that becomes three times as long as text, and takes more memory than there is."""
    return json.dumps(incident_metadata("swells", note="?")).encode().replace(b"?", b"\xff" * (8 << 20))


def test_a_delivery_that_needs_more_memory_than_there_is_is_set_aside_and_keeps_no_other_from_landing(
    settings: Settings,
) -> None:
    kept = keep(
        settings,
        delivery(incident_metadata("before")),
        delivery(swelling()),
        delivery(incident_metadata("after")),
        delivery(incident_metadata("other"), "center-b"),
    )

    summary = land_deliveries(settings)

    assert (summary.landed.deliveries, summary.landed.new, summary.landed.quarantined) == (4, 3, 1)
    assert not is_anything_waiting(settings.spool_dir)
    archived = ask(settings, "SELECT raw_id, body_sha256 FROM raw_pages")
    assert sorted(archived) == sorted((one.raw_id, hashlib.sha256(one.body).hexdigest()) for one in kept)
    assert ask(settings, "SELECT incident_id FROM incidents ORDER BY ALL") == [
        ("after",),
        ("before",),
        ("other",),
    ]
    assert ask(settings, "SELECT raw_id, reason FROM quarantine") == [
        (kept[1].raw_id, "it needs more memory than there is")
    ]


def test_a_replay_leaves_alone_what_needs_more_memory_than_there_is_and_reads_all_else(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    kept = keep(
        settings,
        delivery(incident_metadata("before", caller_phone_number=REFUSED)),
        delivery(swelling()),
        delivery(incident_metadata("after", caller_phone_number=REFUSED)),
        delivery(incident_metadata("other", caller_phone_number=REFUSED), "center-b"),
    )
    with faulty_parser():
        land_deliveries(settings)

    with open_lake(settings) as lake:
        summaries = lake.replay()

    assert [(one.center_id, one.pages, one.added, one.released) for one in summaries] == [
        ("center-a", 3, 2, 2),
        ("center-b", 1, 1, 1),
    ]
    reason = "it needs more memory than there is, raise DISPATCHLAKE_MEMORY_LIMIT_MB"
    assert [(one.unreadable, one.reasons) for one in summaries] == [(1, ((reason, 1),)), (0, ())]
    assert f"Page {kept[1].raw_id} of center-a webhook:incident-events is left alone: {reason}" in caplog.text
    assert ask(settings, "SELECT raw_id FROM quarantine") == [(kept[1].raw_id,)]

    with open_lake(settings.model_copy(update={"memory_limit_mb": 1024})) as lake:
        summary, _ = lake.replay()

    assert (summary.added, summary.released, summary.unreadable) == (1, 1, 0)
    assert ask(settings, "SELECT count(*) FROM incidents") == [(4,)]


def test_what_was_landed_and_not_forgotten_lands_no_second_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(settings, delivery(incident_metadata()), delivery(b"?"))
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "forget", raising(SpoolError("The disk is full.")))
        with pytest.raises(SpoolError):
            land_deliveries(settings)
    kept += keep(settings, delivery(caller_location()))

    summary = land_deliveries(settings)

    assert summary.landed.deliveries == 1
    assert sorted(ask(settings, "SELECT raw_id FROM raw_pages")) == sorted((one.raw_id,) for one in kept)
    assert not is_anything_waiting(settings.spool_dir)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_landing_goes_on_after_trouble_tells_it_once_and_stops_when_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(settings, delivery(incident_metadata()))
    told: list[str] = []
    stop = Stop()
    outcomes = iter([LakeError("Full."), LakeError("Full."), SpoolError("Gone."), None, None])
    land = land_deliveries

    def land_or_fail(*arguments: Any, **options: Any) -> Any:
        if error := next(outcomes):
            raise error
        summary = land(*arguments, **options)
        if not summary.batches:
            stop.ask()
        return summary

    monkeypatch.setattr(landing, "land_deliveries", land_or_fail)

    keep_landing(settings, every_s=0.001, stop=stop, tell=told.append)

    assert [text.split(".")[0] for text in told[:2]] == ["Full", "Gone"]
    assert told[2].startswith("1 deliveries landed")
    assert len(told) == 3


def test_what_has_landed_is_published_and_tried_again_where_that_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(settings, delivery(incident_metadata()))
    told: list[str] = []
    stop = Stop()
    publish = publishing.publish
    outcomes = iter([LakeError("The open zone is full."), None])

    def publish_or_fail(settings: Settings) -> Any:
        if error := next(outcomes):
            raise error
        stop.ask()
        return publish(settings)

    monkeypatch.setattr(publishing, "publish", publish_or_fail)

    keep_landing(settings, every_s=0.001, stop=stop, tell=told.append)

    assert told[0].startswith("The open zone is full.")
    with connect(settings.open_dir, zone="open") as reader:
        assert reader.execute("SELECT count(*) FROM incidents").fetchall() == [(1,)]


def test_asked_to_stop_it_lands_the_batch_under_way_and_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MAX_COUNT", 1)
    keep(settings, *(delivery(caller_location(f"{n}")) for n in range(3)))
    stop = Stop()
    stop.ask()

    assert land_deliveries(settings, stop=stop).batches == 1
    assert ask(settings, "SELECT count(*) FROM caller_locations") == [(1,)]


def test_a_round_lands_what_was_there_when_it_began_and_leaves_what_comes_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MAX_COUNT", 2)
    keep(settings, *(delivery(caller_location(f"{n}")) for n in range(3)))
    forget = Spool.forget
    came: list[Delivery] = []

    def forget_as_others_come(spool: Spool, raw_ids: list[str]) -> None:
        if len(came) < 8:
            came.extend(keep(settings, delivery(caller_location(f"later {len(came)}")), delivery({}, "new")))
        forget(spool, raw_ids)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "forget", forget_as_others_come)
        summary = land_deliveries(settings)

    assert (summary.batches, summary.landed.deliveries) == (2, 3)
    assert land_deliveries(settings).landed.deliveries == len(came) == 4
    assert not is_anything_waiting(settings.spool_dir)


def test_where_deliveries_come_all_the_time_the_open_zone_is_published_after_each_round(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(settings, delivery(incident_metadata("i0")))
    stop = Stop()
    forget, publish = Spool.forget, publishing.publish
    published: list[int] = []
    came = [0]

    def forget_as_another_comes(spool: Spool, raw_ids: list[str]) -> None:
        came[0] += 1
        if came[0] < 9:
            keep(settings, delivery(incident_metadata(f"i{came[0]}")))
        forget(spool, raw_ids)

    def publish_twice(settings: Settings) -> Any:
        published.append(came[0])
        if len(published) == 2 or came[0] >= 9:
            stop.ask()
        return publish(settings)

    monkeypatch.setattr(Spool, "forget", forget_as_another_comes)
    monkeypatch.setattr(publishing, "publish", publish_twice)

    keep_landing(settings, every_s=0.001, stop=stop, tell=lambda _: None)

    assert published == [1, 2]


def test_a_spool_that_is_none_is_named(settings: Settings) -> None:
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / NAME).write_bytes(b"no database" * 100)

    with pytest.raises(SpoolError, match="spool"):
        land_deliveries(settings)
