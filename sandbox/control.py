"""The control endpoints, under `/_sandbox/`: centers, clock, truth, faults and what was seen.

For people and tests on the same machine; there is no login.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, cast

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.center import Center
from sandbox.config import CenterConfig, ClockMove, Fault, ResourceName, explain
from sandbox.page_faults import refuse_what_cannot_happen
from sandbox.state import State
from sandbox.timestamps import canonical
from sandbox.webhook_config import SendingConfig, WebhooksConfig
from sandbox.webhook_events import iter_incidents
from sandbox.webhook_plan import plan

Endpoint = Callable[[Request], Awaitable[Response]]


class _NotFoundError(Exception):
    """What the path names is not there."""


def _explained(endpoint: Endpoint) -> Endpoint:
    """Answer a mistake with a sentence and a 4xx."""

    @wraps(endpoint)
    async def wrapped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except _NotFoundError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        except ValidationError as error:
            return JSONResponse({"error": explain(error)}, status_code=400)
        except (ValueError, OverflowError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return wrapped


@_explained
async def health(request: Request) -> Response:
    """Say that the sandbox runs, and where its second origin is."""
    state = _state(request)
    return JSONResponse(
        {"ok": True, "url": state.url, "foreign_url": state.foreign_url, "centers": list(state.centers)}
    )


@_explained
async def centers(request: Request) -> Response:
    """List the centers: what is configured, without secrets."""
    state = _state(request)
    return JSONResponse(
        {
            center_id: {
                "now": _z(center.now(state.elapsed_s)),
                "paging": center.config.paging,
                "paths": {
                    name: center.config.path(cast("ResourceName", name)) for name in center.dataset.versions
                },
                "clients": {scope: client.client_id for scope, client in center.config.credentials.items()},
            }
            for center_id, center in state.centers.items()
        }
    )


@_explained
async def put_center(request: Request) -> Response:
    """Create or replace a center (PUT), or change some of its keys (PATCH)."""
    state, center_id = _state(request), request.path_params["center_id"]
    given = await _object(request)
    if request.method == "PATCH":
        given = _center(request).config.model_dump(mode="json", exclude_unset=True) | given
    center = state.put(center_id, CenterConfig.model_validate(given))
    return JSONResponse({"center_id": center_id, "now": _z(center.now(state.elapsed_s))})


@_explained
async def delete_center(request: Request) -> Response:
    """Forget a center."""
    center = _center(request)
    center.outbox.stop()
    del _state(request).centers[center.center_id]
    return Response(status_code=204)


@_explained
async def clock(request: Request) -> Response:
    """Show the clock, or move it: `{"advance_s": n}`, `{"elapsed_s": n}`, or by itself: `{"speed": n}`."""
    state = _state(request)
    if request.method == "POST":
        move = ClockMove.model_validate(await _object(request))
        if move.speed is not None:
            state.set_speed(move.speed)
        elif move.elapsed_s is not None:
            state.set_clock(move.elapsed_s)
        else:
            state.set_clock(state.elapsed_s + move.advance_s)
    shown = {}
    elapsed_s = state.elapsed_s
    for center_id, center in state.centers.items():
        now, ends_at = center.now(elapsed_s), center.dataset.ends_at
        shown[center_id] = {"now": _z(now), "is_exhausted": ends_at is None or ends_at <= now}
    return JSONResponse({"elapsed_s": elapsed_s, "speed": state.speed, "centers": shown})


@_explained
async def truth(request: Request) -> Response:
    """Say what exists of one resource: now, or at another `elapsed_s`; in canonical form, faults aside."""
    state, center = _state(request), _center(request)
    resource = request.path_params["resource"]
    if resource not in center.dataset.versions:
        raise _NotFoundError(
            f"there is no resource {resource!r}; known are {', '.join(center.dataset.versions)}"
        )
    now = center.now(float(request.query_params.get("elapsed_s", state.elapsed_s)))
    versions = center.versions_until(resource, now)
    current = {version.record_id: version for version in versions}
    answer: dict[str, Any] = {"now": _z(now), "current_count": len(current), "version_count": len(versions)}
    if "counts_only" not in request.query_params:
        answer["current"] = [canonical(version.record) for version in current.values()]
        answer["versions"] = [canonical(version.record) for version in versions]
    return JSONResponse(answer)


@_explained
async def stats(request: Request) -> Response:
    """Show what every center has counted; POST to `stats/reset` begins anew."""
    state = _state(request)
    if request.method == "POST":
        for center in state.centers.values():
            center.counts.begin_anew()
            center.log.clear()
    return JSONResponse({center_id: center.counts.as_json() for center_id, center in state.centers.items()})


@_explained
async def requests(request: Request) -> Response:
    """Show a center's last thousand requests."""
    return JSONResponse(list(_center(request).log))


