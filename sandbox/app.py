"""The two applications: the stand-in for the vendor with its controls, and the foreign origin beside it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from sandbox.control import routes
from sandbox.state import State
from sandbox.vendor import listing_endpoint, token_endpoint
from sandbox.wire import expose_transport


def vendor_app(state: State) -> ASGIApp:
    """Return the stand-in: token endpoint, listings, controls."""
    app = Starlette(
        routes=[
            Mount("/_sandbox", routes=routes()),
            Route("/oauth/token", token_endpoint, methods=["POST"]),
            Route("/{path:path}", listing_endpoint, methods=["GET"]),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=500, compresslevel=1)],
    )
    app.state.sandbox = state
    return expose_transport(app)


def foreign_app(state: State) -> ASGIApp:
    """Return an origin that no token may ever reach: it answers plausibly and remembers who came."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        state.foreign_requests.append(
            {
                "method": request.method,
                "path": request.url.path,
                "has_authorization": "authorization" in request.headers,
                "has_secret": b"client_secret" in body,
            }
        )
        return JSONResponse([])

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
