"""What waits in the spool goes into the lake: where the two, which do not know each other, meet.

A delivery is forgotten by the spool once it is committed to the lake, and the lake knows each by its id. So
whoever is killed in between, or does the same at the same time, loses and doubles nothing.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dispatchlake.halving import TOO_MUCH, in_halves
from dispatchlake.landed import LandedDeliveries
from dispatchlake.model import Page
from dispatchlake.repetition import repeat
from dispatchlake.settings import Settings
from dispatchlake.spool import Delivery, Spool, is_anything_waiting
from dispatchlake.stop import Stop

if TYPE_CHECKING:
    from dispatchlake.lake import ArchivedPage, Lake

logger = logging.getLogger(__name__)

MAX_COUNT = 16_384
MAX_BYTES = 16 * 2**20
"""Deliveries of one transaction are at most so many and so long; a longer one is landed alone."""

SLOT_MINUTES = 5
"""As often as an ingest run notes what it brought: landings every 15 s would fill `runs` with little else."""


@dataclass(frozen=True, slots=True)
class LandingSummary:
    """What one landing did: numbers only, safe to show anywhere.

    Attributes:
        batches: How often something was taken from the spool.
        seconds: How long it took.
    """

    landed: LandedDeliveries = field(default_factory=LandedDeliveries)
    batches: int = 0
    seconds: float = 0.0

    def sentence(self) -> str:
        """Return it in one line."""
        one = self.landed
        if not self.batches:
            return "No delivery waits"
        return (
            f"{one.deliveries:,} deliveries landed in {self.seconds:.1f} s: {one.new:,} new, "
            f"{one.changed:,} changed, {one.quarantined:,} set aside"
        )


def land_deliveries(settings: Settings, *, stop: Stop | None = None) -> LandingSummary:
    """Land what waits in the spool, a batch a transaction, until all has landed or it is asked to stop.

    What comes meanwhile is left to the next who lands: where deliveries never cease, this ends all the same.
    Cheap where nothing waits: the lake is not opened, nor what opens it imported, so that a process which
    only looks is a small one. Stopping anywhere and running again gives the same lake.

    Raises:
        LakeError: The lake could not take it; what is not committed waits on.
        SpoolError: The spool cannot be read.
    """
    if not is_anything_waiting(settings.spool_dir):
        return LandingSummary()
    from dispatchlake.lake import ArchivedPage, open_lake

    started_s = time.monotonic()
    landed, batches = LandedDeliveries(), 0
    with Spool.open(settings.spool_dir) as spool, open_lake(settings) as lake:
        for batch in _iter_batches(spool):
            landed += _land(lake, spool, [ArchivedPage(one.raw_id, _page(one)) for one in batch])
            batches += 1
            if stop is not None and stop.is_asked:
                break
    summary = LandingSummary(landed, batches, time.monotonic() - started_s)
    logger.info("%s.", summary.sentence())
    return summary


def keep_landing(settings: Settings, *, every_s: float, stop: Stop, tell: Callable[[str], None]) -> None:
    """Land what waits, again and again, until asked to stop: then the batch under way is still landed.

    After each landing the open zone is published; if that fails, it is tried again with the next look.

    Args:
        settings: Where spool and lake are.
        every_s: Pause between two looks, in seconds.
        stop: Ends the pause too.
        tell: Given a sentence when something landed, and when it failed for another reason than before.
    """
    is_behind = False

    def land() -> str:
        nonlocal is_behind
        summary = land_deliveries(settings, stop=stop)
        is_behind = is_behind or summary.batches > 0
        if is_behind:
            _publish(settings)
            is_behind = False
        return f"{summary.sentence()}." if summary.batches else ""

    repeat(land, every_s=every_s, stop=stop, tell=tell)


def land_and_publish(settings: Settings) -> LandingSummary:
    """Land what waits, and publish the open zone if that was anything.

    Raises:
        LakeError: The lake could not take it, or the open zone; what is not committed waits on.
        SpoolError: The spool cannot be read.
    """
    summary = land_deliveries(settings)
    if summary.batches:
        _publish(settings)
    return summary


def _land(lake: Lake, spool: Spool, pages: list[ArchivedPage]) -> LandedDeliveries:
    """Land deliveries and have the spool forget them: at once, or where memory is short for that, in halves.

    What takes too much alone would be first in every landing to come: it is set aside, and a replay under a
    higher limit reads it.
    """
    run_id = _run_id(datetime.now(UTC))

    def land(some: Sequence[ArchivedPage]) -> LandedDeliveries:
        landed = lake.land(some, run_id=run_id)
        spool.forget([one.raw_id for one in some])
        return landed

    def set_aside(one: ArchivedPage) -> LandedDeliveries:
        logger.warning("Delivery %s is set aside: %s.", one.raw_id, TOO_MUCH)
        landed = lake.set_aside(one, TOO_MUCH, run_id=run_id)
        spool.forget([one.raw_id])
        return landed

    return sum(in_halves(pages, land, set_aside), LandedDeliveries())


def _publish(settings: Settings) -> None:
    from dispatchlake.lake.publishing import publish  # as above

    publish(settings)


def _iter_batches(spool: Spool) -> Iterator[list[Delivery]]:
    """Yield what one transaction takes, until nothing waits of what does now: the oldest of each center.

    Each begins with another center, for which there is room whatever it brings: so none is left behind.
    What was yielded is to be forgotten before the next is asked for.
    """
    first, last_place = "", spool.last_place()
    while center_ids := spool.centers(last_place=last_place):
        begin = bisect_right(center_ids, first) % len(center_ids)
        first = center_ids[begin]
        if batch := _take(spool, center_ids[begin:] + center_ids[:begin], last_place):
            yield batch


def _take(spool: Spool, center_ids: Sequence[str], last_place: int) -> list[Delivery]:
    """Return the oldest of some centers, each with its share of what the ones before it left room for.

    The very first is taken whatever its size; it alone may be longer than there is room.
    """
    batch: list[Delivery] = []
    room_bytes = MAX_BYTES
    for number, center_id in enumerate(center_ids):
        room_count = MAX_COUNT - len(batch)
        if room_count <= 0 or room_bytes <= 0:
            break
        sharing = len(center_ids) - number
        found = spool.waiting(
            center_id,
            max_count=max(1, room_count // sharing),
            max_bytes=room_bytes // sharing,
            oldest_bytes=room_bytes if batch else None,
            last_place=last_place,
        )
        room_bytes -= sum(len(one.body) for one in found)
        batch += found
    return batch


def _run_id(now: datetime) -> str:
    """Return what landings of the same few minutes have in common: they are one row of `runs` a listing."""
    minute = now.minute - now.minute % SLOT_MINUTES
    return f"landing {now.replace(minute=minute):%Y-%m-%dT%H:%MZ}"


def _page(delivery: Delivery) -> Page:
    """Return a delivery as the archive has pages; nobody asked for it, so that was when it came."""
    return Page(
        center_id=delivery.center_id,
        resource=f"webhook:{delivery.kind}",
        sequence=1,
        url_path=f"/webhooks/{delivery.center_id}/{delivery.kind}",
        query={},
        status=200,
        headers=delivery.headers,
        requested_at=delivery.received_at,
        received_at=delivery.received_at,
        body=delivery.body,
        records=[],
    )