@_explained
async def tokens(request: Request) -> Response:
    """Show every token a center has issued: for tests that look for them where they must not be."""
    return JSONResponse(list(_center(request).tokens.issued))


@_explained
async def faults(request: Request) -> Response:
    """Add a fault (POST), or drop those that are left (DELETE)."""
    center = _center(request)
    if request.method == "DELETE":
        center.faults.clear()
    elif request.method == "POST":
        fault = Fault.model_validate(await _object(request))
        refuse_what_cannot_happen(fault, center.config.paging)
        center.faults.append(fault)
    return JSONResponse([fault.model_dump() for fault in center.faults])


@_explained
async def foreign(request: Request) -> Response:
    """Show which requests reached the second origin, and whether any carried an Authorization header."""
    return JSONResponse(_state(request).foreign_requests)


@_explained
async def webhooks(request: Request) -> Response:
    """Say where a center's webhooks go (PUT), also while some are sent; show it without secrets."""
    outbox = _center(request).outbox
    if request.method == "PUT":
        outbox.webhooks = WebhooksConfig.model_validate(await _object(request))
    shown = {
        kind: {"url": target.url, "login": "oauth" if target.oauth else "bearer" if target.bearer else None}
        for kind, target in outbox.webhooks.targets.items()
    }
    return JSONResponse({"targets": shown, "retry": outbox.webhooks.retry.model_dump()})


@_explained
async def sendings(request: Request) -> Response:
    """Begin to send (POST), stop (DELETE), and show how each sending stands."""
    state, center = _state(request), _center(request)
    if request.method == "POST":
        config = SendingConfig.model_validate(await _object(request))
        if not center.outbox.webhooks.targets:
            raise ValueError(f"{center.center_id} has no webhooks; PUT their targets first")
        now = center.now(state.elapsed_s)
        found = [center.versions_until(name, now) for name in ("incident_events", "cad_incidents")]
        planned = await asyncio.to_thread(lambda: plan(iter_incidents(*found), config))
        center.outbox.begin(config, planned)
    elif request.method == "DELETE":
        center.outbox.stop()
    return JSONResponse(center.outbox.standing())


@_explained
async def pushed(request: Request) -> Response:
    """Say what must be in the lake once all that was acknowledged has landed."""
    found = await asyncio.to_thread(_center(request).outbox.truth)
    if "counts_only" in request.query_params:
        return JSONResponse({name: len(rows) for name, rows in found.items()})
    return JSONResponse(found)


@_explained
async def bodies(request: Request) -> Response:
    """Say of each body that was tried how often it was acknowledged, and how often it may be kept besides."""
    return JSONResponse(await asyncio.to_thread(_center(request).outbox.bodies))


def routes() -> list[Route]:
    """Return every control route, below `/_sandbox`."""
    center = "/centers/{center_id}"
    return [
        Route("/health", health),
        Route("/centers", centers),
        Route(center, put_center, methods=["PUT", "PATCH"]),
        Route(center, delete_center, methods=["DELETE"]),
        Route("/clock", clock, methods=["GET", "POST"]),
        Route("/truth/{center_id}/{resource}", truth),
        Route("/stats", stats),
        Route("/stats/reset", stats, methods=["POST"]),
        Route("/requests/{center_id}", requests),
        Route("/tokens/{center_id}", tokens),
        Route("/faults/{center_id}", faults, methods=["GET", "POST", "DELETE"]),
        Route("/foreign", foreign),
        Route("/webhooks/{center_id}", webhooks, methods=["GET", "PUT"]),
        Route("/sendings/{center_id}", sendings, methods=["GET", "POST", "DELETE"]),
        Route("/pushed/{center_id}", pushed),
        Route("/bodies/{center_id}", bodies),
    ]


async def _object(request: Request) -> dict[str, Any]:
    try:
        given = await request.json()
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - the sender's mistake
    return given


def _state(request: Request) -> State:
    return cast("State", request.app.state.sandbox)


def _center(request: Request) -> Center:
    center_id = request.path_params["center_id"]
    try:
        return _state(request).centers[center_id]
    except KeyError:
        raise _NotFoundError(f"there is no center {center_id!r}") from None


def _z(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
