"""Webhook deliveries answered once they are on the disk: ours beside a floor, at several numbers at once."""

from __future__ import annotations

import math
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.delivery_load import BODY, Load, deliver
from bench.processes import scratch_folder
from bench.scenarios import Finding
from dispatchlake.spool import Spool

AT_ONCE = (1, 8, 64)
CENTER = "center-00"
PATH = f"/webhooks/{CENTER}/incident-events"

_COMMAND = [sys.executable, "-c", "from dispatchlake.cli.app import main; main()"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes deliveries.

    Attributes:
        kept: Says how many deliveries are on the disk.
    """

    process: psutil.Process
    port: int
    token: str
    kept: Callable[[], int]

    def cpu_s(self) -> float:
        """Return the processor time it has used."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


@dataclass(frozen=True, slots=True)
class Measured:
    """One load, and what it cost the server in processor time."""

    load: Load
    cpu_s: float

    @property
    def cpu_ms_each(self) -> float:
        """Return the server's processor time for one delivery."""
        return 1000 * self.cpu_s / len(self.load.latencies_s)


class NotKept(AssertionError):
    """What was answered with 200 is not on the disk."""


@contextmanager
def floor(folder: Path) -> Iterator[Server]:
    """Run the floor."""
    path = folder / "bodies"
    command = [sys.executable, "-m", "bench.delivery_floor", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            length = len(BODY % uuid.uuid4())
            yield Server(psutil.Process(process.pid), port, "", lambda: path.stat().st_size // length)
        finally:
            process.terminate()


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    """Run the receiver as a person does."""
    environment = os.environ | {"DISPATCHLAKE_DATA_DIR": str(folder)}
    issued = subprocess.run(
        [*_COMMAND, "webhooks", "issue", CENTER], env=environment, capture_output=True, text=True, check=True
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "receiver.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*_COMMAND, "receive", "--port", str(port)], env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait_until_ready(port, process, log)
            with Spool.open(folder / "spool") as spool:
                yield Server(psutil.Process(process.pid), port, issued.stdout.strip(), spool.count)
        finally:
            process.terminate()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline_s = time.monotonic() + 60
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"The receiver does not answer: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)


SERVERS = {"floor": floor, "ours": ours}


def measure(name: str, at_once: int, seconds: float) -> Measured:
    """Load a fresh server, and see that it has kept what it has answered.

    Raises:
        NotKept: It has not.
    """
    with scratch_folder() as folder, SERVERS[name](folder) as server:
        warm = deliver(server.port, PATH, server.token, at_once=at_once, seconds=min(1.0, seconds))
        before_s = server.cpu_s()
        load = deliver(server.port, PATH, server.token, at_once=at_once, seconds=seconds)
        found = Measured(load, server.cpu_s() - before_s)
        answered = len(warm.latencies_s) + len(load.latencies_s)
        if server.kept() != answered:
            raise NotKept(f"{name}: of {answered} deliveries that were answered {server.kept()} are kept.")
    return found


def deliveries(rounds: int, *, seconds: float = 5.0, at_once: tuple[int, ...] = AT_ONCE) -> list[Finding]:
    """Deliver as fast as it is answered, round after round, each server fresh and first in its turn."""
    findings = []
    for count in at_once:
        measured: dict[str, list[Measured]] = {name: [] for name in SERVERS}
        for number in range(rounds):
            for name in sorted(SERVERS, reverse=number % 2 == 1):
                measured[name].append(measure(name, count, seconds))
        pairs = zip(measured["ours"], measured["floor"], strict=True)
        findings.append(
            Finding(
                f"a delivery, {count} at once",
                statistics.median(floor.load.per_s / ours.load.per_s for ours, floor in pairs),
                "x floor",
                math.inf,
                "; ".join(f"{name} {_in_words(found)}" for name, found in measured.items()),
            )
        )
    return findings


def _in_words(measured: list[Measured]) -> str:
    def median(value: Callable[[Measured], float]) -> float:
        return statistics.median(map(value, measured))

    return (
        f"{median(lambda one: one.load.per_s):,.0f}/s, "
        f"p50 {median(lambda one: 1000 * one.load.percentile_s(50)):.1f} ms, "
        f"p99 {median(lambda one: 1000 * one.load.percentile_s(99)):.1f} ms, "
        f"{median(lambda one: one.cpu_ms_each):.2f} CPU ms each"
    )
