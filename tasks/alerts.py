"""Telling what changed: Prefect events, which the automations of `tasks.automations` turn into messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from filelock import FileLock, Timeout
from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.states import Completed, Failed

from dispatchlake import redaction
from dispatchlake.alerts import RECOVERED, Alert, Condition, decide
from dispatchlake.errors import CatalogBusy, DispatchLakeError
from dispatchlake.folders import private_folder
from dispatchlake.lake import open_lake
from dispatchlake.settings import Settings, load_settings
from dispatchlake.status import Overview

EVENTS = {
    Condition.LOGIN_FAILED: "dispatchlake.center.login-failed",
    Condition.LATE: "dispatchlake.center.late",
    Condition.SILENT: "dispatchlake.center.silent",
    Condition.QUARANTINE_GREW: "dispatchlake.quarantine.grew",
    Condition.DISK_NEARLY_FULL: "dispatchlake.disk.nearly-full",
    Condition.DELIVERIES_WAIT: "dispatchlake.deliveries.wait",
    Condition.QUALITY_DROPPED: "dispatchlake.quality.dropped",
    Condition.OPEN_ZONE_LATE: "dispatchlake.open-zone.late",
    Condition.ERASURE_UNFINISHED: "dispatchlake.erasure.unfinished",
    RECOVERED: "dispatchlake.recovered",
}
"""The event of each condition; its payload has a `subject` and a `body`, sentences of ours."""

UNUSABLE = "dispatchlake.lake.unusable"
"""The lake could not be asked how all is. Each run says so: no memory is kept then."""


@task(task_run_name="alerts")
def tell_changes(view: Overview) -> State[Any]:
    """Emit an event for each condition that began, that still holds a day later, or that is over.

    One run at a time: another that ends meanwhile waits, and finds what was told. That is kept in the lake
    once the events have been sent: being stopped in between tells twice.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        settings = load_settings()
        with _telling(settings), open_lake(settings) as lake:
            before = lake.told()
            alerts, now = decide(view, before)
            for alert in alerts:
                logger.warning("%s. %s", alert.subject, alert.body.replace("\n", " "))
                _emit(EVENTS[alert.what], alert)
            EventsWorker.instance().wait_until_empty()
            lake.remember_told(before, now)
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    return Completed(message=f"{len(alerts)} told" if alerts else "Nothing changed", data=len(alerts))


@contextlib.contextmanager
def _telling(settings: Settings) -> Iterator[None]:
    """Let one run tell at a time. Not by the writers' lock: loads do not wait until messages are sent.

    Raises:
        CatalogBusy: Another run has been telling for too long.
        ConfigError: The folder of the lock cannot be used.
    """
    file = private_folder(settings.state_dir) / "alerts.lock"
    lock = FileLock(file, timeout=settings.lock_wait_s, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise CatalogBusy(
            f"Another run has been telling what changed for more than {settings.lock_wait_s:.0f} s, perhaps "
            "as Prefect's server is away. What this one would have told, the next run tells."
        ) from None
    try:
        yield
    finally:
        lock.release()


@task(task_run_name="alerts")
def report_unusable(sentence: str) -> None:
    """Emit an event that says why it is not known how all is."""
    _emit(UNUSABLE, Alert("unusable", "", "The lake cannot be used", sentence))


def _emit(event: str, alert: Alert) -> None:
    resource_id = f"dispatchlake.center.{alert.center_id}" if alert.center_id else "dispatchlake.lake"
    emit_event(
        event,
        resource={"prefect.resource.id": resource_id, "prefect.resource.name": alert.center_id or "lake"},
        payload={"subject": f"dispatchlake: {alert.subject}", "body": alert.body},
    )
