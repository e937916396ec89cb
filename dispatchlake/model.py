"""What a dispatch center is, what can be read from it, and what one page of an answer is.

Pure values: no I/O here. Anything a person configures is a pydantic model that refuses unknown fields, so
that a typing error is a message and not a silent default.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from dispatchlake.errors import ConfigError
from dispatchlake.mistakes import mistakes

PRODUCTION_URL = "https://api.prepared911.com"

CENTER_ID_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""Lower-case letters, digits and inner hyphens: safe in a path, a block name and a partition."""

_PATH_PATTERN = r"^/[^?#\s]*$"
_ITEM_PATH_PATTERN = r"^/[^?#\s{}]*\{id\}[^?#\s{}]*$"
_PATTERNS = {
    CENTER_ID_PATTERN: "must be lower-case letters, digits and inner hyphens, at most 63",
    _PATH_PATTERN: "must begin with / and have no ?, # or blank",
    _ITEM_PATH_PATTERN: "must begin with /, have {id} where the record's id goes, and no ?, # or blank",
}
"""What each demands, in words."""


class Scope(StrEnum):
    """What one set of credentials opens (vendor's authentication page)."""

    CAD_INCIDENTS = "cad_incidents"
    INCIDENT_EVENTS = "incident_events"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Paging(_Frozen):
    """How the rest of a listing is asked for.

    `follow` obeys what each response names (Link header, next link or cursor in the body, page counts) and
    asks for nothing a response did not name. The other styles pin the form for a center whose responses
    name nothing: `page` and `offset` count on until a page brings nothing new, `single` takes the first
    answer as the whole listing.

    Attributes:
        first_page: What `page_param` calls the first page, which comes where none is asked for: 1 or 0.
        size_param: Parameter that asks for `page_size` records a page; None asks for no size.
        max_pages: A listing with more is a failure, never an end.
        check_total: Whether a listing that brings fewer records than it names is read again, and then fails;
            and whether a total that falls says that records left the list, which may hide others.
    """

    style: Literal["follow", "page", "offset", "single"] = "follow"
    page_param: str = "page"
    first_page: Literal[0, 1] = 1
    size_param: str | None = "per_page"
    offset_param: str = "offset"
    cursor_param: str = "cursor"
    page_size: Annotated[int, Field(ge=1, le=100_000)] = 500
    max_pages: Annotated[int, Field(ge=1)] = 20_000
    check_total: bool = True


ItemPath = Annotated[str, Field(pattern=_ITEM_PATH_PATTERN)]


class Resource(_Frozen):
    """One listing of the vendor's API: where it is, how it pages, and which fields matter.

    Attributes:
        since_param: Query parameter for an inclusive lower bound on `changed_field`. None means the whole
            listing is read and compared here: a server may ignore a filter it does not know, or filter by
            another field, so one is sent only once `dispatchlake check` has proven it.
        until_param: The same for an upper bound, which only backfills ask for.
        records_key: Name of the array in an enveloped body; None takes a top-level list, or the only array.
        item_path: Where one record is shown, its id in the place of `{id}`; None where that is not asked for.
    """

    name: str
    scope: Scope
    path: Annotated[str, Field(pattern=_PATH_PATTERN)]
    item_path: ItemPath | None = None
    records_key: str | None = None
    id_field: str = "id"
    created_field: str = "created_at"
    changed_field: str = "updated_at"
    since_param: str | None = None
    until_param: str | None = None
    paging: Paging = Paging()


ITEM = ":item"
"""Ends the name that pages of one record have, beside the name of its listing."""

ResourceName = Literal["incident_events", "cad_incidents"]
"""Names in `RESOURCES`, for those who choose among them."""

ArchivedName = Literal["incident_events", "cad_incidents", "webhook:incident-events", "webhook:cad"]
"""What the archive has pages of: listings that are read, and webhooks that are delivered."""

RESOURCES: Mapping[str, Resource] = {
    resource.name: resource
    for resource in (
        Resource(
            name="incident_events",
            scope=Scope.INCIDENT_EVENTS,
            path="/v1/incident_events",
            # Not documented either: that of the stream token begins with it.
            item_path="/v1/incident_events/{id}",
        ),
        # No CAD listing is documented; the path is the probable one and configuration can replace it.
        Resource(name="cad_incidents", scope=Scope.CAD_INCIDENTS, path="/v1/cad_incidents"),
    )
}
"""Every listing the product reads. A center's configuration may override any field but name and scope."""


class ResourceOverride(_Frozen):
    """What one center's configuration changes about one resource; unset fields keep their defaults."""

    path: Annotated[str, Field(pattern=_PATH_PATTERN)] | None = None
    item_path: ItemPath | None = None
    records_key: str | None = None
    id_field: str | None = None
    created_field: str | None = None
    changed_field: str | None = None
    since_param: str | None = None
    until_param: str | None = None
    paging: Paging | None = None


