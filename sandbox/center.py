"""The state of one center: its clock, what its API shows at an instant, its tokens, faults and counts."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox.config import CenterConfig, Fault, InlineSource, ResourceName, SyntheticSource
from sandbox.datasets import Dataset, Version, inline_dataset, load_dataset, synthetic_dataset
from sandbox.outbox import Outbox
from sandbox.tokens import TokenBook


@dataclass(slots=True)
class Counts:
    """What a center saw, since it was created or last reset."""

    logins_ok: int = 0
    logins_refused: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    concurrent: int = 0
    max_concurrent: int = 0

    def begin_anew(self) -> None:
        """Forget what was counted; requests that are being answered still end here."""
        self.logins_ok = self.logins_refused = 0
        self.requests.clear()
        self.statuses.clear()
        self.max_concurrent = self.concurrent

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as the control endpoint shows them."""
        return {
            "logins_ok": self.logins_ok,
            "logins_refused": self.logins_refused,
            "requests": dict(self.requests),
            "statuses": dict(self.statuses),
            "max_concurrent": self.max_concurrent,
        }


class Center:
    """One dispatch center as the sandbox plays it."""

    def __init__(self, center_id: str, config: CenterConfig) -> None:
        self.center_id = center_id
        self.config = config
        self.dataset = _dataset(center_id, config)
        self.tokens = TokenBook()
        self.outbox = Outbox()
        self.faults: list[Fault] = []
        self.counts = Counts()
        self.log: deque[dict[str, Any]] = deque(maxlen=1000)
        self.churned_s = 0.0
        self.replaced = asyncio.Event()
        self.empty_page: dict[ResourceName, int] = {}
        self._shown: dict[ResourceName, tuple[datetime, list[Version]]] = {}

    def now(self, elapsed_s: float) -> datetime:
        """Return the center's own time when the sandbox's clock has moved on by `elapsed_s`."""
        start = self.config.epoch or self.dataset.ends_at
        if start is None:
            raise ValueError(f"{self.center_id} has no records and no epoch; give it an epoch")
        return start + timedelta(seconds=elapsed_s + self.churned_s)

    def versions_until(self, resource: ResourceName, now: datetime) -> Sequence[Version]:
        """Return every version that has appeared by `now`, in the order of appearing."""
        versions = self.dataset.versions[resource]
        return versions[: bisect_right(versions, now, key=lambda version: version.visible_at)]

    def shown(self, resource: ResourceName, now: datetime) -> list[Version]:
        """Return the newest version of each record at `now`, in the configured order."""
        cached = self._shown.get(resource)
        if cached is None or cached[0] != now:
            newest = {version.record_id: version for version in self.versions_until(resource, now)}
            cached = self._shown[resource] = (
                now,
                sorted(newest.values(), key=self.sort_key, reverse=self.is_descending),
            )
        return cached[1]

    @property
    def is_descending(self) -> bool:
        """Say whether the newest comes first."""
        return self.config.order.endswith("_desc")

    def sort_key(self, version: Version) -> tuple[Any, str]:
        """Return what a listing is ordered by; ids break ties, so that an order is total."""
        if self.config.order == "id":
            return ("", version.record_id)
        name = "created_at" if self.config.order.startswith("created") else "updated_at"
        return (version.record[name], version.record_id)

    def take_fault(self, on: str, page: int | None = None) -> Fault | None:
        """Return the next fault that applies to a request, and count it down."""
        for index, fault in enumerate(self.faults):
            if fault.applies_to(on, page):
                if fault.times == 1:
                    del self.faults[index]
                else:
                    self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None


def _dataset(center_id: str, config: CenterConfig) -> Dataset:
    source = config.dataset
    if isinstance(source, SyntheticSource):
        made_up = source.synthetic
        return synthetic_dataset(
            center_id,
            count=made_up.count,
            starts_at=made_up.starts_at,
            span=timedelta(seconds=made_up.span_s),
            seed=made_up.seed,
        )
    if isinstance(source, InlineSource):
        return inline_dataset(
            center_id,
            {name: [v.model_dump(mode="json") for v in found] for name, found in source.records.items()},
        )
    return load_dataset(source)
