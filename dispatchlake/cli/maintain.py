"""`dispatchlake maintain`: the lake kept small, here and now, without a Prefect server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.markup import escape

from dispatchlake.cli.terminal import console, table, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import MOST_DAYS, load_settings

if TYPE_CHECKING:  # DuckDB takes a while to import: not for --help
    from dispatchlake.lake.maintenance import MaintenanceReport


def maintain(*, keep_snapshots_days: float | None = None, keep_files_days: float | None = None) -> None:
    """Flush, rewrite, merge, expire, remove and compact; safe beside loads and queries.

    Exit status 1 if a step failed; the others were done all the same.

    Args:
        keep_snapshots_days: How far back the lake can be asked what it held, instead of the setting.
        keep_files_days: How long a file stays that no snapshot needs, instead of the setting: longer than
            any query runs.
    """
    for days in (keep_snapshots_days, keep_files_days):
        if days is not None and not 0 <= days <= MOST_DAYS:
            raise ConfigError(f"{days:g} is not a number of days to keep something. Give 0 to {MOST_DAYS:,}.")
    from dispatchlake.lake.lake import existing_zones
    from dispatchlake.lake.maintenance import maintain as keep_house
    from dispatchlake.lake.publishing import publish

    settings = load_settings()
    zones = existing_zones(settings)
    has_failed = False
    for zone in zones:
        with waiting("Maintaining the lake ..."):
            if zone == "open":
                publish(settings)
            report = keep_house(
                settings, zone=zone, keep_snapshots_days=keep_snapshots_days, keep_files_days=keep_files_days
            )
        if len(zones) > 1:
            console.print(f"\n[bold]The {zone} zone[/]")
        _show(report)
        has_failed |= bool(report.failed)
    if has_failed:
        sys.exit(1)


def _show(report: MaintenanceReport) -> None:
    from dispatchlake.lake.maintenance import STEPS, TABLES, TOTALS

    console.print(table(TOTALS, report.totals()))
    console.print()
    console.print(table(TABLES, report.tables()))
    console.print()
    steps = [
        [step.name, "failed" if step.error else "ok", step.done or None, step.seconds, step.held_s]
        for step in report.steps
    ]
    console.print(table(STEPS, steps))
    for step in report.failed:
        console.print(f"[red]{escape(step.name)}[/]: {escape(step.error)}", soft_wrap=True)
