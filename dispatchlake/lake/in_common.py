"""What the users of one thing in a process have in common: begun with the first, ended with the last."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class InCommon(Generic[K, T]):
    """Something that a process has once for each key, for as long as anybody in it uses that."""

    def __init__(self, begin: Callable[[K], T], end: Callable[[K, T], None]) -> None:
        self._begin = begin
        self._end = end
        self._guard = threading.Lock()
        self._users: dict[K, int] = {}
        self._things: dict[K, T] = {}

    def enter(self, key: K) -> tuple[T, Callable[[], None]]:
        """Return what belongs to a key, in use until the other is called; twice is as good as once."""
        with self._guard:
            if key not in self._things:
                self._things[key] = self._begin(key)
            self._users[key] = self._users.get(key, 0) + 1
            return self._things[key], functools.cache(partial(self._leave, key))

    def _leave(self, key: K) -> None:
        with self._guard:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._end(key, self._things.pop(key))
