"""`dispatchlake land`: webhook deliveries that wait go into the lake, once or all the time."""

from __future__ import annotations

from dispatchlake.cli.repeated import refuse_too_often, stopped_by_signals, tell
from dispatchlake.settings import load_settings


def land(*, every: float | None = None) -> None:
    """Land the webhook deliveries that wait in the spool.

    Each ingest run does so too, and so does `dispatchlake up` every 15 seconds. It is safe at any time and
    beside any other: a delivery lands once.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 15 is a good number. Once if not given.
    """
    refuse_too_often(every)
    from dispatchlake import landing, redaction

    redaction.install()
    settings = load_settings()
    if every is None:
        tell(f"{landing.land_and_publish(settings).sentence()}.")
    else:
        landing.keep_landing(settings, every_s=every, stop=stopped_by_signals(), tell=tell)
