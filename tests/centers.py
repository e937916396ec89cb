"""Dispatch centers for tests: the same credentials given to the sandbox and to the client."""

from __future__ import annotations

import secrets
from typing import Any

from pydantic import SecretStr

from dispatchlake.model import Credentials, DispatchCenter, ResourceOverride, Scope
from tests.sandbox_process import SandboxProcess


def put_center(
    sandbox: SandboxProcess,
    *,
    sandbox_side: dict[str, Any] | None = None,
    client_side: dict[str, Any] | None = None,
    override: dict[str, Any] | None = None,
    center_id: str = "",
) -> DispatchCenter:
    """Create a center in the sandbox and return the client's side of it.

    Args:
        sandbox: The running sandbox.
        sandbox_side: The sandbox's keys for this center; by default 300 synthetic records.
        client_side: Fields of `DispatchCenter` that differ from the defaults here.
        override: Fields of `ResourceOverride`, for both resources.
        center_id: Its id, from which its records are made; by default one of its own.
    """
    center_id = center_id or f"center-{secrets.token_hex(4)}"
    credentials = {
        scope: Credentials(
            client_id=f"{center_id}-{scope}", client_secret=SecretStr(secrets.token_urlsafe(24))
        )
        for scope in Scope
    }
    defaults: dict[str, Any] = {
        "dataset": {"synthetic": {"count": 300, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}},
        "epoch": "2024-03-03T00:00:00Z",
        "paging": "link",
        "page_size": 100,
        "credentials": {
            str(scope): {"client_id": c.client_id, "client_secret": c.client_secret.get_secret_value()}
            for scope, c in credentials.items()
        },
    }
    sandbox.put_center(center_id, defaults | (sandbox_side or {}))
    fields: dict[str, Any] = {
        "center_id": center_id,
        "name": center_id,
        "base_url": sandbox.url,
        "credentials": credentials,
        "max_requests_per_s": 500,
        "resources": {str(scope): ResourceOverride(**override) for scope in Scope} if override else {},
    }
    return DispatchCenter(**(fields | (client_side or {})))
