"""Whether each center and listing is well, why not, and what to press: one judgement for all who show it.

The command, the page in the UI, the alerts and the metrics all ask here, and here is asked the view `status`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from dispatchlake.deliveries import (
    Waiting,
    WebhookStanding,
    WebhookState,
    judge_webhooks,
    measure_waiting,
    together,
)
from dispatchlake.errors import ConfigError
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.standing import Figures, ListingStatus, read_figures
from dispatchlake.open_zone import OpenZone, measure_open_zone
from dispatchlake.pending_erasures import Erasing, measure_erasing
from dispatchlake.quality import UNCHECKED, Quality
from dispatchlake.settings import Settings
from dispatchlake.words import in_bytes, in_words

Register = Mapping[tuple[str, str], bool]
"""The listings that registered centers can be read for, by center id and name; whether they are enabled."""

QUIET_DAYS = 7
QUIET_SHARE = 0.1
QUIET_ROWS = 10
"""Silence is judged against at least so many earlier days, of which at most this share brought nothing in the
same hours, and of which the median brought at least so many rows: by chance alone none would come once in
20,000 times."""


_LATER = (
    "Nothing to press: each run tries again and catches up by itself. If it lasts, ask the dispatch center "
    "or the vendor."
)
_CHECK = "What to change in the center's configuration is said by: dispatchlake check {center}"
_ADVICE = {
    "AuthRejected": (
        "In the UI, under Blocks, correct the client id or secret of {center}; then: dispatchlake check "
        "{center}. Do not try often: the vendor may lock the account."
    ),
    "CenterUnavailable": _LATER,
    "RateLimited": _LATER,
    "RequestRejected": _CHECK,
    "ContractBroken": _CHECK,
    "CatalogBusy": "Wait: another program is writing the lake, and the next run tries again.",
    "LakeError": "Look at the disk's free space and the run's log in the UI; docs/operations.md has more.",
    "ConfigError": "Do what the sentence says; the next run takes it up.",
}
"""What to do about a failure, by its class in the tree of errors."""


class State(StrEnum):
    """How one listing of one center is, in words."""

    LOGIN_FAILED = "login failed"
    LATE = "late"
    FAILING = "failing"
    SILENT = "silent"
    UNREAD = "never read"
    OK = "ok"
    DISABLED = "disabled"
    UNREGISTERED = "not registered"


BAD = frozenset({State.LOGIN_FAILED, State.LATE, State.FAILING, State.UNREAD})
"""States in which records are missing; silence may be true."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One listing, judged.

    Attributes:
        why: Why it is not ok, a plain sentence; "" if it is.
        advice: What to do about it; "" if nothing.
        notice: What was set aside in the last hour; "" if nothing. A listing may be ok all the same.
    """

    listing: ListingStatus
    state: State
    why: str = ""
    advice: str = ""
    notice: str = ""

    @property
    def center_id(self) -> str:
        """Return the dispatch center."""
        return self.listing.center_id

    @property
    def resource(self) -> str:
        """Return the listing's name."""
        return self.listing.resource

    @property
    def name(self) -> str:
        """Return center and listing."""
        return f"{self.center_id} {self.resource}"

    @property
    def through(self) -> str:
        """Return until when it is complete, in a sentence."""
        listing = self.listing
        if listing.complete_through is None or listing.lag_s is None:
            return "It was never read to its end."
        return f"Complete through {listing.complete_through:%F %H:%M} UTC, {in_words(listing.lag_s)} ago."


Subject = Standing | WebhookStanding
"""What is judged: a listing that is read, or a kind of webhook that is delivered."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the data folder, in bytes, and the share of it that counts as nearly full."""

    free_bytes: int
    total_bytes: int
    full_share: float

    @property
    def used_share(self) -> float:
        """Return how much of it cannot be written to any more, 0 to 1."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 1.0

    @property
    def is_nearly_full(self) -> bool:
        """Say whether it is beyond the limit."""
        return self.used_share > self.full_share

    @property
    def why(self) -> str:
        """Return how full it is, in a sentence."""
        return f"The data folder's disk is {self.used_share:.0%} full: {in_bytes(self.free_bytes)} are left."


DISK_ADVICE = (
    "Make room, or give the lake a larger disk; `dispatchlake maintain` removes what no kept snapshot needs. "
    "When it is full nothing lands, and what landed stays whole."
)


@dataclass(frozen=True, slots=True)
class Overview:
    """How all is now.

    Attributes:
        without_lake: That there is no lake yet, and what to do, in a sentence or two; "" where there is one.
    """

    taken_at: datetime
    standings: tuple[Standing, ...]
    disk: Disk
    waiting: Waiting = field(default_factory=Waiting)
    webhooks: tuple[WebhookStanding, ...] = ()
    quality: Quality = UNCHECKED
    open_zone: OpenZone = field(default_factory=OpenZone)
    erasing: Erasing = field(default_factory=Erasing)
    without_lake: str = ""

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Return all that is judged."""
        return (*self.standings, *self.webhooks)

    @property
    def bad(self) -> tuple[Standing, ...]:
        """Return the listings in which records are missing."""
        return tuple(standing for standing in self.standings if standing.state in BAD)

    @property
    def is_well(self) -> bool:
        """Say whether no record is missing that should be in the lake by now, or in its open zone."""
        is_late = self.waiting.is_late or self.open_zone.is_late
        return not (self.bad or is_late or self.without_lake)

    def headline(self) -> str:
        """Return it in one sentence: how many listings are ok, and which are not."""
        active = [s for s in self.standings if s.state not in {State.DISABLED, State.UNREGISTERED}]
        if self.without_lake:
            sentence = "There is no lake yet"
        elif not active:
            sentence = "No dispatch center is read"
        else:
            ok = sum(standing.state is State.OK for standing in active)
            sentence = f"{ok} of {len(active)} listings are ok"
        troubles = [
            f"{state}: {', '.join(s.name for s in active if s.state is state)}"
            for state in State
            if state is not State.OK and any(s.state is state for s in active)
        ]
        if silent := [one.name for one in self.webhooks if one.state is WebhookState.SILENT]:
            troubles.append(f"nothing is delivered: {', '.join(silent)}")
        troubles += ["webhook deliveries wait"] if self.waiting.is_late else []
        troubles += ["the open zone is late"] if self.open_zone.is_late else []
        troubles += ["an erasure is unfinished"] if self.erasing.is_stuck else []
        troubles += ["the disk is nearly full"] if self.disk.is_nearly_full else []
        return ". ".join([sentence, *troubles])


