from __future__ import annotations

import email.utils
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatchlake.api import retry as retry_module
from dispatchlake.api.retry import RetryPolicy, parse_retry_after
from dispatchlake.errors import (
    AuthRejected,
    CenterError,
    CenterUnavailable,
    ConfigError,
    ContractBroken,
    RateLimited,
    RequestRejected,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Attempts:
    """Fails with these errors in turn, the last one for ever; None succeeds."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error
        return "done"


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock


def waits_of(attempts: Attempts, budget_s: float) -> tuple[object, list[float]]:
    """Run without sleeping; return the outcome and the waits that were asked for."""
    waits: list[float] = []
    try:
        outcome: object = RetryPolicy(budget_s, sleep=waits.append).run(attempts)
    except CenterError as error:
        outcome = error
    return outcome, waits


@pytest.mark.parametrize("error", [CenterUnavailable("x"), RateLimited("x")])
def test_a_passing_fault_is_tried_again_until_it_has_passed(error: CenterError) -> None:
    attempts = Attempts(error, error, None)

    outcome, waits = waits_of(attempts, 10)

    assert outcome == "done"
    assert attempts.count == 3
    assert len(waits) == 2


@pytest.mark.parametrize(
    "error",
    [
        AuthRejected("x", retry_after_s=1),
        RequestRejected("x"),
        ContractBroken("x"),
        ConfigError("x"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_a_permanent_fault_is_raised_at_once(error: Exception) -> None:
    attempts = Attempts(error)

    with pytest.raises(type(error)):
        RetryPolicy(60, sleep=lambda _seconds: pytest.fail("slept")).run(attempts)

    assert attempts.count == 1


def test_waits_grow_and_are_never_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "FIRST_WAIT_S", 0.5)

    _, waits = waits_of(Attempts(CenterUnavailable("x")), 25)
    _, others = waits_of(Attempts(CenterUnavailable("x")), 25)

    for number, wait_s in enumerate(waits):
        assert 0.5 * 2**number <= wait_s <= 0.5 * 2**number + 0.5
    assert len(waits) == 6  # 0.5, 1, 2, 4, 8, 16; the next would be longer than the budget
    assert waits != others


def test_no_wait_is_longer_than_the_longest() -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RetryPolicy(1e9, sleep=sleep).run(Attempts(CenterUnavailable("x")))

    assert max(waits) == retry_module.LONGEST_WAIT_S


def test_no_wait_begins_that_would_outlast_the_budget(clock: Clock) -> None:
    attempts = Attempts(CenterUnavailable("x", retry_after_s=2))

    with pytest.raises(CenterUnavailable):
        RetryPolicy(5, sleep=clock.sleep).run(attempts)

    assert attempts.count == 3
    assert clock.now_s == 4


def test_the_time_that_tries_take_counts_too(clock: Clock) -> None:
    def attempt() -> None:
        clock.sleep(10)
        raise CenterUnavailable("x", retry_after_s=1)

    with pytest.raises(CenterUnavailable):
        RetryPolicy(25, sleep=clock.sleep).run(attempt)

    assert clock.now_s == 32  # three tries; the third ended after the budget did


def test_the_server_says_how_long_to_wait() -> None:
    error = RateLimited("x", retry_after_s=4.0)

    outcome, waits = waits_of(Attempts(error, error, None), 10)

    assert (outcome, waits) == ("done", [4.0, 4.0])


def test_a_wait_longer_than_the_budget_is_not_begun() -> None:
    attempts = Attempts(RateLimited("x", retry_after_s=999_999_999.0))

    outcome, waits = waits_of(attempts, 60)

    assert isinstance(outcome, RateLimited)
    assert waits == []
    assert attempts.count == 1


def test_to_be_asked_to_wait_for_no_time_is_no_leave_to_hammer() -> None:
    outcome, waits = waits_of(Attempts(RateLimited("x", retry_after_s=0.0), None), 10)

    assert outcome == "done"
    assert waits[0] > 0


def test_a_call_within_another_has_no_budget_of_its_own(clock: Clock) -> None:
    """A login is tried again within the request that needs it: together they take one budget, not two."""
    inner = Attempts(CenterUnavailable("x", retry_after_s=2))
    policy = RetryPolicy(9, sleep=clock.sleep)

    def request() -> str:
        clock.sleep(4)
        return policy.run(inner)

    with pytest.raises(CenterUnavailable):
        policy.run(request)

    assert inner.count == 3
    assert clock.now_s == 8


def test_the_budget_of_a_call_ends_with_it(clock: Clock) -> None:
    policy = RetryPolicy(5, sleep=clock.sleep)
    with pytest.raises(CenterUnavailable):
        policy.run(Attempts(CenterUnavailable("x")))
    clock.sleep(5)

    assert policy.run(Attempts(CenterUnavailable("x"), None)) == "done"


def test_every_further_try_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    waits_of(Attempts(CenterUnavailable("center-a: the reason"), None), 10)

    assert "Trying again (1): center-a: the reason" in caplog.text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90),
        ("Sun, 01 Mar 2026 13:01:30 +0100", 90),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("999999999999999", 999_999_999),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("\u0661\u0662", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@given(st.integers(0, 10**7))
def test_a_date_and_its_seconds_say_the_same(seconds: int) -> None:
    date = email.utils.format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert parse_retry_after(date, now=NOW) == parse_retry_after(str(seconds), now=NOW) == seconds


@given(
    st.one_of(
        st.text(),
        st.from_regex(
            r"[A-Z][a-z]{2}, [0-9]{1,20} [A-Z][a-z]{2} [0-9]{1,20} [0-9]{1,3}:[0-9]{2} [+-][0-9]{1,20}"
        ),
    )
)
@example("Sun, 01 Mar 99999999999999999999 12:01:30 GMT")
@example("Sun, 99999999999999999999 Mar 2026 12:01:30 GMT")
@example("Sun, 01 Mar 2026 12:01:30 +99999999999999999999")
def test_whatever_the_header_holds_it_is_seconds_or_nothing(header: str) -> None:
    seconds = parse_retry_after(header, now=NOW)

    assert seconds is None or seconds >= 0
