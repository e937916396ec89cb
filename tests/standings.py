"""Listings and overviews built by hand, for what judges, shows or tells them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dispatchlake.deliveries import Waiting, judge_webhook
from dispatchlake.lake.standing import ListingStatus, WebhookStatus
from dispatchlake.open_zone import OpenZone
from dispatchlake.status import Disk, Overview, judge

NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
LATE_AFTER_S = 900.0


def listing(center_id: str = "houston-tx", resource: str = "cad_incidents", **fields: Any) -> ListingStatus:
    """Return a listing that is well and complete through a minute ago, unless told otherwise."""
    lag_s = fields.pop("lag_s", 60.0)
    well: dict[str, Any] = {
        "complete_through": None if lag_s is None else NOW - timedelta(seconds=lag_s),
        "lag_s": lag_s,
        "rows_last_hour": 40,
        "usual_rows_per_hour": 41.0,
        "hours_without_rows": 0,
    }
    return ListingStatus(center_id, resource, **(well | fields))


def failing(
    center_id: str = "houston-tx", error_class: str = "CenterUnavailable", **fields: Any
) -> ListingStatus:
    """Return a listing that has failed twice."""
    error = fields.pop("last_error", f"{center_id}: it did not answer.")
    return listing(center_id, last_error=error, last_error_class=error_class, failures_in_a_row=2, **fields)


def silent(center_id: str = "houston-tx", **fields: Any) -> ListingStatus:
    """Return a listing that answers, and brings nothing when usually something comes."""
    usual: dict[str, Any] = {
        "rows_last_hour": 0, "hours_without_rows": 5, "usual_rows_meanwhile": 60.0, "days_compared": 20,
        "days_without_rows": 1,
    }  # fmt: skip
    return listing(center_id, **(usual | fields))


def webhook(center_id: str = "houston-tx", resource: str = "webhook:cad", **fields: Any) -> WebhookStatus:
    """Return a webhook that is well and delivered a minute ago, unless told otherwise."""
    well: dict[str, Any] = {
        "last_received_at": NOW - timedelta(minutes=1),
        "last_landed_at": NOW,
        "deliveries_last_hour": 40,
        "usual_deliveries_per_hour": 41.0,
        "hours_without_deliveries": 0,
    }
    return WebhookStatus(center_id, resource, **(well | fields))


def silent_webhook(center_id: str = "houston-tx", **fields: Any) -> WebhookStatus:
    """Return a webhook that brings nothing when usually something comes."""
    usual: dict[str, Any] = {
        "deliveries_last_hour": 0, "hours_without_deliveries": 5, "usual_deliveries_meanwhile": 60.0,
        "days_compared": 20, "days_without_deliveries": 1,
    }  # fmt: skip
    return webhook(center_id, **(usual | fields))


def view(
    *subjects: ListingStatus | WebhookStatus,
    at: datetime = NOW,
    used: float = 0.5,
    full_share: float = 0.9,
    waited_s: float = 0.0,
    behind_s: float = 0.0,
) -> Overview:
    """Return the overview of these listings and webhooks, all registered, on a disk that is used so far.

    Where `waited_s` is given, two deliveries wait, the older for so long; where `behind_s` is, the open zone
    is behind for that.
    """
    standings = tuple(
        judge(one, is_enabled=True, late_after_s=LATE_AFTER_S)
        for one in subjects
        if isinstance(one, ListingStatus)
    )
    webhooks = tuple(
        judge_webhook(one, Waiting(), may_deliver=True) for one in subjects if isinstance(one, WebhookStatus)
    )
    disk = Disk(round(1000 * 10**9 * (1 - used)), 1000 * 10**9, full_share)
    waiting = Waiting(2, at - timedelta(seconds=waited_s), waited_s) if waited_s else Waiting()
    open_zone = OpenZone(at - timedelta(seconds=behind_s), behind_s)
    return Overview(at, standings, disk, waiting, webhooks, open_zone=open_zone)
