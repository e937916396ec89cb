"""Processes that are killed with SIGKILL where a test says so: at a named write, within it, or at any time.

A victim runs the product's own code; the only thing put into it is what counts the statements that reach the
lake and ends the process at one of them, or lets something else happen there. Victims are forked from a
server that has imported the product but never opened a lake, so each costs as much as its work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

_PRELOADED = ["dispatchlake.ingest", "tests.guarantees.work", "tests.guarantees.checked", __name__]

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(_PRELOADED)

PATIENCE_S = 120.0

RANDOM_KILLS = int(os.environ.get("DISPATCHLAKE_RANDOM_KILLS", "30"))
"""How often loads are killed at any time, about; other work in proportion."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a victim dies.

    Attributes:
        statement: How the statement begins, such as `INSERT INTO runs`; "" is any.
        nth: Which of those that begin so, from 1.
        when: Before it is executed, after it has been, or so many milliseconds into it.
        follows: How the statement before it on the same connection begins; "" is any.
    """

    statement: str
    nth: int = 1
    when: Literal["before", "after"] | float = "before"
    follows: str = ""

    def __str__(self) -> str:
        when = self.when if isinstance(self.when, str) else f"{self.when:g} ms into"
        which = f" ({self.nth})" if self.nth > 1 else f" (of {self.follows})" if self.follows else ""
        return f"{when} {self.statement}{which}"


def die() -> None:
    """End this process as the kernel's out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(PATIENCE_S)  # the signal is on its way; nothing more is to happen


def at(point: Point, call: Callable[..., Any], is_here: Callable[..., bool]) -> Callable[..., Any]:
    """Return the call with death before, within or after it, where its arguments are the ones meant."""

    def fatal(*arguments: Any, **options: Any) -> Any:
        if not is_here(*arguments):
            return call(*arguments, **options)
        if point.when == "before":
            die()
        if isinstance(point.when, float):
            threading.Timer(point.when / 1000, die).start()
        result = call(*arguments, **options)
        die()
        return result

    return fatal


class Watched:
    """A DuckDB connection that notes each statement, and lets something happen at one of them, as death."""

    def __init__(
        self,
        connection: Any,
        statements: list[str],
        point: Point | None,
        happen: Callable[[], None] = die,
        reached: list[str] | None = None,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._point = point
        self._happen = happen
        self._reached = [] if reached is None else reached

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Watched:
        """Return another session, watched as well: all of a process are of one that it opens first."""
        cursor = self._connection.cursor()
        return Watched(cursor, self._statements, self._point, self._happen, self._reached)

    def execute(self, statement: str, *arguments: Any) -> Any:
        """Execute the statement; it happens before, within or after it."""
        text = " ".join(statement.split())
        previous = self._statements[-1] if self._statements else ""
        self._statements.append(text)
        is_here = False
        if (
            self._point is not None
            and text.startswith(self._point.statement)
            and previous.startswith(self._point.follows)
        ):
            self._reached.append(text)
            is_here = len(self._reached) == self._point.nth
        when = self._point.when if self._point and is_here else None
        if when == "before":
            self._happen()
        if isinstance(when, float):
            threading.Timer(when / 1000, self._happen).start()
        result = self._connection.execute(statement, *arguments)
        if when is not None and when != "before":
            self._happen()
        return result


def _run(work: Callable[..., Any], arguments: tuple[Any, ...], answer: Connection) -> None:
    answer.send(("began", None))
    try:
        result = work(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        answer.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        answer.send(("done", result))


class Victim:
    """A process at work, to be killed or waited for."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._answers, theirs = forkserver.Pipe(duplex=False)
        self.process = forkserver.Process(target=_run, args=(work, arguments, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self._receive()

    def _receive(self) -> tuple[str, Any]:
        if not self._answers.poll(PATIENCE_S):
            self.kill()
            raise AssertionError(f"nothing was heard of a process for {PATIENCE_S:.0f} s")
        answer: tuple[str, Any] = self._answers.recv()
        return answer

    def result(self) -> Any:
        """Wait for the end and return what the work returned; fail if it raised or was killed."""
        what, value = self._receive()
        self.process.join(PATIENCE_S)
        assert what == "done", value
        return value

    def has_answered(self) -> bool:
        """Say whether its work has ended, well or not."""
        return self._answers.poll()

    def kill(self) -> None:
        """Kill it now."""
        self.process.kill()
        self.process.join(PATIENCE_S)

    def wait_until_killed(self) -> bool:
        """Wait for the end; say whether it was SIGKILL that ended it."""
        self.process.join(PATIENCE_S)
        return self.process.exitcode == -signal.SIGKILL
