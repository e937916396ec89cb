"""The vendor's own endpoints: the token endpoint, and the listings behind a bearer token."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from sandbox.center import Center
from sandbox.config import (
    DRIFTS,
    TOKEN_FAULTS,
    WIRE_FAULTS,
    Drift,
    Fault,
    ResourceName,
    TokenFault,
    WireFault,
)
from sandbox.drift import apply_drift
from sandbox.item import answer_item
from sandbox.listing import Answer, answer, requested_page
from sandbox.page_faults import query_to_answer, spoil
from sandbox.state import State
from sandbox.timestamps import render
from sandbox.tokens import Refusal
from sandbox.wire import WireResponse

_DESCRIPTIONS: dict[Refusal, str] = {
    "invalid": "The access token is invalid",
    "revoked": "The access token was revoked",
    "expired": "The access token expired",
}

INSUFFICIENT_SCOPE = 'Bearer realm="sandbox", error="insufficient_scope"'

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"
)


async def token_endpoint(request: Request) -> Response:
    """Answer `POST /oauth/token` as Doorkeeper does: client credentials, in a JSON or a form body."""
    state: State = request.app.state.sandbox
    fields, is_json = await _token_fields(request)
    center, scope = state.client(fields.get("client_id", ""))
    if center is None or scope is None:
        return _refused(401, "invalid_client", "Client authentication failed: unknown client.")
    refusal: Response | None = None
    rules = center.config.token
    if rules.body not in {"any", "json" if is_json else "form"}:
        refusal = _refused(400, "invalid_request", f"The body must be {rules.body}.")
    elif fields.get("client_secret") != center.config.credentials[scope].client_secret:
        refusal = _refused(401, "invalid_client", "Client authentication failed: wrong secret.")
    elif fields.get("grant_type") != "client_credentials":
        code = "unsupported_grant_type" if fields.get("grant_type") else "invalid_request"
        refusal = _refused(400, code, "The grant type must be client_credentials.")
    elif fields.get("scope", scope) != scope:
        refusal = _refused(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed.")

    def issue(_fault: Fault | None) -> Response:
        if refusal is not None:
            center.counts.logins_refused += 1
            return refusal
        token = center.tokens.issue(scope, rules)
        center.counts.logins_ok += 1
        life_s = max(0, int(token.remaining_s + 0.999))
        body: dict[str, Any] = {"access_token": token.value, "token_type": "Bearer"}
        if rules.expires_in != "missing":
            body["expires_in"] = {"number": life_s, "text": str(life_s), "zero": 0}[rules.expires_in]
        body |= {"scope": scope, "created_at": int(time.time())}
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    return await _play(request, center, "token", None, issue)


async def listing_endpoint(request: Request) -> Response:
    """Answer a GET of a listing; the center is known from the token alone."""
    state: State = request.app.state.sandbox
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    center = state.center_of_token(value) if scheme.lower() == "bearer" else None
    if center is None:
        return _unauthorized("invalid")
    resource = next(
        (n for n in center.dataset.versions if center.config.path(_resource(n)) == request.url.path), None
    )
    listing = f"{center.config.path('incident_events')}/"
    if resource is None and request.url.path.startswith(listing):
        return await _item_endpoint(request, center, request.url.path.removeprefix(listing), value)
    if resource is None:
        return JSONResponse({"status": 404, "error": "Not Found"}, status_code=404)
    name = _resource(resource)

    def list_records(fault: Fault | None) -> Response:
        if refusal := center.tokens.refusal(value):
            return _unauthorized(refusal)
        if center.tokens.issued[value].scope != name:
            return Response(status_code=403, headers={"WWW-Authenticate": INSUFFICIENT_SCOPE})
        return _page(request, center, name, fault)

    return await _play(request, center, name, value, list_records)


async def _item_endpoint(request: Request, center: Center, incident_id: str, token: str) -> Response:
    """Answer a GET of one incident."""
    state: State = request.app.state.sandbox

    def show(_fault: Fault | None) -> Response:
        if refusal := center.tokens.refusal(token):
            return _unauthorized(refusal)
        if center.tokens.issued[token].scope != "incident_events":
            return Response(status_code=403, headers={"WWW-Authenticate": INSUFFICIENT_SCOPE})
        return answer_item(center, incident_id, state.elapsed_s, state.media)

    return await _play(request, center, "item", token, show)


async def _play(
    request: Request, center: Center, on: str, token: str | None, respond: Callable[[Fault | None], Response]
) -> Response:
    """Count and log a request, wait as configured, and let the next fault that applies have its way."""
    counts = center.counts
    counts.requests[on] += 1
    counts.concurrent += 1
    counts.max_concurrent = max(counts.max_concurrent, counts.concurrent)
    fault = None
    try:
        await _wait_as_configured(center)
        if not _is_within_limit(center):
            response: Response = Response(status_code=429)
        else:
            page = None if on in {"token", "item"} else requested_page(center.config, request.query_params)
            fault = center.take_fault(on, page)
            response = _faulty(request, center, fault, respond) if fault else respond(None)
    finally:
        counts.concurrent -= 1
    counts.statuses[str(response.status_code)] += 1
    center.log.append(
        {
            "at_s": round(time.monotonic(), 3),
            "on": on,
            "path": request.url.path,
            "query": dict(request.query_params),
            "status": response.status_code,
            "fault": fault.kind if fault else None,
            "token_generation": center.tokens.issued[token].generation
            if token in center.tokens.issued
            else None,
        }
    )
    return response


async def _wait_as_configured(center: Center) -> None:
    """Wait the center's latency, or until the center is changed: what waits then is answered at once."""
    if center.config.latency_ms:
        with suppress(TimeoutError):
            await asyncio.wait_for(center.replaced.wait(), center.config.latency_ms / 1000)


