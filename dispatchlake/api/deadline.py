"""Until when a request may take as a whole: connecting, its headers and its body.

The timeouts of the HTTP libraries are of one silence each. A server that sends a byte now and then, or says
for ever that an answer will come, would keep its reader for as long as it likes.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx


class Deadline:
    """When the request ends that a thread is making; threads that share connections each have their own."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    @contextmanager
    def within(self, longest_s: float) -> Iterator[None]:
        """End what is connected, written and read inside after so many seconds; not to be nested."""
        self._of_thread.ends_s = time.monotonic() + longest_s
        try:
            yield
        finally:
            del self._of_thread.ends_s

    def shorten(self, timeout_s: float | None, ended: type[httpcore.TimeoutException]) -> float | None:
        """Return how long one step may take of its timeout; raises the error given where no time is left."""
        ends_s: float | None = getattr(self._of_thread, "ends_s", None)
        if ends_s is None:
            return timeout_s
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise ended("The request took too long as a whole.")
        return left_s if timeout_s is None else min(timeout_s, left_s)


def keep_within(http: httpx.Client, deadline: Deadline) -> None:
    """Let a deadline end whatever a client sends, through a proxy too.

    httpx has no public way to name what connects. Each of its transports has a pool of httpcore, which has:
    this is the only place that reaches for it, and fails where there is nothing of that name.
    """
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001 - as said above
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool  # noqa: SLF001
            pool._network_backend = EndingBackend(pool._network_backend, deadline)  # noqa: SLF001


class EndingBackend(httpcore.NetworkBackend):
    """Connects as another one does; its connections end with the deadline of whoever uses them."""

    def __init__(self, backend: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect in the time that is left, however long the name is looked up or many its addresses are.

        The system's resolver knows no timeout, and each address has one of its own. So both are left to a
        thread, and it to itself when the time is over.
        """
        left_s = self._deadline.shorten(timeout, httpcore.ConnectTimeout)
        connecting: Future[httpcore.NetworkStream] = Future()

        def connect() -> None:
            try:
                stream = self._backend.connect_tcp(host, port, left_s, local_address, socket_options)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                connecting.set_exception(error)
            else:
                connecting.set_result(stream)

        threading.Thread(target=connect, name="connecting", daemon=True).start()
        wait([connecting], self._deadline.shorten(None, httpcore.ConnectTimeout))
        if not connecting.done():
            connecting.add_done_callback(_close)
            raise httpcore.ConnectTimeout("The request took too long as a whole.")
        return _EndingStream(connecting.result(), self._deadline)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._backend.sleep(seconds)


def _close(connecting: Future[httpcore.NetworkStream]) -> None:
    """Close what was connected too late."""
    if connecting.exception() is None:
        connecting.result().close()


class _EndingStream(httpcore.NetworkStream):
    """A connection, over HTTP/2 of several requests; each step has only the time that is left."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.shorten(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.shorten(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.shorten(timeout, httpcore.ConnectTimeout)
        return _EndingStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
