"""How each listing and webhook stands, as `status` and `webhook_status` say it. Nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake import reading
from dispatchlake.lake.connection import catalog_path


@dataclass(frozen=True, slots=True)
class ListingStatus:
    """One row of the view `status`; a listing that was never read has the defaults.

    Attributes:
        complete_through: Everything changed before it has been read; None before the first success.
        lag_s: From then to now, in seconds.
        last_error: The sentence of the last failure of the last 28 days, recovered from or not.
        failures_in_a_row: Failed tries since the last success; 0 while all is well.
        rows_last_hour: Incidents and versions that were new to us.
        usual_rows_per_hour: Median of the same hour of earlier days; None without 3 of them.
        hours_without_rows: Whole hours since the last row that was new; None if there never was one.
        usual_rows_meanwhile: Median of what came on earlier days in the same hours.
        days_compared: Earlier days that were looked at for that.
        days_without_rows: How many of them brought none in those hours.
        quarantined: Records in quarantine.
        quarantined_last_hour: Those of them that we received in the last hour.
        logins_last_hour: Requests to the token endpoint for this listing, backfills' too.
    """

    center_id: str
    resource: str
    complete_through: datetime | None = None
    lag_s: float | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_error: str | None = None
    last_error_class: str | None = None
    failures_in_a_row: int = 0
    rows_last_hour: int = 0
    usual_rows_per_hour: float | None = None
    hours_without_rows: int | None = None
    usual_rows_meanwhile: float | None = None
    days_compared: int = 0
    days_without_rows: int = 0
    quarantined: int = 0
    quarantined_last_hour: int = 0
    logins_last_hour: int = 0


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """One row of the view `webhook_status`; what was never delivered has the defaults.

    Attributes:
        resource: `webhook:incident-events` or `webhook:cad`.
        last_received_at: When the last delivery came that is in the lake.
        last_landed_at: When deliveries last went into the lake.
        deliveries_last_hour: That landed in it.
        usual_deliveries_per_hour: Median of the same hour of earlier days; None without 3 of them.
        hours_without_deliveries: Whole hours since the last landed; None if none ever did.
        usual_deliveries_meanwhile: Median of what landed in the same hours of the days before that.
        days_compared: Days that were looked at for that.
        days_without_deliveries: How many of them brought none in those hours.
        quarantined: Deliveries in quarantine; of equal ones, one.
        quarantined_last_hour: Deliveries that were set aside in the last hour.
        last_reason: Why the last of those in quarantine is there; never a value.
    """

    center_id: str
    resource: str
    last_received_at: datetime | None = None
    last_landed_at: datetime | None = None
    deliveries_last_hour: int = 0
    usual_deliveries_per_hour: float | None = None
    hours_without_deliveries: int | None = None
    usual_deliveries_meanwhile: float | None = None
    days_compared: int = 0
    days_without_deliveries: int = 0
    quarantined: int = 0
    quarantined_last_hour: int = 0
    last_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """How all stands: listings that were ever tried, webhooks that were ever delivered, each by center."""

    listings: list[ListingStatus] = field(default_factory=list)
    webhooks: list[WebhookStatus] = field(default_factory=list)


def read_figures(lake_dir: Path) -> Figures:
    """Return how all stands; nothing where there is no lake.

    Raises:
        LakeError: The lake cannot be read, or was not opened for writing since this version was installed.
    """
    if not catalog_path(lake_dir).exists():
        return Figures()
    with reading.connect_unnoted(lake_dir) as connection:
        try:
            return ask_figures(connection)
        except duckdb.CatalogException as error:
            raise LakeError(
                "The lake has no status yet: an older version of dispatchlake made it. The next ingest run "
                "brings it up to date."
            ) from error
        except duckdb.Error as error:
            raise LakeError(f"The status cannot be read ({type(error).__name__}).") from error


def ask_figures(connection: duckdb.DuckDBPyConnection) -> Figures:
    """Return how all stands."""
    return Figures(
        [ListingStatus(*row) for row in _rows(connection, "status", ListingStatus)],
        [WebhookStatus(*row) for row in _rows(connection, "webhook_status", WebhookStatus)],
    )


def _rows(connection: duckdb.DuckDBPyConnection, view: str, of: type) -> list[tuple[Any, ...]]:
    names = ", ".join(one.name for one in fields(of))
    return connection.execute(f"SELECT {names} FROM {view} ORDER BY center_id, resource").fetchall()
