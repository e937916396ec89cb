"""Reading a sandbox's center with the real client, and asking the sandbox what it saw."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from dispatchlake.api import CenterClient, Patience
from dispatchlake.model import DispatchCenter, Scope
from dispatchlake.windows import Window
from tests.sandbox_process import SandboxProcess

LISTING = "incident_events"

EVERYTHING = Window(None, datetime(2100, 1, 1, tzinfo=UTC))

IMPATIENT = Patience(timeout_s=5, page_timeout_s=5, retry_budget_s=3)


def open_client(center: DispatchCenter, state_dir: Path, patience: Patience = IMPATIENT) -> CenterClient:
    """Return a client that gives up within seconds."""
    return CenterClient(center, state_dir=state_dir, patience=patience)


def read(center: DispatchCenter, state_dir: Path, patience: Patience = IMPATIENT) -> list[str]:
    """Read a listing with a client of its own; return the records' ids in the order they came."""
    with open_client(center, state_dir, patience) as client:
        return ids_of(client)


def ids_of(client: CenterClient) -> list[str]:
    """Read a listing; return the records' ids in the order they came."""
    pages = client.iter_pages(client.center.resource(LISTING), EVERYTHING)
    return [record["id"] for page in pages for record in page.records]


def truth(sandbox: SandboxProcess, center: DispatchCenter) -> set[str]:
    """Return the ids that exist now."""
    return {record["id"] for record in sandbox.truth(center.center_id, LISTING)["current"]}


def asked(sandbox: SandboxProcess, center: DispatchCenter, on: str = LISTING) -> int:
    """Return how many requests the center saw for a listing, or for `token`."""
    return int(sandbox.counts(center.center_id)["requests"].get(on, 0))


def logins(sandbox: SandboxProcess, center: DispatchCenter) -> tuple[int, int]:
    """Return how many logins the center accepted, and how many it refused."""
    counts = sandbox.counts(center.center_id)
    return counts["logins_ok"], counts["logins_refused"]


def foreign_requests(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    """Return what the other origin saw."""
    seen: list[dict[str, Any]] = sandbox.call("GET", "foreign")
    return seen


def secrets_of(sandbox: SandboxProcess, center: DispatchCenter) -> list[str]:
    """Return everything of a center that may appear nowhere: its client secrets and its tokens."""
    secrets = [c.client_secret.get_secret_value() for c in center.credentials.values()]
    return secrets + sandbox.tokens(center.center_id)


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def is_good(center: DispatchCenter, token: str) -> bool:
    """Say whether the center takes a token."""
    url = f"{center.base_url}{center.resource(LISTING).path}?per_page=1"
    return httpx.get(url, headers=bearer(token), trust_env=False).status_code == 200


INCIDENT_EVENTS = Scope.INCIDENT_EVENTS
