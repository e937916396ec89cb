"""Group commit: one thread writes to the spool; whatever arrives during one commit shares the next.

Nothing is waited for on purpose: alone, a delivery is committed at once, and under load a commit takes all
that came during the one before (docs/decisions/0014-webhook-spool.md).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from dispatchlake.spool import Delivery, Spool

MOST_DELIVERIES = 500
MOST_BYTES = 32 << 20
"""What one commit takes at most; the rest waits for the next."""


@dataclass(frozen=True, slots=True)
class _Wish:
    deliveries: Sequence[Delivery]
    loop: asyncio.AbstractEventLoop
    kept: asyncio.Future[None]

    @property
    def size_bytes(self) -> int:
        return sum(len(delivery.body) for delivery in self.deliveries)


class Keeper:
    """Keeps deliveries in a spool for any number of requests at once.

    Args:
        spool: Whose only writer in this process it is.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._wishes: queue.SimpleQueue[_Wish | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    async def stop(self) -> None:
        """Keep what was wished for until now, then end."""
        self._wishes.put(None)
        await asyncio.to_thread(self._thread.join)

    async def keep(self, *deliveries: Delivery) -> None:
        """Return when the deliveries are on the disk; with none, when the disk has proven to take some.

        Raises:
            SpoolError: They are not, and will not be.
        """
        loop = asyncio.get_running_loop()
        wish = _Wish(deliveries, loop, loop.create_future())
        self._wishes.put(wish)
        await wish.kept

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._next_batch()
            if not batch:
                continue
            error: BaseException | None = None
            try:
                self._spool.keep([delivery for wish in batch for delivery in wish.deliveries])
            except BaseException as problem:  # noqa: BLE001 - told to each of those that wait for it
                error = problem
            batch[0].loop.call_soon_threadsafe(_answer, batch, error)

    def _next_batch(self) -> tuple[list[_Wish], bool]:
        """Return what waits, at least one wish, as far as one commit takes it; and whether it is the last."""
        batch: list[_Wish] = []
        count = size_bytes = 0
        wish = self._wishes.get()
        while wish is not None:
            batch.append(wish)
            count += len(wish.deliveries)
            size_bytes += wish.size_bytes
            if count >= MOST_DELIVERIES or size_bytes >= MOST_BYTES:
                return batch, False
            try:
                wish = self._wishes.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True


def _answer(batch: Sequence[_Wish], error: BaseException | None) -> None:
    for wish in batch:
        if wish.kept.done():  # whoever waited for it has gone
            continue
        if error is None:
            wish.kept.set_result(None)
        else:
            wish.kept.set_exception(error)
