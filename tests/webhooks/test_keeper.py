"""Group commit: whatever arrives during a commit shares the next, and each hears what became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from dispatchlake.errors import SpoolBusy
from dispatchlake.spool import Delivery, DeliveryKind, Spool
from dispatchlake.webhooks import keeper as module
from dispatchlake.webhooks.keeper import Keeper


def delivery(body: bytes = b"{}") -> Delivery:
    return Delivery(str(uuid4()), "houston-tx", DeliveryKind.CAD, datetime.now(UTC), {}, body)


class SlowSpool:
    """A spool whose first commit lasts until it is let go."""

    def __init__(self, *, problem: Exception | None = None) -> None:
        self.commits: list[list[bytes]] = []
        self.go = threading.Event()
        self.has_begun = threading.Event()
        self._problem = problem

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        self.has_begun.set()
        assert self.go.wait(30)
        self.commits.append([d.body for d in deliveries])
        if self._problem is not None and len(self.commits) == 2:
            raise self._problem


async def keep_during_a_commit(spool: SlowSpool, bodies: Sequence[bytes]) -> list[BaseException | None]:
    """Let deliveries arrive while another is being committed; return what each of them heard."""
    keeper = Keeper(cast("Spool", spool))
    keeper.start()
    first = asyncio.create_task(keeper.keep(delivery(b"first")))
    await asyncio.to_thread(spool.has_begun.wait, 30)
    others = [asyncio.create_task(keeper.keep(delivery(body))) for body in bodies]
    await asyncio.sleep(0)  # each has handed over its wish
    spool.go.set()
    heard = await asyncio.gather(*others, return_exceptions=True)
    await first
    await keeper.stop()
    return heard


def test_what_arrives_during_a_commit_shares_the_next() -> None:
    spool = SlowSpool()
    bodies = [str(number).encode() for number in range(50)]

    heard = asyncio.run(keep_during_a_commit(spool, bodies))

    assert heard == [None] * 50
    assert spool.commits == [[b"first"], bodies]


@pytest.mark.parametrize("limit", ["MOST_DELIVERIES", "MOST_BYTES"])
def test_a_commit_has_a_bound(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, 4)
    spool = SlowSpool()
    bodies = [str(number).encode() for number in range(9)]

    asyncio.run(keep_during_a_commit(spool, bodies))

    assert [len(commit) for commit in spool.commits[1:]] == [4, 4, 1]
    assert [body for commit in spool.commits[1:] for body in commit] == bodies, "in the order received"


@pytest.mark.parametrize("problem", [SpoolBusy("the disk is full"), RuntimeError("unforeseen")])
def test_a_commit_that_fails_is_told_to_each_and_the_next_goes_on(problem: Exception) -> None:
    spool = SlowSpool(problem=problem)

    heard = asyncio.run(keep_during_a_commit(spool, [b"a", b"b"]))

    assert heard == [problem, problem]

    async def keep_another() -> None:
        keeper = Keeper(cast("Spool", spool))
        keeper.start()
        await keeper.keep(delivery(b"c"))
        await keeper.stop()

    asyncio.run(keep_another())
    assert spool.commits[-1] == [b"c"]


def test_whoever_has_gone_is_no_hindrance(tmp_path: Path) -> None:
    async def go_away() -> None:
        keeper = Keeper(spool)
        gone = asyncio.create_task(keeper.keep(delivery(b"gone")))
        stays = asyncio.create_task(keeper.keep(delivery(b"stays")))
        await asyncio.sleep(0)
        gone.cancel()
        keeper.start()
        await stays
        await keeper.stop()

    with Spool.open(tmp_path) as spool:
        asyncio.run(go_away())
        kept = spool.waiting("houston-tx", max_count=10, max_bytes=1000)

    assert [d.body for d in kept] == [b"gone", b"stays"]


def test_the_end_waits_for_what_was_wished_for() -> None:
    async def end_at_once() -> None:
        keeper = Keeper(cast("Spool", spool))
        wishes = [asyncio.create_task(keeper.keep(delivery(b"wish"))) for _ in range(20)]
        await asyncio.sleep(0)
        keeper.start()
        end = asyncio.create_task(keeper.stop())
        await asyncio.to_thread(spool.has_begun.wait, 30)
        await asyncio.sleep(0)
        assert not end.done(), "a commit is under way"
        spool.go.set()
        await end
        assert spool.commits == [[b"wish"] * 20]
        await asyncio.gather(*wishes)

    spool = SlowSpool()
    asyncio.run(end_at_once())
