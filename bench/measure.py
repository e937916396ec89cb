"""What a runner says of itself: time, processor time and memory of the work alone, without its imports.

Standard library only: it is imported in every environment. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import importlib.metadata
import json
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Job:
    """What a runner is asked to do.

    Attributes:
        centers: Center ids.
        resources: Resource names; each center has each of them.
        out_dir: An empty folder for all that it writes.
        options: What only some runners know.
    """

    base_url: str
    centers: list[str]
    resources: list[str]
    page_size: int
    out_dir: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_command_line(cls) -> Self:
        """Read the job that this process was given."""
        return cls(**json.loads(sys.argv[1]))

    def client_id(self, center_id: str, resource_name: str) -> str:
        """Return the client id that opens one listing."""
        return f"{center_id}-{resource_name}"


class Meter:
    """Measures what is done within the context, of this process and of the children it has waited for."""

    def __enter__(self) -> Self:
        self._began_s, self._cpu_began_s = time.perf_counter(), cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began_s
        self.cpu_s = cpu_s() - self._cpu_began_s

    def report(self, packages: Iterable[str], **more: Any) -> None:
        """Print the measurement as the last line of the output, for the process that started this one."""
        versions = {name: importlib.metadata.version(name) for name in packages}
        measured = {"seconds": self.seconds, "cpu_s": self.cpu_s, "peak_bytes": peak_bytes()}
        sys.stdout.write("\n" + json.dumps(measured | {"versions": versions} | more) + "\n")


def cpu_s() -> float:
    """Return the processor time used so far, in seconds, user and system."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes() -> int:
    """Return the most memory this process has had resident.

    Not `ru_maxrss`: that begins with what the process had that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
