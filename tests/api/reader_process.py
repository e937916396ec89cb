"""A process of its own that reads a center: `python -m tests.api.reader_process`, its job pickled on stdin.

It says "ready" when it could begin, begins with the first line it is sent, and prints one result a thread:
the number of distinct records it read, or the error.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dispatchlake.api import Patience
from dispatchlake.model import DispatchCenter
from tests.api.reading import ids_of, open_client

PATIENT = Patience(timeout_s=20, page_timeout_s=20, retry_budget_s=20)


@dataclass(frozen=True)
class Job:
    """How often a center is read at once; all threads of a process share one client."""

    center: DispatchCenter
    state_dir: Path
    threads: int = 1
    patience: Patience = PATIENT


@contextmanager
def waiting_processes(job: Job, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes that wait for the word to begin; end those that are left."""
    with ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.api.reader_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.callback(_end, process)
            processes.append(process)
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(job).hex().encode() + b"\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield processes


def run_together(job: Job, processes: int) -> list[int | str]:
    """Let processes read at once; return what every thread of each of them found."""
    with waiting_processes(job, processes) as started:
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"begin\n")
            process.stdin.flush()
        found: list[int | str] = []
        for process in started:
            output, _ = process.communicate(timeout=60)
            found += json.loads(output)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _read(job: Job) -> list[int | str]:
    barrier = threading.Barrier(job.threads)
    with open_client(job.center, job.state_dir, job.patience) as client:

        def one(_number: int) -> int | str:
            barrier.wait()
            try:
                return len(set(ids_of(client)))
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                return f"{type(error).__name__}: {error}"

        with ThreadPoolExecutor(job.threads) as pool:
            return list(pool.map(one, range(job.threads)))


def main() -> None:
    """Read the job, wait for the word, do it."""
    job = pickle.loads(bytes.fromhex(sys.stdin.readline().strip()))
    print("ready", flush=True)  # noqa: T201 - what the parent waits for
    sys.stdin.readline()
    print(json.dumps(_read(job)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
