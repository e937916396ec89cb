"""Watching over what runs: a process that ends by itself is started again, later each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dispatchlake.cli.service import Service
from dispatchlake.cli.terminal import errors
from dispatchlake.errors import ConfigError

LOOK_S = 0.5
"""How often is looked."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses before a process is started again; doubled each time, forgotten once it has run for a while."""

LONG_S = 300.0
"""A process that has run so long has recovered."""


@dataclass
class _Watched:
    service: Service
    start_again: Callable[[], None]
    pause_s: float = FIRST_PAUSE_S
    started_at: float = field(default_factory=time.monotonic)
    due_at: float | None = None

    def look(self) -> None:
        """Start it again if it has ended and its pause is over."""
        now = time.monotonic()
        if self.service.is_running:
            if now - self.started_at > LONG_S:
                self.pause_s = FIRST_PAUSE_S
            return
        if self.due_at is None:
            self.due_at = now + self.pause_s
            self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
            errors.print(
                f"[yellow]The {self.service.name} has ended; it is started again.[/] "
                f"Its log: {self.service.log_path}",
                soft_wrap=True,
            )
        if now < self.due_at:
            return
        self.due_at = None
        self.started_at = now
        try:
            self.start_again()
        except ConfigError as error:  # the next look finds it ended, and waits longer
            errors.print(f"[yellow]{error}[/]", soft_wrap=True)


class Supervisor:
    """Watches services until it is interrupted."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def watch(self, service: Service, start_again: Callable[[], None]) -> None:
        """Watch a service that was started."""
        self._watched.append(_Watched(service, start_again))

    def run(self) -> None:
        """Watch, for ever."""
        while True:
            for watched in self._watched:
                watched.look()
            time.sleep(LOOK_S)
