"""The two applications: the stand-in for the vendor with its controls, and the foreign origin beside it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.control import routes
from sandbox.state import State
from sandbox.vendor import listing_endpoint, token_endpoint
from sandbox.wire import expose_transport


class _GZip:
    """Compresses as the client allows, except where a center or a fault wants the body plain."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=500, compresslevel=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_plain = scope["type"] != "http" or not scope["app"].state.sandbox.compresses(scope)
        await (self._plain if is_plain else self._compressed)(scope, receive, send)


def vendor_app(state: State) -> ASGIApp:
    """Return the stand-in: token endpoint, listings, controls."""
    app = Starlette(
        routes=[
            *routes(),
            Route("/oauth/token", token_endpoint, methods=["POST"]),
            Route("/{path:path}", listing_endpoint, methods=["GET"]),
        ],
        middleware=[Middleware(_GZip)],
    )
    app.state.sandbox = state
    return expose_transport(app)


def foreign_app(state: State) -> ASGIApp:
    """Return an origin that no token may ever reach: it answers plausibly and remembers who came."""

    async def answer(request: Request) -> Response:
        state.foreign_requests.append(
            {"path": request.url.path, "has_authorization": "authorization" in request.headers}
        )
        return JSONResponse([])

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
