"""What a person can configure of a center, and what each setting may be.

The same keys are accepted in the file given at start and by the control endpoint; an unknown key is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

ResourceName = Literal["incident_events", "cad_incidents"]

PagingForm = Literal[
    "array",  # a bare array of everything
    "link",  # Link header, RFC 8288
    "next_url",  # body: links.next
    "meta_page",  # body: meta.next_page
    "cursor",  # body: next_cursor, has_more
    "pagy",  # headers current-page, page-limit, total-pages, total-count
    "pagy_old",  # headers Current-Page, Page-Items, Total-Pages, Total-Count
    "pagy_countless",  # headers current-page and page-limit alone
    "kaminari",  # headers X-Total, X-Total-Pages, X-Page, X-Per-Page, X-Next-Page
    "page_unnamed",  # honours page= and per_page=, and names nothing
    "offset",  # honours offset= and limit=, and names nothing
    "page_ignored",  # ignores page=: the same listing whatever is asked
]

TimestampForm = Literal[
    "iso_z_ms", "iso_z", "iso_offset", "utc_name", "space_offset", "mixed", "no_zone", "epoch"
]

Order = Literal["created_desc", "created_asc", "updated_desc", "updated_asc", "id"]

Drift = Literal["unknown_fields", "missing_optional", "wrong_types", "nan", "invalid_utf8"]

WireFault = Literal["truncated_body", "short_content_length", "slow_bytes", "reset", "close", "bad_gzip"]

AnswerFault = Literal["status", "html_200", "not_json", "empty_body", "redirect_same", "redirect_foreign"]

ListFault = Literal["next_foreign", "repeated_page", "duplicate_rows", "reordered_rows", "empty_page"]

TokenFault = Literal["expire_token", "revoke_token"]


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time must say its zone")
    return value


Instant = Annotated[datetime, AfterValidator(_aware)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Synthetic(_Strict):
    """Made-up calls, spread evenly over a span."""

    count: Annotated[int, Field(ge=0)]
    starts_at: Instant
    span_s: Annotated[float, Field(gt=0)]
    seed: int = 0


class SyntheticSource(_Strict):
    """A dataset of made-up calls."""

    synthetic: Synthetic


class InlineVersion(_Strict):
    """One version of one record, as a test wants it."""

    visible_at: Instant
    record: dict[str, Any]


class InlineSource(_Strict):
    """A dataset given version by version."""

    records: dict[ResourceName, list[InlineVersion]]


class Client(_Strict):
    """The credentials the center accepts for one scope."""

    client_id: str
    client_secret: str = Field(repr=False)


class TokenRules(_Strict):
    """How tokens live.

    Attributes:
        mode: `new` gives another token each time; `reuse` gives the live one again, with its remaining life;
            `revoke_previous` gives another and revokes the one before.
        expires_in: How the life is stated: a number, a number as text, not at all, or zero.
    """

    life_s: Annotated[float, Field(gt=0)] = 7200
    mode: Literal["new", "reuse", "revoke_previous"] = "new"
    expires_in: Literal["number", "text", "missing", "zero"] = "number"
    body: Literal["any", "json", "form"] = "any"


class CenterConfig(_Strict):
    """One dispatch center.

    Attributes:
        dataset: Name of a sample, or made-up or inline records.
        epoch: The center's now when the sandbox's clock is at zero; the end of the dataset if left out.
        records_key: Name of the array in an enveloped body.
        filters: Whether `since_param` and `until_param` (both inclusive) work on `updated_at`, work on
            `created_at`, or are silently ignored.
        churn_s: Seconds this center's clock moves on before each page after the first.
    """

    dataset: Literal["houston-tx", "san-francisco-ca", "san-diego-ca"] | SyntheticSource | InlineSource
    epoch: Instant | None = None
    credentials: dict[ResourceName, Client] = {}
    token: TokenRules = TokenRules()
    paths: dict[ResourceName, str] = {}
    paging: PagingForm = "link"
    page_size: Annotated[int, Field(ge=1)] = 100
    page_size_cap: Annotated[int, Field(ge=1)] = 500
    records_key: str | None = None
    order: Order = "created_desc"
    filters: Literal["effective", "by_created_at", "ignored"] = "effective"
    since_param: str = "updated_since"
    until_param: str = "updated_before"
    timestamp_form: TimestampForm = "iso_z_ms"
    drift: list[Drift] = []
    churn_s: Annotated[float, Field(ge=0)] = 0
    latency_ms: Annotated[float, Field(ge=0)] = 0
    max_requests_per_s: Annotated[float, Field(gt=0)] | None = None
    gzip: bool = True

    def path(self, resource: ResourceName) -> str:
        """Return where a resource is listed."""
        return self.paths.get(resource, f"/v1/{resource}")


class Fault(_Strict):
    """Something that goes wrong, `times` times, for the next requests it applies to.

    Attributes:
        on: Requests it applies to.
        page: Only for the n-th page of a listing (as the server counts them), from 1.
        status, body, retry_after_s, retry_after_form: Of a `status` fault.
        bytes_per_s: Of a `slow_bytes` fault.
    """

    kind: AnswerFault | WireFault | ListFault | TokenFault | Drift
    on: Literal["token", "incident_events", "cad_incidents", "lists", "any"] = "lists"
    times: Annotated[int, Field(ge=1)] = 1
    page: Annotated[int, Field(ge=1)] | None = None
    status: Annotated[int, Field(ge=400, le=599)] = 503
    body: str = ""
    retry_after_s: Annotated[int, Field(ge=0)] | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    bytes_per_s: Annotated[int, Field(ge=1)] = 64


class SandboxConfig(_Strict):
    """The file given at start."""

    centers: dict[str, CenterConfig] = {}

    @model_validator(mode="after")
    def _unique_clients(self) -> SandboxConfig:
        ids = [client.client_id for center in self.centers.values() for client in center.credentials.values()]
        if len(ids) != len(set(ids)):
            raise ValueError("every client_id may appear only once: a center is known by it alone")
        return self


def explain(error: ValidationError) -> str:
    """Return what is wrong with a configuration, one sentence a field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )
