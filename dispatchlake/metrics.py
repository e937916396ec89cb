"""The figures of the status in Prometheus's text format; names carry their units.

A lag grows while nothing writes it: where ingestion itself may stop, alert on `time() -
dispatchlake_complete_through_timestamp_seconds`, or on the age of `dispatchlake_status_timestamp_seconds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest, write_to_textfile

from dispatchlake.deliveries import WebhookStanding, WebhookState
from dispatchlake.errors import ConfigError
from dispatchlake.status import Overview, Standing, State, Subject


def _unix_s(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()


_LISTING_GAUGES: dict[str, tuple[str, Callable[[Standing], float | None]]] = {
    "dispatchlake_lag_seconds": (
        "From the time a listing is complete through to now; absent until it was read once.",
        lambda s: s.listing.lag_s,
    ),
    "dispatchlake_complete_through_timestamp_seconds": (
        "Everything changed before it has been read.",
        lambda s: _unix_s(s.listing.complete_through),
    ),
    "dispatchlake_last_success_timestamp_seconds": (
        "When a listing was last read to its end.",
        lambda s: _unix_s(s.listing.last_success_at),
    ),
    "dispatchlake_last_failure_timestamp_seconds": (
        "When reading a listing last failed; absent if it did not in four weeks.",
        lambda s: _unix_s(s.listing.last_failure_at),
    ),
    "dispatchlake_failures_in_a_row": (
        "Failed tries since the last success.",
        lambda s: s.listing.failures_in_a_row,
    ),
    "dispatchlake_rows_last_hour": (
        "Incidents and versions new to the lake in the last hour.",
        lambda s: s.listing.rows_last_hour,
    ),
    "dispatchlake_usual_rows_per_hour": (
        "Median of the same hour of earlier days; absent without three of them.",
        lambda s: s.listing.usual_rows_per_hour,
    ),
    "dispatchlake_quarantined_records": (
        "Records in quarantine.",
        lambda s: s.listing.quarantined,
    ),
    "dispatchlake_logins_last_hour": (
        "Requests to the center's token endpoint in the last hour.",
        lambda s: s.listing.logins_last_hour,
    ),
}


_WEBHOOK_GAUGES: dict[str, tuple[str, Callable[[WebhookStanding], float | None]]] = {
    "dispatchlake_webhook_last_delivery_timestamp_seconds": (
        "When the last delivery came; absent until one did.",
        lambda s: _unix_s(s.last_received_at),
    ),
    "dispatchlake_webhook_deliveries_last_hour": (
        "Deliveries that landed in the last hour.",
        lambda s: s.status.deliveries_last_hour,
    ),
    "dispatchlake_webhook_usual_deliveries_per_hour": (
        "Median of the same hour of earlier days; absent without three of them.",
        lambda s: s.status.usual_deliveries_per_hour,
    ),
    "dispatchlake_webhook_waiting_deliveries": (
        "Deliveries not landed yet.",
        lambda s: s.waiting.count,
    ),
    "dispatchlake_webhook_quarantined_deliveries": (
        "Deliveries in quarantine.",
        lambda s: s.status.quarantined,
    ),
}


_LABELS = ("center", "resource")


def registry_of(view: Overview) -> CollectorRegistry:
    """Return the figures as metrics, labelled by center and resource."""
    registry = CollectorRegistry()
    for name, (text, value_of) in _LISTING_GAUGES.items():
        values = {(s.center_id, s.resource): value_of(s) for s in view.standings}
        _add(registry, name, text, values)
    for name, (text, value_of_webhook) in _WEBHOOK_GAUGES.items():
        values = {(s.center_id, s.resource): value_of_webhook(s) for s in view.webhooks}
        _add(registry, name, text, values)
    _add_states(registry, "dispatchlake_state", "listing", view.standings, State)
    _add_states(registry, "dispatchlake_webhook_state", "webhook", view.webhooks, WebhookState)
    for name, text, number in (
        ("dispatchlake_disk_free_bytes", "Room left on the data folder's disk.", view.disk.free_bytes),
        ("dispatchlake_disk_size_bytes", "Size of the data folder's disk.", view.disk.total_bytes),
        ("dispatchlake_waiting_deliveries", "Webhook deliveries not landed yet.", view.waiting.count),
        (
            "dispatchlake_oldest_delivery_wait_seconds",
            "How long the oldest of them has waited; 0 if none does.",
            view.waiting.waited_s,
        ),
        (
            "dispatchlake_open_zone_behind_seconds",
            "How long the open zone has been behind the restricted one; 0 if it shows all.",
            view.open_zone.behind_s,
        ),
        (
            "dispatchlake_status_timestamp_seconds",
            "When these figures were taken.",
            view.taken_at.timestamp(),
        ),
    ):
        Gauge(name, text, registry=registry).set(number)
    return registry


def _add(
    registry: CollectorRegistry, name: str, text: str, values: Mapping[tuple[str, str], float | None]
) -> None:
    gauge = Gauge(name, text, _LABELS, registry=registry)
    for labels, value in values.items():
        if value is not None:
            gauge.labels(*labels).set(value)


def _add_states(
    registry: CollectorRegistry, name: str, what: str, subjects: Sequence[Subject], states: type[StrEnum]
) -> None:
    gauge = Gauge(
        name, f"1 for the state a {what} is in, 0 for others.", [*_LABELS, "state"], registry=registry
    )
    for subject in subjects:
        for one in states:
            gauge.labels(subject.center_id, subject.resource, one).set(one is subject.state)


def to_text(view: Overview) -> str:
    """Return the figures as Prometheus reads them."""
    return generate_latest(registry_of(view)).decode()


def write(view: Overview, file: Path) -> None:
    """Write the figures to a file, whole or not at all: for node_exporter's textfile collector.

    Raises:
        ConfigError: It cannot be written, or its name does not end in .prom, and would be ignored.
    """
    if file.suffix != ".prom":
        raise ConfigError(
            f"The metrics' file {file} must end in .prom: the textfile collector reads no other."
        )
    try:
        write_to_textfile(str(file), registry_of(view))
    except OSError as error:
        raise ConfigError(f"The metrics cannot be written to {file}: {error.strerror}.") from None
