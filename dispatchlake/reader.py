"""A process beside this one that reads: it fetches, decodes and types what this one archives and commits.

Python runs one thread of a process at a time, and half of a long load's work is Python: in threads alone, one
of two processors idles (docs/decisions/0016). The process begins with the first long reading, serves every
thread of this one, and ends with it. A center's secrets reach it over a socket that no other process has.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import logging.handlers
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from dispatchlake import redaction
from dispatchlake.errors import Cancelled, ReaderGone
from dispatchlake.lake import TypedBatch
from dispatchlake.reading import Order, Reading, ReadingHere
from dispatchlake.stop import Stop

IS_WORTHWHILE = hasattr(socket, "send_fds") and (os.cpu_count() or 1) > 1
"""Whether this system lets one process hand an open socket to another, and has a processor for each."""

LONG = timedelta(days=1)
"""A window longer than this is read apart: it takes a process half a second to begin."""

_LOOK_S = 0.1
"""How often a wait for a batch looks whether it is asked to stop."""

_FAREWELL_S = 5.0


def begin_reading(order: Order, stop: Stop) -> Reading:
    """Return a reading of the cell, in the process beside this one if it is long and settings allow it."""
    window = order.cell.window
    is_long = order.cell.kind == "backfill" or window.start is None or window.end - window.start > LONG
    if is_long and order.settings.read_apart and IS_WORTHWHILE:
        return ReadingApart(order, stop)
    return ReadingHere(order, stop)


@dataclass(frozen=True, slots=True)
class _Begin:
    order: Order
    log_level: int


@dataclass(frozen=True, slots=True)
class _End:
    """The last word of a reading: how many logins it took, and the error it ended with, if with one."""

    logins: int
    error: BaseException | None = None


class ReadingApart:
    """A reading in the process beside this one."""

    def __init__(self, order: Order, stop: Stop) -> None:
        self._order = order
        self._stop = stop
        self.logins = 0

    def __iter__(self) -> Iterator[TypedBatch]:
        """Yield the batches; raise what the reading has raised, or ReaderGone if its process has died."""
        with _connect() as connection:
            level = logging.getLogger("dispatchlake").getEffectiveLevel()
            self._send(connection, _Begin(self._order, level))
            while not isinstance(message := self._receive(connection), _End):
                if isinstance(message, logging.LogRecord):
                    logging.getLogger(message.name).handle(message)
                else:
                    yield message
        self.logins = message.logins
        if message.error is not None:
            raise message.error

    def _send(self, connection: Connection, message: object) -> None:
        try:
            connection.send(message)
        except OSError:
            raise _gone() from None

    def _receive(self, connection: Connection) -> Any:
        try:
            while not connection.poll(_LOOK_S):
                self._stop.sleep(0)
            return connection.recv()
        except (EOFError, OSError):
            raise _gone() from None


class _Process:
    """The process beside this one, and the line to it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-c", "from dispatchlake.reader import main; main()", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def connect(self) -> Connection:
        """Return a connection of one reading's own, whose other end the process has."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._line, [b"."], [theirs.fileno()])
        return Connection(ours.detach())

    def end(self) -> None:
        """Let it end, as it does when the line does."""
        self._line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL_S)
        self._process.kill()
        self._process.wait()


_GUARD = threading.Lock()
_process: _Process | None = None


def _connect() -> Connection:
    global _process  # noqa: PLW0603 - one for all threads of this process
    with _GUARD:
        try:
            if _process is None or not _process.is_running:
                end()
                _process = _Process()
            return _process.connect()
        except OSError:
            raise _gone() from None


def end() -> None:
    """End the process beside this one, if there is one; a later reading begins another."""
    global _process  # noqa: PLW0603 - see above
    if _process is not None:
        _process.end()
        _process = None


atexit.register(end)


def _gone() -> ReaderGone:
    return ReaderGone(
        "The process that reads for this one has ended: it was killed, or the machine has too little memory. "
        "The lake is as it was before; try again."
    )


# What follows runs in the process beside.


def main() -> None:
    """Serve who has the other end of the line until it is closed, each reading in a thread of its own."""
    # Ctrl-C and the end of a run are sent to both processes; the other one decides what follows.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger().addHandler(_Forwarder())
    redaction.install()
    line = socket.socket(fileno=int(sys.argv[1]))
    while True:
        _, sockets, _, _ = socket.recv_fds(line, 1, 1)
        if not sockets:
            os._exit(0)  # nothing that is left has to be finished: nobody is there to take it
        threading.Thread(target=_serve, args=(Connection(sockets[0]),), daemon=True).start()


_serving = threading.local()


class _Forwarder(logging.handlers.QueueHandler):
    """Sends what a reading logs to where it was ordered, whose handlers know which run it is."""

    def __init__(self) -> None:
        super().__init__(queue.Queue())

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send the record along with the batches."""
        if connection := getattr(_serving, "connection", None):
            connection.send(record)


class _Line(Stop):
    """Asked to stop as soon as the other end is closed; nothing is ever sent there after the order."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    @property
    def is_asked(self) -> bool:
        """Say whether the other end is closed."""
        return self._connection.poll(0)

    def sleep(self, seconds: float) -> None:
        """Wait; raise Cancelled as soon as the other end is closed."""
        if self._connection.poll(seconds):
            raise Cancelled


def _serve(connection: Connection) -> None:
    """Read what is ordered on a connection."""
    with connection, contextlib.suppress(OSError, EOFError):  # the other end is closed: nobody waits for it
        begin: _Begin = connection.recv()
        logging.getLogger("dispatchlake").setLevel(begin.log_level)
        _serving.connection = connection
        reading = ReadingHere(begin.order, _Line(connection))
        error: BaseException | None = None
        try:
            for batch, typed in reading:
                connection.send((batch, _portable(typed) if isinstance(typed, Exception) else typed))
        except BaseException as raised:  # noqa: BLE001 - raised again where it was ordered
            error = _portable(raised)
        connection.send(_End(reading.logins, error))


def _portable(error: BaseException) -> BaseException:
    """Return the error with its traceback as a note, or what can be told of one that cannot be sent."""
    told = redaction.redact("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what we have just written
    except Exception:  # noqa: BLE001 - whatever a class does when it is rebuilt
        error = RuntimeError(f"{type(error).__name__}, in the process that reads")
    error.add_note(told)
    return error
