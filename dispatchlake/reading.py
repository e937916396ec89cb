"""Reading one cell from its center: pages fetched, decoded and typed, ready to be landed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from dispatchlake.api import CenterClient, Patience
from dispatchlake.lake import Cell, TypedBatch, type_batches
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from dispatchlake.stop import Stop


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be read, of whom, and how patiently."""

    center: DispatchCenter
    cell: Cell
    settings: Settings


class Reading(Protocol):
    """One reading of a cell: its batches, drawn once, and the logins it took so far."""

    @property
    def logins(self) -> int:
        """Return how often the center's token endpoint was asked, refused or not."""

    def __iter__(self) -> Iterator[TypedBatch]:
        """Yield the batches; raise Cancelled once it is asked to stop, CenterError if it cannot be read."""


class ReadingHere:
    """A reading in this process."""

    def __init__(self, order: Order, stop: Stop) -> None:
        self._order = order
        self._stop = stop
        self._client: CenterClient | None = None

    @property
    def logins(self) -> int:
        """Return how often the center's token endpoint was asked, refused or not."""
        return self._client.logins if self._client else 0

    def __iter__(self) -> Iterator[TypedBatch]:
        """Yield the batches; raise Cancelled once it is asked to stop, CenterError if it cannot be read."""
        cell = self._order.cell
        with open_client(
            self._order.center,
            self._order.settings,
            is_backfill=cell.kind == "backfill",
            sleep=self._stop.sleep,
        ) as self._client:
            pages = self._stop.heeded(self._client.iter_pages(cell.resource, cell.window))
            yield from type_batches(pages, cell.resource)


def open_client(
    center: DispatchCenter,
    settings: Settings,
    *,
    is_backfill: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> CenterClient:
    """Return a client of the center, as patient as these settings say."""
    patience = Patience(settings.timeout_s, settings.page_timeout_s, settings.retry_budget_s)
    return CenterClient(
        center, state_dir=settings.state_dir, patience=patience, is_backfill=is_backfill, sleep=sleep
    )
