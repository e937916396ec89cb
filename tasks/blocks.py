"""The dispatch center as a Prefect block: where credentials live, encrypted by Prefect's server.

Flows and tasks pass center ids; only `tasks.centers.load_center`, called inside a task, ever holds a secret.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from dispatchlake.errors import ConfigError
from dispatchlake.model import PRODUCTION_URL, RESOURCES, Credentials, DispatchCenter, Scope, configure_center

PLACEHOLDER = "********"
"""What Prefect shows in a secret's place; saving a form must never store it as the secret."""


class DispatchCenterBlock(Block):
    """One dispatch center (ECC): where its API is, and one set of credentials per scope.

    The block's name is the center's id. Fields are flat so that Prefect's form shows each with its help.
    """

    _block_type_name = "Dispatch center"
    _block_type_slug = "dispatch-center"
    _description = "A dispatch center of the Prepared partner API: address, time zone, credentials per scope."

    display_name: Annotated[str, Field(description="The center's name for people.")]
    time_zone: Annotated[str, Field(description="IANA name of its local time, such as America/Chicago.")] = (
        "UTC"
    )
    base_url: Annotated[str, Field(description="Origin of the partner API.")] = PRODUCTION_URL
    # Empty and not null where there are none: the form shows a choice of types for what may be null.
    cad_incidents_client_id: Annotated[
        str, Field(description="Client id for the scope cad_incidents; empty if not issued.")
    ] = ""
    cad_incidents_client_secret: Annotated[
        SecretStr, Field(description="Client secret for the scope cad_incidents.")
    ] = SecretStr("")
    incident_events_client_id: Annotated[
        str, Field(description="Client id for the scope incident_events; empty if not issued.")
    ] = ""
    incident_events_client_secret: Annotated[
        SecretStr, Field(description="Client secret for the scope incident_events.")
    ] = SecretStr("")
    token_path: Annotated[str, Field(description="Path of the token endpoint.")] = "/oauth/token"  # noqa: S105
    token_body: Annotated[
        Literal["json", "form"],
        Field(description="How the token endpoint wants its request; json is what the vendor documents."),
    ] = "json"  # noqa: S105 - a way of writing
    max_requests_per_s: Annotated[
        float, Field(gt=0, description="Rate budget, shared by all that runs on one machine.")
    ] = 10.0
    enabled: Annotated[bool, Field(description="Scheduled runs skip a center that is not enabled.")] = True
    resources: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description='Overrides per resource, such as {"cad_incidents": {"path": "/v2/cad_incidents"}}.',
        ),
    ]

    def to_center(self, center_id: str) -> DispatchCenter:
        """Return the block as the library's value, validated.

        Raises:
            ConfigError: The block holds something the product cannot use; the text names center and field.
        """
        credentials: dict[Scope, Credentials] = {}
        for scope in Scope:
            client_id = getattr(self, f"{scope}_client_id")
            secret: SecretStr = getattr(self, f"{scope}_client_secret")
            if not client_id:
                continue
            if secret.get_secret_value() in {"", PLACEHOLDER}:
                raise ConfigError(
                    f"Dispatch center {center_id} has a client id for {scope} but no client secret. "
                    f"Add it: dispatchlake centers add {center_id} --scope {scope} ..."
                )
            credentials[scope] = Credentials(client_id=client_id, client_secret=secret)
        return configure_center(
            center_id=center_id,
            name=self.display_name,
            time_zone=self.time_zone,
            base_url=self.base_url,
            token_path=self.token_path,
            token_body=self.token_body,
            credentials=credentials,
            max_requests_per_s=self.max_requests_per_s,
            enabled=self.enabled,
            resources=self.resources,
        )

    def resource_names(self) -> list[str]:
        """Return the resources that the scopes with credentials open, in declared order."""
        return [name for name, resource in RESOURCES.items() if getattr(self, f"{resource.scope}_client_id")]

    @classmethod
    def from_center(cls, center: DispatchCenter) -> DispatchCenterBlock:
        """Return the block that stores the center."""
        fields: dict[str, Any] = {}
        for scope, credentials in center.credentials.items():
            fields[f"{scope}_client_id"] = credentials.client_id
            fields[f"{scope}_client_secret"] = credentials.client_secret
        return cls(
            display_name=center.name,
            time_zone=center.time_zone,
            base_url=center.base_url,
            token_path=center.token_path,
            token_body=center.token_body,
            max_requests_per_s=center.max_requests_per_s,
            enabled=center.enabled,
            resources={
                name: override.model_dump(mode="json", exclude_unset=True)
                for name, override in center.resources.items()
            },
            **fields,
        )
