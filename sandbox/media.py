"""Media files behind links that expire, and what goes wrong with them: an origin of its own, over TLS or not.

A file is made up from its path, the same each time. A link opens it while its signature is right and nobody
has let it expire.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.config import Strict
from sandbox.webhook_events import signature
from sandbox.wire import expose_transport

SMALLEST_BYTES, LARGEST_BYTES = 50_000, 400_000

MediaFaultKind = Literal[
    "status",  # an error `status`
    "redirect",  # to `location`
    "redirect_loop",  # to itself
    "stops_half_way",  # the connection ends in the middle
    "wrong_length",  # Content-Length says more than comes
    "oversize",  # goes on until `oversize_bytes`, without a Content-Length
    "slow",  # drips
    "range_ignored",  # the whole file whatever is asked for
    "range_wrong",  # another part than was asked for
    "rest_cut_short",  # half of the rest that was asked for, as if it were all, without a Content-Length
    "changed",  # another content and tag than before
]


class MediaFault(Strict):
    """Something that goes wrong with the next `times` requests for a file whose path has `path` in it."""

    kind: MediaFaultKind
    path: str = ""
    times: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=400, le=599)] = 403
    location: str = ""
    oversize_bytes: Annotated[int, Field(ge=1)] = 100_000_000


class MediaStore:
    """The files' origin: its faults, expired links, and what was asked of it."""

    def __init__(self) -> None:
        self.faults: list[MediaFault] = []
        self.expired: set[str] = set()
        self.handed_out: set[str] = set()  # signatures of links that the API has shown
        self.log: list[dict[str, Any]] = []

    def take(self, path: str) -> MediaFault | None:
        """Return the next fault that is for a path, and count it down."""
        for index, fault in enumerate(self.faults):
            if fault.path in path:
                if fault.times == 1:
                    del self.faults[index]
                else:
                    self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None


def content_of(path: str) -> bytes:
    """Return what a file holds."""
    chance = random.Random(f"media|{path}")
    return chance.randbytes(chance.randint(SMALLEST_BYTES, LARGEST_BYTES))


def media_app(store: MediaStore) -> ASGIApp:
    """Return the origin."""

    async def serve(request: Request) -> Response:
        path = request.url.path
        query = dict(part.partition("=")[::2] for part in request.url.query.split("&"))
        fault = store.take(path)
        response = _answer(store, request, query, fault)
        store.log.append(
            {
                "path": path,
                "host": request.headers.get("host"),
                "status": response.status_code,
                "fault": fault.kind if fault else None,
                "range": request.headers.get("range"),
                "has_authorization": "authorization" in request.headers or "cookie" in request.headers,
            }
        )
        return response

    return expose_transport(Starlette(routes=[Route("/{path:path}", serve, methods=["GET"])]))


def _answer(store: MediaStore, request: Request, query: dict[str, str], fault: MediaFault | None) -> Response:
    path = request.url.path
    right = signature(path, query.get("X-Amz-Credential", ""))
    if query.get("X-Amz-Signature") != right:
        return Response("SignatureDoesNotMatch", 403)
    if right in store.expired:
        return Response("Request has expired", 403)
    kind = fault.kind if fault else None
    if fault and kind == "status":
        return Response("", fault.status)
    if fault and kind in {"redirect", "redirect_loop"}:
        return RedirectResponse(fault.location or str(request.url), 302)
    if fault and kind == "oversize":
        return StreamingResponse(_endless(fault.oversize_bytes))
    content = content_of(path) if kind != "changed" else content_of(path + "changed")
    return _part(request, content, kind)


def _part(request: Request, content: bytes, kind: str | None) -> Response:
    """Return the file, or the part of it that is asked for (RFC 9110, 14)."""
    tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    headers = {"etag": tag, "accept-ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    status = 200
    if asked and request.headers.get("if-range", tag) == tag and kind != "range_ignored":
        start = int(asked[1]) // 2 if kind == "range_wrong" else int(asked[1])
        if start >= len(content):
            return Response("", 416)
        headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        status, content = 206, content[start:]
        if kind == "rest_cut_short":
            return StreamingResponse(iter([content[: len(content) // 2]]), status, headers)
    if kind in {"stops_half_way", "wrong_length", "slow"}:
        return _Broken(kind, content, status, headers)
    return Response(content, status, headers, media_type="application/octet-stream")


async def _endless(count: int) -> Any:
    while count > 0:
        yield b"\0" * min(count, 65_536)
        count -= 65_536


class _Broken(Response):
    """A file of which the rest does not come, or not soon."""

    def __init__(self, kind: str, content: bytes, status: int, headers: dict[str, str]) -> None:
        length = len(content) + (1000 if kind == "wrong_length" else 0)
        super().__init__(b"", status, headers | {"content-length": str(length)})
        self._kind = kind
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what comes, and end the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._kind == "slow":
            for start in range(0, len(self._content), 100):
                part = self._content[start : start + 100]
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(0.05)
            await send({"type": "http.response.body"})
            return
        whole = self._content if self._kind == "wrong_length" else self._content[: len(self._content) // 2]
        await send({"type": "http.response.body", "body": whole, "more_body": True})
        scope["sandbox.transport"].close()
        while (await receive())["type"] != "http.disconnect":
            pass
