"""Reading ahead: the same items in the same order, one of them beforehand, and nothing after one has left."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator

import pytest

from dispatchlake.lake.reading_ahead import reading_ahead

LIMIT_S = 30


def test_all_items_come_in_their_order() -> None:
    with reading_ahead(range(100)) as items:
        assert list(items) == list(range(100))


def test_an_empty_source_ends_at_once() -> None:
    with reading_ahead([]) as items:
        assert list(items) == []


def test_a_failure_comes_where_its_item_would_have() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with reading_ahead(source()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken"):
            next(items)


def test_one_item_is_drawn_while_the_one_before_is_worked_on_and_no_more() -> None:
    drawn: list[int] = []
    is_drawn = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in range(5):
            drawn.append(number)
            is_drawn.release()
            yield number

    with reading_ahead(source()) as items:
        for number in range(5):
            assert next(items) == number
            for _ in range(1 if number else 2):  # its own drawing was waited for; the next one's is under way
                assert is_drawn.acquire(timeout=LIMIT_S) or number == 4
            assert drawn == list(range(min(number + 2, 5)))
            if number == 3:
                break


def test_who_leaves_early_waits_for_the_item_under_way_and_no_other_is_drawn() -> None:
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    with reading_ahead(source()) as items:
        assert next(items) == 0
    assert len(drawn) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "reading-ahead"]


def test_a_failure_of_the_worker_is_what_is_raised() -> None:
    def work(items: Iterator[int]) -> None:
        next(items)
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"), reading_ahead(range(10)) as items:
        work(items)


def test_readings_can_be_chained_and_left_in_the_middle() -> None:
    with (
        reading_ahead(range(1000)) as numbers,
        reading_ahead(number * 2 for number in numbers) as doubles,
    ):
        assert [next(doubles) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not [thread for thread in threading.enumerate() if thread.name == "reading-ahead"]


def test_the_source_is_drawn_in_the_context_of_the_caller() -> None:
    run: contextvars.ContextVar[str] = contextvars.ContextVar("run", default="none")
    run.set("mine")

    with reading_ahead(run.get() for _ in range(3)) as items:
        assert list(items) == ["mine"] * 3