def overview(
    settings: Settings,
    register: Register | None,
    figures: Figures | None = None,
    open_zone: OpenZone | None = None,
) -> Overview:
    """Return how all is now.

    Args:
        settings: Where the lake is, and what counts as late.
        register: Which listings should be read; None if it could not be asked, and all that were ever tried
            are judged.
        figures: How all stands, where the lake has been asked already; None asks it.
        open_zone: How that stands, where that is known already; None asks it.

    Raises:
        ConfigError: The disk, or who may deliver, cannot be asked.
        LakeError: The lake cannot be read.
        SpoolError: The spool of webhook deliveries cannot be.
    """
    without_lake = ""
    if figures is None:
        figures = read_figures(settings.lake_dir)
        without_lake = "" if catalog_path(settings.lake_dir).exists() else str(no_lake(settings.lake_dir))
    known = {(one.center_id, one.resource): one for one in figures.listings}
    names = sorted({*known, *(register or {})})
    standings = tuple(
        judge(
            known.get(name) or ListingStatus(*name),
            is_enabled=True if register is None else register.get(name),
            late_after_s=settings.late_after_s,
        )
        for name in names
    )
    waiting = measure_waiting(settings)
    return Overview(
        datetime.now(UTC),
        standings,
        measure_disk(settings),
        together(waiting.values(), settings.deliveries_late_after_s),
        judge_webhooks(settings, figures.webhooks, waiting),
        open_zone=open_zone or measure_open_zone(settings),
        erasing=measure_erasing(settings),
        without_lake=without_lake,
    )


def measure_disk(settings: Settings) -> Disk:
    """Return how full the data folder's disk is; before the folder is made, that of the folder above it.

    Raises:
        ConfigError: No such folder can be asked.
    """
    folder = settings.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        raise ConfigError(f"The disk of {folder} cannot be measured: {error.strerror}.") from None
    return Disk(usage.free, usage.total, settings.disk_full_share)


def judge(listing: ListingStatus, *, is_enabled: bool | None, late_after_s: float) -> Standing:
    """Return how one listing is.

    Args:
        listing: Its figures.
        is_enabled: Whether scheduled runs read it; None if its center, or the scope, is not registered.
        late_after_s: Lag beyond which it is late, in seconds.
    """
    if not is_enabled:
        return Standing(listing, State.UNREGISTERED if is_enabled is None else State.DISABLED)
    state, why, advice = _state(listing, late_after_s)
    notice = ""
    if listing.quarantined_last_hour:
        notice = (
            f"{listing.quarantined_last_hour:,} records were set aside in the last hour, "
            f"{listing.quarantined:,} lie in quarantine."
        )
    return Standing(listing, state, why, advice, notice)


def _state(listing: ListingStatus, late_after_s: float) -> tuple[State, str, str]:
    center_id, error = listing.center_id, listing.last_error or "It failed; the run's log says more."
    if listing.failures_in_a_row and listing.last_error_class == "AuthRejected":
        return State.LOGIN_FAILED, error, _advice(listing)
    if listing.failures_in_a_row:
        is_late = listing.lag_s is None or listing.lag_s > late_after_s
        return State.LATE if is_late else State.FAILING, error, _advice(listing)
    if listing.lag_s is None:
        return (
            State.UNREAD,
            "It is registered and was never read to its end.",
            f"Wait for the first run to end, or start one: dispatchlake ingest {center_id}",
        )
    if listing.lag_s > late_after_s:
        return (
            State.LATE,
            f"No run has read it for {in_words(listing.lag_s)}, and none has failed.",
            "In the UI, under Runs: is an ingest run stuck (cancel it), or are runs late (start the worker)?",
        )
    if is_silent(listing):
        why = (
            f"It answers, and nothing new came for {listing.hours_without_rows} h or more; usually "
            f"{listing.usual_rows_meanwhile:,.0f} rows come in these hours."
        )
        return State.SILENT, why, "Ask the dispatch center whether its CAD or its link to the vendor is down."
    return State.OK, "", ""


def is_silent(listing: ListingStatus) -> bool:
    """Say whether nothing came for hours in which something does on other days."""
    return bool(
        listing.hours_without_rows
        and listing.days_compared >= QUIET_DAYS
        and listing.days_without_rows <= QUIET_SHARE * listing.days_compared
        and (listing.usual_rows_meanwhile or 0) >= QUIET_ROWS
    )


def _advice(listing: ListingStatus) -> str:
    """Return what to do about a failure, by its kind."""
    advice = _ADVICE.get(listing.last_error_class or "", "Open the failed run in the UI: its log says more.")
    return advice.format(center=listing.center_id)
