"""What all control endpoints have in common: mistakes answered with a sentence, and what a request names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.center import Center
from sandbox.config import explain
from sandbox.state import State

Endpoint = Callable[[Request], Awaitable[Response]]


class NotFoundError(Exception):
    """What the path names is not there."""


def explained(endpoint: Endpoint) -> Endpoint:
    """Answer a mistake with a sentence and a 4xx."""

    @wraps(endpoint)
    async def wrapped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NotFoundError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        except ValidationError as error:
            return JSONResponse({"error": explain(error)}, status_code=400)
        except (ValueError, OverflowError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return wrapped


async def json_object(request: Request) -> dict[str, Any]:
    """Return the body, which must be a JSON object."""
    try:
        given = await request.json()
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - the sender's mistake
    return given


def state_of(request: Request) -> State:
    """Return what the sandbox knows."""
    return cast("State", request.app.state.sandbox)


def center_of(request: Request) -> Center:
    """Return the center that the path names."""
    center_id = request.path_params["center_id"]
    try:
        return state_of(request).centers[center_id]
    except KeyError:
        raise NotFoundError(f"there is no center {center_id!r}") from None
