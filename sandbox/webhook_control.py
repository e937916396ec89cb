"""The control endpoints of webhooks, and of the media files that they lead to."""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.endpoints import center_of, explained, json_object, state_of
from sandbox.media import MediaFault, content_of
from sandbox.webhook_config import SendingConfig, WebhooksConfig
from sandbox.webhook_events import iter_incidents
from sandbox.webhook_plan import plan


@explained
async def webhooks(request: Request) -> Response:
    """Say where a center's webhooks go (PUT), also while some are sent; show it without secrets."""
    outbox = center_of(request).outbox
    if request.method == "PUT":
        outbox.webhooks = WebhooksConfig.model_validate(await json_object(request))
    shown = {
        kind: {"url": target.url, "login": "oauth" if target.oauth else "bearer" if target.bearer else None}
        for kind, target in outbox.webhooks.targets.items()
    }
    return JSONResponse({"targets": shown, "retry": outbox.webhooks.retry.model_dump()})


@explained
async def sendings(request: Request) -> Response:
    """Begin to send (POST), stop (DELETE), and show how each sending stands."""
    state, center = state_of(request), center_of(request)
    if request.method == "POST":
        config = SendingConfig.model_validate(await json_object(request))
        if not center.outbox.webhooks.targets:
            raise ValueError(f"{center.center_id} has no webhooks; PUT their targets first")
        now = center.now(state.elapsed_s)
        found = [center.versions_until(name, now) for name in ("incident_events", "cad_incidents")]
        planned = await asyncio.to_thread(lambda: plan(iter_incidents(*found), config))
        center.outbox.begin(config, planned)
    elif request.method == "DELETE":
        center.outbox.stop()
    return JSONResponse(center.outbox.standing())


@explained
async def pushed(request: Request) -> Response:
    """Say what must be in the lake once all that was acknowledged has landed."""
    found = await asyncio.to_thread(center_of(request).outbox.truth)
    if "counts_only" in request.query_params:
        return JSONResponse({name: len(rows) for name, rows in found.items()})
    return JSONResponse(found)


@explained
async def bodies(request: Request) -> Response:
    """Say of each body that was tried how often it was acknowledged, and how often it may be kept besides."""
    return JSONResponse(await asyncio.to_thread(center_of(request).outbox.bodies))


@explained
async def media(request: Request) -> Response:
    """Let something go wrong with media files (POST), drop what is left of it (DELETE); show who asked."""
    state = state_of(request)
    if request.method == "POST":
        state.media.faults.append(MediaFault.model_validate(await json_object(request)))
    elif request.method == "DELETE":
        state.media.faults.clear()
    return JSONResponse(
        {"url": state.media_url, "faults_left": len(state.media.faults), "requests": state.media.log}
    )


@explained
async def media_files(request: Request) -> Response:
    """Say what the media files of a center hold, of which links were sent: their length and SHA-256."""
    paths = sorted({urlsplit(link).path for link in center_of(request).outbox.links()})
    contents = {path: content_of(path) for path in paths}
    return JSONResponse(
        {
            path: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in contents.items()
        }
    )


@explained
async def expire_links(request: Request) -> Response:
    """Let every link to a media file expire that was sent or shown so far."""
    state = state_of(request)
    state.media.expired |= state.media.handed_out
    for center in state.centers.values():
        state.media.expired |= {link.rpartition("=")[2] for link in center.outbox.links()}
    return JSONResponse({"expired": len(state.media.expired)})


def routes() -> list[Route]:
    """Return the routes, below `/_sandbox`."""
    return [
        Route("/webhooks/{center_id}", webhooks, methods=["GET", "PUT"]),
        Route("/sendings/{center_id}", sendings, methods=["GET", "POST", "DELETE"]),
        Route("/pushed/{center_id}", pushed),
        Route("/bodies/{center_id}", bodies),
        Route("/media", media, methods=["GET", "POST", "DELETE"]),
        Route("/media/{center_id}", media_files),
        Route("/expired_links", expire_links, methods=["POST"]),
    ]
