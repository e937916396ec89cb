"""What the users of one thing in a process have in common: begun with the first, ended with the last."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class InCommon(Generic[T]):
    """Something that a process has once for each path, for as long as anybody in it uses that."""

    def __init__(self, begin: Callable[[Path], T], end: Callable[[Path, T], None]) -> None:
        self._begin = begin
        self._end = end
        self._guard = threading.Lock()
        self._users: dict[Path, int] = {}
        self._things: dict[Path, T] = {}

    def enter(self, path: Path) -> Callable[[], None]:
        """Use what belongs to a path until what is returned is called; twice is as good as once."""
        with self._guard:
            if path not in self._things:
                self._things[path] = self._begin(path)
            self._users[path] = self._users.get(path, 0) + 1
        return functools.cache(partial(self._leave, path))

    def _leave(self, path: Path) -> None:
        with self._guard:
            self._users[path] -= 1
            if not self._users[path]:
                del self._users[path]
                self._end(path, self._things.pop(path))
