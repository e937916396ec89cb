"""The control endpoints, under `/_sandbox/`: centers, clock, truth, faults and what was seen.

For people and tests on the same machine; there is no login.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import webhook_control
from sandbox.config import CenterConfig, ClockMove, Fault, ResourceName
from sandbox.endpoints import NotFoundError, center_of, explained, json_object, state_of
from sandbox.page_faults import refuse_what_cannot_happen
from sandbox.timestamps import canonical


@explained
async def health(request: Request) -> Response:
    """Say that the sandbox runs, and where its second origin is."""
    state = state_of(request)
    return JSONResponse(
        {
            "ok": True,
            "url": state.url,
            "foreign_url": state.foreign_url,
            "media_url": state.media_url,
            "centers": list(state.centers),
        }
    )


@explained
async def centers(request: Request) -> Response:
    """List the centers: what is configured, without secrets."""
    state = state_of(request)
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


@explained
async def put_center(request: Request) -> Response:
    """Create or replace a center (PUT), or change some of its keys (PATCH)."""
    state, center_id = state_of(request), request.path_params["center_id"]
    given = await json_object(request)
    if request.method == "PATCH":
        given = center_of(request).config.model_dump(mode="json", exclude_unset=True) | given
    center = state.put(center_id, CenterConfig.model_validate(given))
    return JSONResponse({"center_id": center_id, "now": _z(center.now(state.elapsed_s))})


@explained
async def delete_center(request: Request) -> Response:
    """Forget a center."""
    center = center_of(request)
    center.outbox.stop()
    del state_of(request).centers[center.center_id]
    return Response(status_code=204)


@explained
async def clock(request: Request) -> Response:
    """Show the clock, or move it: `{"advance_s": n}`, `{"elapsed_s": n}`, or by itself: `{"speed": n}`."""
    state = state_of(request)
    if request.method == "POST":
        move = ClockMove.model_validate(await json_object(request))
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


@explained
async def truth(request: Request) -> Response:
    """Say what exists of one resource: now, or at another `elapsed_s`; in canonical form, faults aside."""
    state, center = state_of(request), center_of(request)
    resource = request.path_params["resource"]
    if resource not in center.dataset.versions:
        raise NotFoundError(
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


@explained
async def stats(request: Request) -> Response:
    """Show what every center has counted; POST to `stats/reset` begins anew."""
    state = state_of(request)
    if request.method == "POST":
        for center in state.centers.values():
            center.counts.begin_anew()
            center.log.clear()
    return JSONResponse({center_id: center.counts.as_json() for center_id, center in state.centers.items()})


@explained
async def requests(request: Request) -> Response:
    """Show a center's last thousand requests."""
    return JSONResponse(list(center_of(request).log))


@explained
async def tokens(request: Request) -> Response:
    """Show every token a center has issued: for tests that look for them where they must not be."""
    return JSONResponse(list(center_of(request).tokens.issued))


@explained
async def faults(request: Request) -> Response:
    """Add a fault (POST), or drop those that are left (DELETE)."""
    center = center_of(request)
    if request.method == "DELETE":
        center.faults.clear()
    elif request.method == "POST":
        fault = Fault.model_validate(await json_object(request))
        refuse_what_cannot_happen(fault, center.config.paging)
        center.faults.append(fault)
    return JSONResponse([fault.model_dump() for fault in center.faults])


@explained
async def foreign(request: Request) -> Response:
    """Show which requests reached the second origin, and whether any carried an Authorization header."""
    return JSONResponse(state_of(request).foreign_requests)


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
        *webhook_control.routes(),
    ]


def _z(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