def _faulty(
    request: Request, center: Center, fault: Fault, respond: Callable[[Fault | None], Response]
) -> Response:
    if fault.kind in TOKEN_FAULTS:
        center.tokens.spoil(cast("TokenFault", fault.kind))
    if instead := _answer_instead(request, fault):
        return instead
    answered = respond(fault)
    if fault.kind in WIRE_FAULTS:
        return WireResponse(cast("WireFault", fault.kind), answered, bytes_per_s=fault.bytes_per_s)
    return answered


def _answer_instead(request: Request, fault: Fault) -> Response | None:
    """Return what comes in place of the answer, or None where the fault spoils the answer itself."""
    if fault.kind in {"redirect_same", "redirect_foreign"}:
        state: State = request.app.state.sandbox
        base = state.foreign_url if fault.kind == "redirect_foreign" else str(request.base_url).rstrip("/")
        target = f"{base}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(target, status_code=307 if request.method == "POST" else 302)
    instead = {
        "status": lambda: _status(fault),
        "html_200": lambda: Response(HTML_PAGE, media_type="text/html"),
        "not_json": lambda: Response('{"records": [', media_type="application/json"),
        "empty_body": lambda: Response(b"", media_type="application/json"),
    }
    make = instead.get(fault.kind)
    return make() if make else None


def _page(request: Request, center: Center, resource: ResourceName, fault: Fault | None) -> Response:
    state: State = request.app.state.sandbox
    query = dict(request.query_params)
    if requested_page(center.config, query) > 1:
        center.churned_s += center.config.churn_s
    origin, kind = str(request.base_url).rstrip("/"), fault.kind if fault else None
    try:
        found = answer(
            center,
            resource,
            f"{origin}{request.url.path}",
            query_to_answer(center.config, query, fault),
            center.now(state.elapsed_s),
            is_empty=kind == "empty_page",
        )
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    if fault:
        origin = state.foreign_url if kind == "next_foreign" else origin
        spoil(found, fault, center.config, query, f"{origin}{request.url.path}")
    response = Response(
        _body(center, resource, found, fault), headers=found.headers, media_type="application/json"
    )
    if not center.config.gzip:
        response.headers["Content-Encoding"] = "identity"  # the middleware leaves an encoded body alone
    return response


def _body(center: Center, resource: ResourceName, found: Answer, fault: Fault | None) -> bytes:
    records = [render(version.record, center.config.timestamp_form) for version in found.records]
    drifts: list[Drift] = list(center.config.drift)
    if fault and fault.kind in DRIFTS:
        drifts.append(cast("Drift", fault.kind))
    for drift in drifts:
        apply_drift(records, drift)
    is_bare = found.envelope is None and not center.config.records_key
    key = center.config.records_key or resource
    content: Any = records if is_bare else {key: records} | (found.envelope or {})
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    if "invalid_utf8" in drifts:
        body = body.replace(b"\xc3\xa9", b"\xe9")  # as a Latin-1 source passed through unread
    return body


def _status(fault: Fault) -> Response:
    headers = {}
    if fault.retry_after_s is not None:
        headers["Retry-After"] = (
            str(fault.retry_after_s)
            if fault.retry_after_form == "seconds"
            else email.utils.formatdate(time.time() + fault.retry_after_s, usegmt=True)
        )
    if fault.status == 401:
        headers["WWW-Authenticate"] = _challenge("invalid")
    if fault.status == 403:
        headers["WWW-Authenticate"] = INSUFFICIENT_SCOPE
    return Response(fault.body, status_code=fault.status, headers=headers, media_type="text/html")


def _is_within_limit(center: Center) -> bool:
    """Say whether the last second's requests are within the configured limit."""
    limit = center.config.max_requests_per_s
    if limit is None:
        return True
    since_s = time.monotonic() - 1.0
    recent = sum(1 for entry in center.log if entry["at_s"] > since_s and entry["status"] != 429)
    return recent < limit


async def _token_fields(request: Request) -> tuple[dict[str, str], bool]:
    body = await request.body()
    is_json = request.headers.get("content-type", "").startswith("application/json")
    if not is_json:
        return dict(parse_qsl(body.decode("utf-8", "replace"))), False
    try:
        fields = json.loads(body)
    except ValueError:
        return {}, True
    return ({k: v for k, v in fields.items() if isinstance(v, str)} if isinstance(fields, dict) else {}), True


def _refused(status: int, code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, status_code=status)


def _unauthorized(reason: Refusal) -> Response:
    return Response(status_code=401, headers={"WWW-Authenticate": _challenge(reason)})


def _challenge(reason: Refusal) -> str:
    return f'Bearer realm="sandbox", error="invalid_token", error_description="{_DESCRIPTIONS[reason]}"'


def _resource(name: str) -> ResourceName:
    return cast("ResourceName", name)
