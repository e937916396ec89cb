"""Fixtures of the sandbox's own tests: an HTTP client, and centers made to order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.sandbox.vendor import Vendor
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A client that follows nothing and keeps no connection: every request is seen as it was answered."""
    transport = httpx.HTTPTransport(
        verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    )
    with httpx.Client(transport=transport, timeout=20) as client:
        yield client


@pytest.fixture
def new_center(sandbox: SandboxProcess, http: httpx.Client) -> Callable[..., Vendor]:
    """Put a center into the sandbox, with the given keys of its configuration."""

    def put(**config: Any) -> Vendor:
        return Vendor(sandbox, http, config)

    return put
