"""Loads of one process take turns: whoever's turn it is lands what waits with its own, in one commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dispatchlake.errors import CatalogBusy
from dispatchlake.lake.bookkeeping import LoadSummary
from dispatchlake.lake.loads import Load
from dispatchlake.lake.staging import IN_MEMORY_BYTES

Land = Callable[[Sequence[Load]], list[LoadSummary]]
"""Lands loads, all or none."""


class GroupCommit:
    """The loads of one process that wait to be landed in one lake."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[Load] = []
        self._outcomes: dict[Load, LoadSummary | Exception] = {}

    def land(self, load: Load, land: Land) -> LoadSummary:
        """Land a load, by itself or with others that wait; return when it is landed.

        If several fail together, each is tried alone: what is wrong with one is its own affair.

        Args:
            load: What this thread has read.
            land: How this thread lands loads, on its own connection.

        Raises:
            Exception: Whatever landing it alone has raised.
        """
        with self._guard:
            self._waiting.append(load)
        try:
            with self._turn:
                if load not in self._outcomes:  # nobody has taken it along
                    self._land_group(self._take(load), land)
        except BaseException:  # interrupted
            self._withdraw(load)
            raise
        outcome = self._outcomes.pop(load)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _withdraw(self, load: Load) -> None:
        """See to it that nobody lands a load from now on: what it has staged is about to be dropped."""
        with self._guard:
            if load in self._waiting:
                self._waiting.remove(load)
                return
        with self._turn:  # who has taken it along may be landing it
            self._outcomes.pop(load, None)

    def _take(self, first: Load) -> list[Load]:
        """Return a load and those that can be landed with it, which wait no more."""
        group, listings = [first], {_listing(first)}
        size_bytes = first.staging.waiting_bytes
        with self._guard:
            if first in self._waiting:
                self._waiting.remove(first)
            for other in list(self._waiting) if first.staging.is_in_memory else []:
                size_bytes += other.staging.waiting_bytes
                if size_bytes > IN_MEMORY_BYTES:
                    break
                if (
                    other.staging.is_in_memory
                    and other.erased == first.erased
                    and _listing(other) not in listings
                ):
                    self._waiting.remove(other)
                    group.append(other)
                    listings.add(_listing(other))
        return group

    def _land_group(self, group: list[Load], land: Land) -> None:
        try:
            self._outcomes.update(zip(group, land(group), strict=True))
        except CatalogBusy as error:  # it has been waited for long enough
            self._outcomes.update(dict.fromkeys(group, error))
        except Exception as error:  # noqa: BLE001 - raised where its load is waited for
            if len(group) == 1:
                self._outcomes[group[0]] = error
                return
            for load in group:
                self._land_group([load], land)
        except BaseException:  # interrupted, perhaps after the commit: landed once more they would be doubled
            unknown = CatalogBusy("The thread that landed this was interrupted. The next run reads again.")
            self._outcomes.update(dict.fromkeys(group, unknown))
            raise


def _listing(load: Load) -> tuple[str, str]:
    return load.cell.center_id, load.cell.resource.name


_OF_LAKES: dict[Path, GroupCommit] = {}


def group_commit(lake_dir: Path) -> GroupCommit:
    """Return where this process's loads of a lake wait."""
    return _OF_LAKES.setdefault(lake_dir, GroupCommit())