class Credentials(_Frozen):
    """OAuth2 client credentials for one center and scope. The secret never shows in a repr."""

    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr

    @field_validator("client_secret")
    @classmethod
    def _refuse_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            raise ValueError("the client secret is empty")
        return value


class DispatchCenter(_Frozen):
    """One dispatch center (ECC): the unit of tenancy, of credentials and of failure.

    Attributes:
        time_zone: IANA name of the center's local time.
        token_body: How the token endpoint wants its request; the vendor documents JSON.
        max_requests_per_s: The center's rate budget, shared by everything on this machine.
        resources: Overrides by resource name.
    """

    center_id: Annotated[str, Field(pattern=CENTER_ID_PATTERN)]
    name: Annotated[str, Field(min_length=1)]
    time_zone: str = "UTC"
    base_url: str
    token_path: Annotated[str, Field(pattern=_PATH_PATTERN)] = "/oauth/token"  # noqa: S105 - a path
    token_body: Literal["json", "form"] = "json"  # noqa: S105 - a way of writing
    credentials: dict[Scope, Credentials] = {}
    max_requests_per_s: Annotated[float, Field(gt=0, le=1000)] = 10.0
    enabled: bool = True
    resources: dict[str, ResourceOverride] = {}

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as America/Chicago") from error
        return value

    @field_validator("base_url")
    @classmethod
    def _origin_only(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise ValueError("the base URL must look like https://host")
        if parts.username or parts.password or parts.query or parts.fragment or parts.path not in {"", "/"}:
            raise ValueError("the base URL must be an origin: no user, path, query or fragment")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("the base URL must be https: tokens would cross the network in clear")
        return value.rstrip("/")

    @property
    def is_on_this_machine(self) -> bool:
        """Say whether the base URL is a loopback address: no proxy stands before it."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")

    @field_validator("resources")
    @classmethod
    def _known_resources(cls, value: dict[str, ResourceOverride]) -> dict[str, ResourceOverride]:
        for name in value:
            if name not in RESOURCES:
                known = ", ".join(RESOURCES)
                raise ValueError(f"{name!r} is not a resource; known are {known}")
        return value

    def resource(self, name: str) -> Resource:
        """Return the resource as this center's configuration has it.

        Raises:
            ConfigError: No such resource.
        """
        try:
            declared = RESOURCES[name]
        except KeyError:
            known = ", ".join(RESOURCES)
            raise ConfigError(f"There is no resource {name!r}. Known are: {known}.") from None
        override = self.resources.get(name)
        if override is None:
            return declared
        changes = {key: getattr(override, key) for key in override.model_fields_set}
        return declared.model_copy(update=changes)

    def allowed_resources(self) -> list[Resource]:
        """Return the resources this center's credentials open, in declared order."""
        return [self.resource(name) for name in RESOURCES if RESOURCES[name].scope in self.credentials]


def configure_center(**fields: Any) -> DispatchCenter:
    """Build a center from what a person wrote.

    Raises:
        ConfigError: One sentence per field that cannot be used; values are not quoted, they may be secrets.
    """
    try:
        return DispatchCenter(**fields)
    except ValidationError as error:
        raise unusable_center(str(fields.get("center_id", "?")), error) from None


def unusable_center(center_id: str, error: ValidationError) -> ConfigError:
    """Return the error for a center's configuration, naming each field and what it must be."""
    return ConfigError(
        f"The configuration of dispatch center {center_id} cannot be used. "
        f"{mistakes(error, patterns=_PATTERNS)}."
    )


def _is_loopback(hostname: str) -> bool:
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class BodyAsReceived:
    """What is kept of a body that records were cut out of: its hash and length as it came.

    Attributes:
        sha256: Hexadecimal.
        because: Ids of the erasures that the records fell under; `retention` for a rule of retention.
    """

    sha256: str
    size_bytes: int
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, as received, with where it came from.

    Attributes:
        sequence: 1 for the first page of the listing.
        url_path: Path of the request, without its query.
        query: Paging and filter parameters that were sent; never a token.
        headers: Response headers of interest (counts, request id, date), lower-case names.
        body: The content as received, after transfer and content decoding.
        records: The decoded records of `body`, so that nothing downstream decodes it again.
        received: How the body was, where records that are erased have been cut out of it; else None.
        answered_at: When it was answered, by the center's clock; None where it does not say.
    """

    center_id: str
    resource: str
    sequence: int
    url_path: str
    query: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    requested_at: datetime
    received_at: datetime
    body: bytes = field(repr=False)
    records: Sequence[Any] = field(repr=False)
    received: BodyAsReceived | None = None
    answered_at: datetime | None = None
