"""What the commands with `--every` share: how often is too often, how they end, where they say something."""

from __future__ import annotations

import signal
from types import FrameType

from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.stop import Stop

_MOST_S = 86_400.0


def refuse_too_often(every_s: float | None, *, least_s: float = 1.0) -> None:
    """Raise ConfigError for a pause that is shorter than is good, longer than a day, or no number."""
    if every_s is None or least_s <= every_s <= _MOST_S:
        return
    what = "too often" if every_s < least_s else "no pause between two looks"
    raise ConfigError(f"Every {every_s:g} s is {what}. Give {least_s:g} to {_MOST_S:g}.")


def stopped_by_signals() -> Stop:
    """Return what SIGINT and SIGTERM ask to stop from now on, instead of ending this process."""
    stop = Stop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop


def tell(text: str) -> None:
    """Say something in a line of its own, however long."""
    console.print(text, markup=False, soft_wrap=True)
