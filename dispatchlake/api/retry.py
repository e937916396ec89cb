"""When a request is tried again, and after how long: seconds, under one budget. Minutes are the task's."""

from __future__ import annotations

import contextvars
import email.utils
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import tenacity

from dispatchlake.errors import CenterError, is_transient

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0

_ends_s: contextvars.ContextVar[float] = contextvars.ContextVar("ends_s", default=math.inf)
"""When the budget of the call we are in ends, on the monotonic clock: a login within a request has no own."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a failing request may be tried again.

    Attributes:
        budget_s: Seconds from the first try after which no further one begins.
    """

    budget_s: float
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def run(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds, fails for good, or the budget is spent.

        Waits as long as the server asked (Retry-After), else exponentially longer with jitter. A wait that
        would outlast the budget is not begun; within another call, neither is one that outlasts its budget.
        """
        began_s = time.monotonic()
        ends_s = min(began_s + self.budget_s, _ends_s.get())
        jittered = tenacity.wait_exponential_jitter(
            multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S, jitter=FIRST_WAIT_S
        )

        def wait_s(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked_s = error.retry_after_s if isinstance(error, CenterError) else None
            # Asked to wait for no time at all, we back off as if not asked.
            return asked_s or float(jittered(state))

        def report(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            logger.info("Trying again (%s): %s", state.attempt_number, error)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=wait_s,
            stop=tenacity.stop_before_delay(max(0.0, ends_s - began_s)),
            sleep=self.sleep,
            before_sleep=report,
            reraise=True,
        )
        within = _ends_s.set(ends_s)
        try:
            return retrying(attempt)
        finally:
            _ends_s.reset(within)


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds an answer asks us to wait, or None where it asks for none.

    A date counts from the one the answer itself bears: our clock may be wrong, the difference is not.
    """
    return parse_retry_after(headers.get("retry-after"), now=http_date(headers.get("date")))


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds a Retry-After header asks for (RFC 9110, 10.2.3), or None where it says nothing.

    Takes seconds and HTTP dates; a date in the past is zero.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    instant = http_date(text)
    return None if instant is None else max(0.0, (instant - (now or datetime.now(UTC))).total_seconds())


def http_date(text: str | None) -> datetime | None:
    """Return the instant that a header names (RFC 9110, 5.6.7), or None where it names none."""
    try:
        instant = email.utils.parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
