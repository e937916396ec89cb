"""The receiver as a web application: what is asked for, and in which order it is decided.

A delivery is let in by its headers, read whole, kept on the disk, and only then answered with 200. Nothing
here looks into a body: what it means, and whether it means anything, is the lake's business.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dispatchlake.errors import DeliveryRefused, SpoolError
from dispatchlake.spool import Delivery, DeliveryKind, Spool
from dispatchlake.webhooks.access import Access
from dispatchlake.webhooks.answers import Line, refused
from dispatchlake.webhooks.body import read_body
from dispatchlake.webhooks.credentials import CredentialFile
from dispatchlake.webhooks.keeper import Keeper
from dispatchlake.webhooks.oauth import TokenEndpoint
from dispatchlake.webhooks.room import Room
from dispatchlake.webhooks.sources import Failures, source_of
from dispatchlake.webhooks.tokens import AccessTokens

logger = logging.getLogger(__name__)

HEADERS_OF_INTEREST = (
    "content-type",
    "date",
    "idempotency-key",
    "traceparent",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
)
"""What is kept of a request beside its body: what it claims to be, and what a support case would ask for."""

_TOKEN_BODY_BYTES = 64 << 10
_TOKEN_BODY_S = 5.0
_TOKEN_REQUESTS = 32
"""Requests for tokens have a room of their own: who makes one is not let in yet."""

_DISK_RETRY_S = 30
"""When a delivery that found the disk full may find room."""

_GONE = 499
"""Answered to nobody: whoever asked has gone. It is for the log."""

_READY_S = 1.0
"""How long an answer to `ready` holds: it costs a commit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one receiver takes.

    Attributes:
        body_bytes: Longest body, as sent and unpacked.
        request_s: Longest time in which a body must have come.
        requests: How many are under way at once; of one center, half as many at most.
        bodies_bytes: How many bytes of bodies lie in memory at once; of one center, half as many at most.
        free_bytes: With less room on the disk than this, the receiver says that it is not ready.
    """

    body_bytes: int = 16 << 20
    request_s: float = 30.0
    requests: int = 512
    bodies_bytes: int = 192 << 20
    free_bytes: int = 256 << 20


class Receiver:
    """What answers the vendor.

    Args:
        spool: Where deliveries are kept; closed at the end.
        credentials: Who may deliver.
        limits: What is taken.
    """

    def __init__(self, spool: Spool, credentials: CredentialFile, limits: Limits) -> None:
        tokens = AccessTokens(credentials)
        self._spool = spool
        self._keeper = Keeper(spool)
        self._access = Access(credentials, tokens)
        self._token_endpoint = TokenEndpoint(credentials, tokens)
        self._failures = Failures()
        self._limits = limits
        self._room = Room(requests=limits.requests, body_bytes=limits.bodies_bytes)
        self._token_room = Room(requests=_TOKEN_REQUESTS, body_bytes=_TOKEN_REQUESTS * _TOKEN_BODY_BYTES)
        self._readiness: tuple[float, str] = (-_READY_S, "")

    def build(self) -> Starlette:
        """Return the application."""
        app = Starlette(
            routes=[
                *(
                    Route(
                        f"/webhooks/{{center_id}}/{kind}", self._logged(self._deliver, kind), methods=["POST"]
                    )
                    for kind in DeliveryKind
                ),
                Route("/oauth/token", self._logged(self._give_token, "token"), methods=["POST"]),
                Route("/health", self._tell_health),
                Route("/ready", self._tell_ready),
            ],
            exception_handlers={HTTPException: self._refuse_route},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._keeper.start()
        try:
            yield
        finally:
            await self._keeper.stop()
            self._spool.close()

    async def _deliver(self, request: Request, line: Line) -> Response:
        center_id = request.path_params["center_id"]
        if self._access.is_known(center_id):
            line.center = center_id
        credential = self._access.find_credential(center_id, request.headers.get("authorization", ""))
        if credential is None:
            raise self._failed_login(request)
        line.credential = credential
        if _media_type(request) not in ("", "application/json"):
            raise DeliveryRefused("The content type must be application/json.", 415)
        with self._room.entered(center_id) as share:
            body = await read_body(
                request, share, limit_bytes=self._limits.body_bytes, limit_s=self._limits.request_s
            )
            line.body_bytes = len(body.content)
            headers = {name: request.headers[name] for name in HEADERS_OF_INTEREST if name in request.headers}
            if body.coding:
                headers["content-encoding"] = body.coding
            raw_id, kind = str(uuid4()), DeliveryKind(line.kind)
            await self._keep(Delivery(raw_id, center_id, kind, datetime.now(UTC), headers, body.content))
        line.raw_id = raw_id
        return JSONResponse({"raw_id": raw_id})

    async def _keep(self, *deliveries: Delivery) -> None:
        try:
            await self._keeper.keep(*deliveries)
        except SpoolError as error:
            logger.error("%s", error)  # noqa: TRY400 - it says what happened; a trace adds nothing
            raise DeliveryRefused("It cannot be kept now. Send it again later.", 503, _DISK_RETRY_S) from None

    async def _give_token(self, request: Request, line: Line) -> Response:
        with self._token_room.entered(line.source) as share:
            body = await read_body(request, share, limit_bytes=_TOKEN_BODY_BYTES, limit_s=_TOKEN_BODY_S)
            line.body_bytes = len(body.content)
            response = self._token_endpoint.answer(request.headers, _media_type(request), body.content)
        if response.status_code == 401:
            refusal = self._failed_login(request)
            if refusal.status == 429:
                raise refusal
        return response

    def _failed_login(self, request: Request) -> DeliveryRefused:
        retry_after_s = self._failures.count(_source(request))
        if retry_after_s is not None:
            return DeliveryRefused("Too many failed logins.", 429, retry_after_s)
        return DeliveryRefused("Not authorized.", 401)

    async def _tell_health(self, _request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _tell_ready(self, _request: Request) -> Response:
        asked_s, problem = self._readiness
        if time.monotonic() - asked_s >= _READY_S:
            problem = await self._find_problem()
            self._readiness = (time.monotonic(), problem)
        if problem:
            return JSONResponse({"status": problem}, 503, {"Retry-After": str(_DISK_RETRY_S)})
        return JSONResponse({"status": "ready"})

    async def _find_problem(self) -> str:
        try:
            await self._keep()
        except DeliveryRefused:
            return "the spool cannot be written"
        if shutil.disk_usage(self._spool.path.parent).free < self._limits.free_bytes:
            return "the disk is nearly full"
        return ""

    def _logged(
        self, answer: Callable[[Request, Line], Awaitable[Response]], kind: str
    ) -> Callable[[Request], Awaitable[Response]]:
        """Wrap an endpoint: refusals become answers, and each request becomes one line of the log."""

        async def endpoint(request: Request) -> Response:
            began_s = time.monotonic()
            line = Line(_source(request), kind)
            try:
                response = await answer(request, line)
            except DeliveryRefused as refusal:
                response = refused(refusal)
            except ClientDisconnect:
                response = Response(status_code=_GONE)
            except Exception as error:  # noqa: BLE001 - its text may hold what was sent
                logger.error("A request failed: %s", type(error).__name__)  # noqa: TRY400
                response = JSONResponse({"error": "An error of ours; send it again."}, 500)
            if response.status_code != 200 and "expect" in request.headers:
                # Whoever has waited with the body sends none now: what came next would be taken for it.
                response.headers["Connection"] = "close"
            line.write(response.status_code, time.monotonic() - began_s)
            return response

        return endpoint

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - that is what it is registered for
        Line(_source(request)).write(error.status_code)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _source(request: Request) -> str:
    return source_of(request.client.host if request.client else None)
