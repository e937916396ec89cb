"""`dispatchlake status` and `metrics`: the same judgement for people, for scripts and for Prometheus."""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.text import Text

from dispatchlake.cli.prefect_api import has_server, is_answering, prefect_api
from dispatchlake.cli.terminal import console, errors, fitting_table
from dispatchlake.settings import Settings, load_settings

if TYPE_CHECKING:  # DuckDB takes a while to import: not for --help
    from dispatchlake.deliveries import WebhookStanding
    from dispatchlake.status import Overview, Register, Standing, Subject

_COLOURS = {
    "ok": "green",
    "silent": "yellow",
    "failing": "yellow",
    "never read": "yellow",
    "late": "bold red",
    "login failed": "bold red",
    "nothing yet": "dim",
}

_COLUMNS = [
    "", "state", "complete through", "lag", "last success", "last failure", "rows, last hour", "usual",
    "quarantined", "logins, last hour",
]  # fmt: skip
_LEAST_WANTED = [
    "logins, last hour", "usual", "last failure", "last success", "quarantined", "rows, last hour",
]  # fmt: skip

_WEBHOOK_COLUMNS = [
    "", "state", "last delivery", "deliveries, last hour", "usual", "waiting", "quarantined",
]  # fmt: skip
_LEAST_WANTED_OF_WEBHOOKS = ["usual", "quarantined", "deliveries, last hour"]


def status(*, json: bool = False, check: bool = False, lake_only: bool = False) -> None:
    """Show how each dispatch center and listing stands: complete through when, why not, what to press.

    With --check the exit status is 1 when records are missing: something is late, failing, refused at login,
    was never read, or was delivered and waits too long; or there is no lake. It is 0 otherwise, and always
    without --check.

    Args:
        json: Print it as JSON, for scripts.
        check: Let the exit status say whether all is well; for a cron job or a health check.
        lake_only: Ask the lake alone and not the Prefect server which centers are registered: quicker, but a
            center that was never tried is not shown, and one that was removed or disabled looks late.
    """
    view = _overview(load_settings(), lake_only=lake_only)
    if json:
        _print_json(view)
    else:
        _show(view)
    if check and not view.is_well:
        sys.exit(1)


def metrics(*, file: Path | None = None, lake_only: bool = False) -> None:
    """Print the figures of the status in Prometheus's text format, or write them to a file.

    Args:
        file: Write them here, whole or not at all; the name must end in .prom (node_exporter's textfile
            collector). Each ingest run does the same where the setting DISPATCHLAKE_METRICS_FILE is given.
        lake_only: As for `dispatchlake status`.
    """
    from dispatchlake.metrics import to_text, write

    view = _overview(load_settings(), lake_only=lake_only)
    if file is None:
        sys.stdout.write(to_text(view))
    else:
        write(view, file)


def _overview(settings: Settings, *, lake_only: bool) -> Overview:
    register = None if lake_only else _register(settings)
    from dispatchlake.status import overview

    return overview(settings, register)


def _register(settings: Settings) -> Register | None:
    """Return which listings are registered, or None where no server can be asked: the lake still can."""
    if not has_server(settings):  # looking makes none
        return None
    url = os.environ.get("PREFECT_API_URL")
    if url and not is_answering(url):
        errors.print(
            f"The Prefect server at {url} does not answer: centers that were never tried are not shown.",
            soft_wrap=True,
        )
        return None
    with prefect_api(settings):
        from tasks.centers import load_register

        return load_register()


