"""`dispatchlake recover`: runs whose process is gone are ended, and resumed where that is wanted."""

from __future__ import annotations

import threading

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

LEAST_EVERY_S = 5.0


def recover(*, every: float | None = None) -> None:
    """End runs that Prefect has under way and whose process is gone; begin again those that resume.

    Run it on every machine that has a worker, beside the worker. It is safe at any time: a run that is alive
    or has ended is left alone.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 60 is a good number. Once if not given.
    """
    if every is not None and every < LEAST_EVERY_S:
        raise ConfigError(f"Every {every:g} s is too often. Give {LEAST_EVERY_S:g} or more.")
    with prefect_api(load_settings()):
        from tasks.recovery import keep_recovering
        from tasks.recovery import recover as look_after_runs

        if every is None:
            _tell(look_after_runs().headline())
        else:
            keep_recovering(every, threading.Event(), _tell)


def _tell(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
