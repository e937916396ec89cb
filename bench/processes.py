"""One run of a runner: a process of its own, watched from outside, its output thrown away in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.environments import Environment, interpreter
from bench.measure import Job

_SAMPLE_S = 0.05
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run cost.

    Attributes:
        seconds: Of the work, without the imports.
        cpu_s: Processor time of the same, user and system, of the process and the children it waited for.
        peak_bytes: Most memory resident, of the process alone.
        tree_peak_bytes: The same with all its children, sampled.
        more: Whatever else the runner says.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int
    tree_peak_bytes: int
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


class RunnerFailed(RuntimeError):
    """A runner ended with an error; the text has the end of what it said."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(module: str, job: Job, *, environment: Environment = "own") -> Measurement:
    """Run `bench.runners.MODULE` with a job and return what it measured.

    Raises:
        RunnerFailed: It ended with an error.
    """
    command = [interpreter(environment), "-m", f"bench.runners.{module}", json.dumps(asdict(job))]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=_ROOT, env=_environment(), stdout=output, stderr=errors)
        watch = _MemoryWatch(process.pid)
        try:
            status = process.wait()
        finally:
            watch.stop()
        output.seek(0)
        errors.seek(0)
        if status:
            raise RunnerFailed(f"{module} failed ({status}):\n{errors.read()[-3000:]}")
        said = json.loads(output.read().strip().splitlines()[-1])
    return Measurement(
        said.pop("seconds"),
        said.pop("cpu_s"),
        said.pop("peak_bytes"),
        watch.peak_bytes,
        said.pop("versions"),
        said,
    )


def _environment() -> dict[str, str]:
    """Return our environment, less what would let each process compile all it imports anew."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class _MemoryWatch:
    """Samples the resident memory of a process and all its descendants, from /proc."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(_SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident_bytes, _family(self._pid))))


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:  # grows as it goes
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
