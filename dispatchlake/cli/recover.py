"""`dispatchlake recover`: runs whose process is gone are ended, and resumed where that is wanted."""

from __future__ import annotations

import threading

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.repeated import refuse_too_often, tell
from dispatchlake.settings import load_settings

LEAST_EVERY_S = 5.0


def recover(*, every: float | None = None) -> None:
    """End runs that Prefect has under way and whose process is gone; begin again those that resume.

    Run it on every machine that has a worker, beside the worker. It is safe at any time: a run that is alive
    or has ended is left alone.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 60 is a good number. Once if not given.
    """
    refuse_too_often(every, least_s=LEAST_EVERY_S)
    with prefect_api(load_settings()):
        from tasks.recovery import keep_recovering
        from tasks.recovery import recover as look_after_runs

        if every is None:
            tell(look_after_runs().headline())
        else:
            keep_recovering(every, threading.Event(), tell)
