"""`dispatchlake land`: webhook deliveries that wait go into the lake, once or all the time."""

from __future__ import annotations

import signal
from types import FrameType

from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

LEAST_EVERY_S = 1.0


def land(*, every: float | None = None) -> None:
    """Land the webhook deliveries that wait in the spool.

    Each ingest run does so too, and so does `dispatchlake up` every 15 seconds. It is safe at any time and
    beside any other: a delivery lands once.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 15 is a good number. Once if not given.
    """
    if every is not None and every < LEAST_EVERY_S:
        raise ConfigError(f"Every {every:g} s is too often. Give {LEAST_EVERY_S:g} or more.")
    from dispatchlake import landing, redaction
    from dispatchlake.stop import Stop

    redaction.install()
    settings = load_settings()
    if every is None:
        _tell(f"{landing.land_deliveries(settings).sentence()}.")
        return
    stop = Stop()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    landing.keep_landing(settings, every_s=every, stop=stop, tell=_tell)


def _tell(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
