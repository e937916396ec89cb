"""Where a piece of work spends its processor time: the stacks of all threads, looked at again and again.

A look at a thread counts as much as the processor time that it has used since the look before, so one that
waits counts for nothing, and one within a library in C as what called it. Unlike a profiler that is told of
each call this costs hardly anything, and so makes functions that call many others no dearer than they are.
Linux only.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Self

import dispatchlake

_EVERY_S = 0.005
_OURS = Path(dispatchlake.__file__).parent


@dataclass(slots=True)
class Spent:
    """Seconds of processor time by function of ours, named by its module and itself.

    Attributes:
        own: While it was the innermost of ours, with all that it called of others: libraries, SQL, system.
        within: While it was anywhere on the stack.
        looking_s: What the looks themselves took, in a thread that is in neither.
    """

    own: dict[str, float] = field(default_factory=dict)
    within: dict[str, float] = field(default_factory=dict)
    looking_s: float = 0.0

    def add(self, functions: list[str], seconds: float) -> None:
        """Add a look at a stack, given from its innermost function of ours on; nothing if it has none."""
        for name in functions[:1]:
            self.own[name] = self.own.get(name, 0.0) + seconds
        for name in set(functions):
            self.within[name] = self.within.get(name, 0.0) + seconds


class Sampler:
    """Looks at all other threads of this process, within the context."""

    def __init__(self) -> None:
        self.spent = Spent()
        self._used_s: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        for thread in threading.enumerate():
            self._used_since_last(thread)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._look()
        self._look()
        self.spent.looking_s = time.thread_time()

    def _look(self) -> None:
        threads, frames = threading.enumerate(), sys._current_frames()  # noqa: SLF001 - documented
        for thread in threads:
            if thread is not self._thread and (frame := frames.get(thread.ident or 0)) is not None:
                self.spent.add(_functions(frame), self._used_since_last(thread))

    def _used_since_last(self, thread: threading.Thread) -> float:
        try:
            used_s = _cpu_s(thread.native_id or 0)
        except OSError:  # it has ended meanwhile
            return 0.0
        before_s = self._used_s.get(thread.native_id or 0, 0.0)
        self._used_s[thread.native_id or 0] = used_s
        return used_s - before_s


def _cpu_s(thread_id: int) -> float:
    """Return the processor time of a thread of this process, by the kernel's own number of it.

    The clock is the one that pthread_getcpuclockid returns; that may crash for a thread that has just ended.
    """
    return time.clock_gettime((~thread_id << 3) | 6)


def _functions(frame: FrameType | None) -> list[str]:
    """Return the functions of ours that are on a stack, the innermost first."""
    found = []
    while frame is not None:
        if (name := _name(frame.f_code)) is not None:
            found.append(name)
        frame = frame.f_back
    return found


@cache
def _name(code: CodeType) -> str | None:
    """Return what a function is called here, or None if it is none of ours."""
    path = Path(code.co_filename)
    if not path.is_relative_to(_OURS):
        return None
    module = ".".join(path.relative_to(_OURS).with_suffix("").parts)
    return f"{module}: {code.co_qualname}"
