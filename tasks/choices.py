"""The registered centers as choices in the form of the deployed `backfill`, where Prefect knows only text."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import ObjectNotFound

from tasks.centers import load_blocks

DEPLOYMENT = "backfill/backfill"


def offer_centers() -> bool:
    """Let the deployed form offer the centers that are registered now; call it after either has changed.

    Returns:
        bool: Whether there is a deployment to change.
    """
    center_ids = list(load_blocks())
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            return False
        schema = with_choices(deployment.parameter_openapi_schema or {}, center_ids)
        if schema != deployment.parameter_openapi_schema:
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
    return True


def with_choices(schema: dict[str, Any], center_ids: list[str]) -> dict[str, Any]:
    """Return a form's schema in which `centers` is chosen from these ids; any text, where there are none."""
    properties = dict(schema.get("properties") or {})
    choice = {"type": "string"} | ({"enum": center_ids} if center_ids else {})
    properties["centers"] = properties.get("centers", {}) | {"items": choice}
    return schema | {"properties": properties}
