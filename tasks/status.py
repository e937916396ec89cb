"""How all is, at the end of a run: the artifact `status`, the file of metrics, and what is to be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State as RunState
from prefect.states import Completed, Failed

from dispatchlake import metrics, redaction
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.lake import open_lake
from dispatchlake.quality import UNCHECKED, Quality
from dispatchlake.settings import Settings, load_settings
from dispatchlake.status import (
    DISK_ADVICE,
    WAITING_ADVICE,
    Overview,
    Standing,
    State,
    in_words,
    overview,
)
from tasks.alerts import report_unusable, tell_changes
from tasks.centers import load_register

MARKS = {
    State.OK: "🟢",
    State.SILENT: "🟡",
    State.FAILING: "🟡",
    State.UNREAD: "🟠",
    State.LATE: "🔴",
    State.LOGIN_FAILED: "🔴",
    State.DISABLED: "⚪",
    State.UNREGISTERED: "⚪",
}
"""Never without the word beside it: not everyone sees the colour."""

_LEGEND = (
    "Rows are incidents and versions new to the lake; usual is the median of the same hour on earlier days. "
    "What each word means and what to press: docs/status-and-alerts.md."
)

_COLUMNS = (
    "state", "center", "listing", "complete through (UTC)", "lag", "last success (UTC)", "last failure (UTC)",
    "rows, last hour", "usual", "quarantined", "logins, last hour",
)  # fmt: skip


def report_status(quality: Quality = UNCHECKED) -> None:
    """Publish how all is, and tell what changed; a fault here is shown and does not fail the run."""
    state = publish_status(return_state=True)
    if state.is_completed():
        tell_changes(replace(cast("Overview", state.result()), quality=quality), return_state=True)
    else:
        report_unusable(state.message or "The run's log says more.", return_state=True)


@task(task_run_name="status")
def publish_status() -> RunState[Any]:
    """Publish the artifact `status`, and the metrics where a file is set.

    Returns:
        Completed with the `Overview` as its data, or Failed with the error.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        settings = load_settings()
        with open_lake(settings) as lake:  # as the run has it open; another reader takes a tenth of a second
            view = overview(settings, load_register(), lake.status())
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    create_markdown_artifact(page(view), key="status", description=view.headline())
    _write_metrics(view, settings)
    return Completed(message=view.headline(), data=view)


def _write_metrics(view: Overview, settings: Settings) -> None:
    if settings.metrics_file is None:
        return
    try:
        metrics.write(view, settings.metrics_file)
    except ConfigError as error:
        get_run_logger().error("%s", error)


def page(view: Overview) -> str:
    """Return the page to read at 3 a.m.: what is wrong, why and what to press; then every listing."""
    lines = [f"{view.headline()}. As of {view.taken_at:%F %H:%M:%S} UTC.", ""]
    if troubles := _troubles(view):
        lines += ["## What to do", "", *troubles, ""]
    lines += ["## All listings", ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * 7}{' ---: |' * 4}"]
    lines += [f"| {' | '.join(_row(standing))} |" for standing in view.standings]
    lines += ["", f"{view.waiting.why} {view.disk.why} {_LEGEND}"]
    return "\n".join(lines)


def _troubles(view: Overview) -> list[str]:
    order = (State.LOGIN_FAILED, State.LATE, State.UNREAD, State.FAILING, State.SILENT)
    troubles = [
        f"- {MARKS[state]} **{standing.name}** is **{state}**. {standing.why} **Do:** {standing.advice}"
        for state in order
        for standing in view.standings
        if standing.state is state
    ]
    troubles += [
        f"- 🟡 **{standing.name}**: {standing.notice} **Do:** see why: `dispatchlake quarantine --center "
        f"{standing.listing.center_id}`"
        for standing in view.standings
        if standing.notice
    ]
    if view.disk.is_nearly_full:
        troubles.insert(0, f"- 🔴 **Disk**: {view.disk.why} **Do:** {DISK_ADVICE}")
    if view.waiting.is_late:
        troubles.insert(0, f"- 🔴 **Deliveries**: {view.waiting.why} **Do:** {WAITING_ADVICE}")
    return troubles


def _row(standing: Standing) -> list[str]:
    one = standing.listing
    moments = [
        f"{at:%F %H:%M}" if at else ""
        for at in (one.complete_through, one.last_success_at, one.last_failure_at)
    ]
    return [
        f"{MARKS[standing.state]} {standing.state}",
        one.center_id,
        one.resource,
        moments[0],
        "" if one.lag_s is None else in_words(one.lag_s),
        *moments[1:],
        f"{one.rows_last_hour:,}",
        "" if one.usual_rows_per_hour is None else f"{one.usual_rows_per_hour:,.0f}",
        f"{one.quarantined:,}",
        f"{one.logins_last_hour:,}",
    ]
