"""How each center's webhooks stand: what waits, what landed, what was set aside, and who fell silent.

What came is known from the lake, what waits from the spool, who may deliver from what was issued. That
nothing comes has two reasons which look the same from here: nothing is sent, or nothing gets through to us.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from dispatchlake.lake.standing import WebhookStatus
from dispatchlake.settings import Settings
from dispatchlake.spool import NAME, DeliveryKind, Spool
from dispatchlake.webhooks.credentials import CredentialFile
from dispatchlake.words import in_words

QUIET_DAYS = 7
QUIET_SHARE = 0.1
QUIET_COUNT = 10
"""Silence is judged against at least so many days before it, of which at most this share brought nothing in
the same hours, and of which the median brought at least so many."""

WAITING_ADVICE = (
    "Nothing is lost. Land them now: dispatchlake land. If it fails, do what its sentence says; if it works, "
    "see that `dispatchlake land --every 15` runs (`dispatchlake up` starts it)."
)

_SILENT_ADVICE = (
    "First see that we can be reached: the receiver's /ready must answer from outside, and its log shows "
    "whether anybody asks. If it does, ask the vendor whether {center}'s webhooks are switched on."
)


class WebhookState(StrEnum):
    """How one kind of webhook of one center is, in words."""

    LATE = "late"
    SILENT = "silent"
    NOTHING_YET = "nothing yet"
    OK = "ok"
    UNREGISTERED = "not registered"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Webhook deliveries that are not in the lake yet.

    Attributes:
        oldest_received_at: When the first of them came; None if none waits.
        waited_s: From then to now, in seconds; 0 if none waits.
        late_after_s: Beyond this it is late.
    """

    count: int = 0
    oldest_received_at: datetime | None = None
    waited_s: float = 0.0
    late_after_s: float = 600.0

    @property
    def is_late(self) -> bool:
        """Say whether one waits for too long."""
        return self.count > 0 and self.waited_s > self.late_after_s

    @property
    def why(self) -> str:
        """Return how many wait, in a sentence."""
        if not self.count:
            return "No webhook delivery waits."
        return (
            f"{self.count:,} webhook deliveries wait to be landed, the oldest for {in_words(self.waited_s)}."
        )


@dataclass(frozen=True, slots=True)
class WebhookStanding:
    """One kind of webhook of one center, judged.

    Attributes:
        waiting: What of it is not in the lake yet.
        last_received_at: When the last delivery came, be it in the lake or not; None if none did.
        why: Why it is not ok, a plain sentence; "" if it is.
        advice: What to do about it; "" if nothing.
        notice: What was set aside in the last hour and why; "" if nothing. It may be ok all the same.
    """

    status: WebhookStatus
    waiting: Waiting
    last_received_at: datetime | None
    state: WebhookState
    why: str = ""
    advice: str = ""
    notice: str = ""

    @property
    def center_id(self) -> str:
        """Return the dispatch center."""
        return self.status.center_id

    @property
    def resource(self) -> str:
        """Return which webhook, as `raw_pages` and `quarantine` have it."""
        return self.status.resource

    @property
    def name(self) -> str:
        """Return center and webhook."""
        return f"{self.center_id} {self.resource}"

    @property
    def through(self) -> str:
        """Return when the last one came, in a sentence."""
        if self.last_received_at is None:
            return "Nothing was ever delivered."
        return f"The last delivery came {self.last_received_at:%F %H:%M} UTC."


def measure_waiting(settings: Settings) -> dict[tuple[str, str], Waiting]:
    """Return what waits in the spool, by center and webhook; nothing where nobody receives.

    Raises:
        SpoolError: It cannot be read.
    """
    if not (settings.spool_dir / NAME).exists():
        return {}
    now = datetime.now(UTC)
    with Spool.open(settings.spool_dir) as spool:
        found = spool.standings()
    return {
        (center_id, _resource(kind)): Waiting(
            one.count,
            one.oldest_received_at,
            max((now - one.oldest_received_at).total_seconds(), 0.0),
            settings.deliveries_late_after_s,
        )
        for (center_id, kind), one in found.items()
    }


def together(waiting: Collection[Waiting], late_after_s: float) -> Waiting:
    """Return what waits of all centers."""
    if not waiting:
        return Waiting(late_after_s=late_after_s)
    first = max(waiting, key=lambda one: one.waited_s)
    count = sum(one.count for one in waiting)
    return Waiting(count, first.oldest_received_at, first.waited_s, late_after_s)


def judge_webhooks(
    settings: Settings, landed: Iterable[WebhookStatus], waiting: dict[tuple[str, str], Waiting]
) -> tuple[WebhookStanding, ...]:
    """Return how the webhooks of each center stand that may deliver, or ever did.

    Of a center that may deliver and never did, both kinds are there: which it will send is not known.

    Args:
        settings: Where it is written who may deliver, and what counts as late.
        landed: What the lake says.
        waiting: What `measure_waiting` says.

    Raises:
        ConfigError: Who may deliver cannot be read.
    """
    known = {(one.center_id, one.resource): one for one in landed}
    names = {*known, *waiting}
    issued = set(CredentialFile(settings.webhooks_dir).current().centers)
    for center_id in issued - {center_id for center_id, _ in names}:
        names |= {(center_id, _resource(kind)) for kind in DeliveryKind}
    nothing = Waiting(late_after_s=settings.deliveries_late_after_s)
    return tuple(
        judge_webhook(
            known.get(name) or WebhookStatus(*name), waiting.get(name, nothing), may_deliver=name[0] in issued
        )
        for name in sorted(names)
    )


def judge_webhook(status: WebhookStatus, waiting: Waiting, *, may_deliver: bool) -> WebhookStanding:
    """Return how one kind of webhook of one center is."""
    received = [at for at in (status.last_received_at, waiting.oldest_received_at) if at is not None]
    state, why, advice = _state(status, waiting, may_deliver)
    notice = ""
    if status.quarantined_last_hour:
        notice = (
            f"{status.quarantined_last_hour:,} deliveries were set aside in the last hour, "
            f"{status.quarantined:,} lie in quarantine; the last because: {status.last_reason}."
        )
    return WebhookStanding(status, waiting, max(received, default=None), state, why, advice, notice)


def _state(status: WebhookStatus, waiting: Waiting, may_deliver: bool) -> tuple[WebhookState, str, str]:
    if waiting.is_late:
        return WebhookState.LATE, waiting.why, WAITING_ADVICE
    if not may_deliver:
        return WebhookState.UNREGISTERED, "", ""
    if status.last_received_at is None and not waiting.count:
        return WebhookState.NOTHING_YET, "", ""
    if is_silent(status) and not waiting.count:
        why = (
            f"Nothing was delivered for {status.hours_without_deliveries} h or more; usually "
            f"{status.usual_deliveries_meanwhile:,.0f} deliveries come in these hours."
        )
        return WebhookState.SILENT, why, _SILENT_ADVICE.format(center=status.center_id)
    return WebhookState.OK, "", ""


def is_silent(status: WebhookStatus) -> bool:
    """Say whether nothing came for hours in which something did on the days before."""
    return bool(
        status.hours_without_deliveries
        and status.days_compared >= QUIET_DAYS
        and status.days_without_deliveries <= QUIET_SHARE * status.days_compared
        and (status.usual_deliveries_meanwhile or 0) >= QUIET_COUNT
    )


def _resource(kind: DeliveryKind) -> str:
    return f"webhook:{kind}"
