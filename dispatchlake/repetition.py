"""Doing something again and again, as a process does that looks every few seconds whether there is work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dispatchlake.errors import Cancelled, DispatchLakeError
from dispatchlake.stop import Stop


def repeat(
    do: Callable[[], str],
    *,
    every_s: float,
    stop: Stop,
    tell: Callable[[str], None],
    final: tuple[type[DispatchLakeError], ...] = (),
) -> None:
    """Do something now and again after every pause, until asked to stop; a known failure ends nothing.

    Args:
        do: Returns what is to be told of it, or "" for nothing.
        every_s: Pause between two tries, in seconds.
        stop: Ends the pause too.
        tell: Given what `do` returns, and why it failed where that is another reason than the last time.
        final: Failures that another try cannot mend; they are raised.
    """
    trouble = ""
    with contextlib.suppress(Cancelled):
        while True:
            try:
                done = do()
            except final:
                raise
            except DispatchLakeError as error:
                if str(error) != trouble:
                    tell(f"{error} It is tried again every {every_s:g} s.")
                trouble = str(error)
            else:
                trouble = ""
                if done:
                    tell(done)
            stop.sleep(every_s)
