"""An ingest in a process of its own: with another time zone, or with less than it needs."""

from __future__ import annotations

import json

from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.lake.scripts import Script

PRELUDE = """
import json, sys
from datetime import date
from pathlib import Path
from dispatchlake.errors import DispatchLakeError
from dispatchlake.ingest import ingest_cell
from dispatchlake.model import configure_center
from dispatchlake.settings import Settings

center = configure_center(**json.loads(sys.argv[1]))
settings = Settings(**json.loads(sys.argv[2]))

def ingest(since=None):
    return ingest_cell(center, "cad_incidents", settings=settings, run_id="child", since=since)
"""


def child(
    source: str, center: DispatchCenter, settings: Settings, *, environment: dict[str, str] | None = None
) -> Script:
    """Start a script that has `center`, `settings` and `ingest` at hand."""
    fields = center.model_dump(mode="json", exclude_unset=True)
    for scope, credentials in center.credentials.items():
        secret = credentials.client_secret.get_secret_value()
        fields["credentials"][str(scope)]["client_secret"] = secret
    return Script(PRELUDE + source, json.dumps(fields), settings.model_dump_json(), environment=environment)
