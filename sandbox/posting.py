"""One POST after the other over one connection, with what is known of each when it goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import h11

_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes = field(repr=False)


class NotSentError(Exception):
    """The whole request was not written: the receiver cannot have kept it."""


class NotAnsweredError(Exception):
    """The whole request was written and no answer came: the receiver may have kept it."""


class Poster:
    """A connection to one origin, opened when it is needed and kept while it works."""

    def __init__(self, url: str, *, trusted_certificate: str | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._path = parts.hostname or "", parts.path or "/"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._tls = (
            ssl.create_default_context(cafile=trusted_certificate) if parts.scheme == "https" else None
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._protocol = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break the connection, if there is one; the next request opens another.

        What is not written yet is dropped: what is said not to be sent must not arrive after all.
        """
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None

    async def post(self, body: bytes, headers: dict[str, str], *, timeout_s: float) -> Answer:
        """Send a body, and wait for the answer.

        Raises:
            NotSentError: It could not be sent whole.
            NotAnsweredError: It was, and no whole answer came in time.
        """
        is_sent = False
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._connected()
                writer.write(self._request(body, headers))
                await writer.drain()
                is_sent = True
                answer = await self._answer(reader)
        except (OSError, EOFError, TimeoutError, h11.RemoteProtocolError) as error:
            self.close()
            raise (NotAnsweredError if is_sent else NotSentError)(type(error).__name__) from error
        except asyncio.CancelledError:
            self.close()
            raise
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
        else:
            self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # ended by the receiver while nothing was under way
        if self._streams is None:
            self._protocol = h11.Connection(h11.CLIENT)
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        return self._streams

    def _request(self, body: bytes, headers: dict[str, str]) -> bytes:
        fields = {"host": self._authority, "content-length": str(len(body)), **headers}
        events = (
            h11.Request(method="POST", target=self._path, headers=list(fields.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        return b"".join(self._protocol.send(event) or b"" for event in events)

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        status, parts = 0, []
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                received = await reader.read(_READ_BYTES)
                if not received and self._protocol.their_state is h11.SEND_RESPONSE:
                    raise EOFError
                self._protocol.receive_data(received)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, b"".join(parts))


async def hold_open(url: str, *, interval_s: float, longest_s: float, ends_headers: bool) -> bool:
    """Send next to nothing for as long as the server lets us; return whether it cut us off.

    Args:
        url: Where to; only http.
        interval_s: Between two bytes.
        longest_s: When we leave by ourselves.
        ends_headers: Whether the headers are sent whole and the body drips, or the headers drip.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: 1000000\r\n"
    try:
        async with asyncio.timeout(longest_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write((head + ("\r\n" if ends_headers else "x-drip: ")).encode())
                while not reader.at_eof():
                    writer.write(b"a")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        # What is answered (408, 401) is of no interest; only the end is.
                        await asyncio.wait_for(reader.read(_READ_BYTES), interval_s)
            finally:
                writer.close()
    except TimeoutError:
        return False
    except OSError:
        pass  # reset, which is a way to cut us off
    return True