def _show(view: Overview) -> None:
    if view.standings:
        _show_table(_COLUMNS, map(_row, view.standings), _LEAST_WANTED)
    if view.webhooks:
        _show_table(_WEBHOOK_COLUMNS, map(_webhook_row, view.webhooks), _LEAST_WANTED_OF_WEBHOOKS)
    for subject in view.subjects:
        _show_trouble(subject)
    if view.waiting.is_late:
        from dispatchlake.deliveries import WAITING_ADVICE

        console.print(f"\n[bold red]{view.waiting.why}[/]\n  {WAITING_ADVICE}", soft_wrap=True)
    elif view.waiting.count:
        console.print(f"\n{view.waiting.why}", soft_wrap=True)
    if view.open_zone.is_late:
        from dispatchlake.open_zone import OPEN_ZONE_ADVICE

        console.print(f"\n[bold red]{view.open_zone.why}[/]\n  {OPEN_ZONE_ADVICE}", soft_wrap=True)
    if view.erasing.count:
        from dispatchlake.pending_erasures import ERASING_ADVICE

        colour = "bold red" if view.erasing.is_stuck else "yellow"
        console.print(f"\n[{colour}]{view.erasing.why}[/]\n  {ERASING_ADVICE}", soft_wrap=True)
    if view.disk.is_nearly_full:
        from dispatchlake.status import DISK_ADVICE

        console.print(f"\n[bold red]{view.disk.why}[/]\n  {DISK_ADVICE}", soft_wrap=True)
    if view.without_lake:
        console.print(f"\n[bold red]{escape(view.without_lake)}[/]", soft_wrap=True)
    console.print(f"\n[bold]{view.headline()}.[/]", soft_wrap=True)


def _show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], least_wanted: Sequence[str]) -> None:
    grid, left_out = fitting_table(columns, rows, least_wanted=least_wanted)
    console.print(grid)
    if left_out:
        told = "; ".join(name for name in columns if name in left_out)
        console.print(
            f"[dim]Too narrow here for: {told}. A wider terminal or --json shows all.[/]", soft_wrap=True
        )


def _show_trouble(subject: Subject) -> None:
    if subject.why:
        colour = _COLOURS.get(subject.state, "")
        console.print(
            f"\n[{colour}]{subject.name} is {subject.state}[/]: {escape(subject.why)}", soft_wrap=True
        )
        console.print(f"  {escape(subject.advice)}", soft_wrap=True)
    if subject.notice:
        console.print(f"\n[yellow]{subject.name}[/]: {escape(subject.notice)}", soft_wrap=True)
        console.print(f"  See why: dispatchlake quarantine --center {subject.center_id}", soft_wrap=True)


def _row(standing: Standing) -> list[Any]:
    from dispatchlake.words import in_words

    one = standing.listing
    usual = None if one.usual_rows_per_hour is None else round(one.usual_rows_per_hour)
    return [
        standing.name,
        Text(standing.state, style=_COLOURS.get(standing.state, "dim")),
        one.complete_through,
        None if one.lag_s is None else in_words(one.lag_s),
        one.last_success_at,
        one.last_failure_at,
        one.rows_last_hour,
        usual,
        one.quarantined,
        one.logins_last_hour,
    ]


def _webhook_row(standing: WebhookStanding) -> list[Any]:
    one = standing.status
    usual = one.usual_deliveries_per_hour
    return [
        standing.name,
        Text(standing.state, style=_COLOURS.get(standing.state, "dim")),
        standing.last_received_at,
        one.deliveries_last_hour,
        None if usual is None else round(usual),
        standing.waiting.count,
        one.quarantined,
    ]


def _print_json(view: Overview) -> None:
    def plain(value: Any) -> str:
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(type(value).__name__)

    content = {
        "taken_at": view.taken_at,
        "headline": view.headline(),
        "is_well": view.is_well,
        "has_lake": not view.without_lake,
        "disk": {**asdict(view.disk), "is_nearly_full": view.disk.is_nearly_full},
        "deliveries": {**asdict(view.waiting), "is_late": view.waiting.is_late},
        "open_zone": {**asdict(view.open_zone), "is_late": view.open_zone.is_late},
        "erasures": {**asdict(view.erasing), "is_stuck": view.erasing.is_stuck},
        "listings": [
            {
                **asdict(standing.listing),
                "state": standing.state,
                "why": standing.why,
                "advice": standing.advice,
                "notice": standing.notice,
            }
            for standing in view.standings
        ],
        "webhooks": [
            {
                **asdict(standing.status),
                "last_received_at": standing.last_received_at,
                "waiting": standing.waiting.count,
                "oldest_waiting_received_at": standing.waiting.oldest_received_at,
                "state": standing.state,
                "why": standing.why,
                "advice": standing.advice,
                "notice": standing.notice,
            }
            for standing in view.webhooks
        ],
    }
    sys.stdout.write(json_module.dumps(content, default=plain, indent=2) + "\n")
