"""What a person can configure of a center, and what each setting may be.

The same keys are accepted in the file given at start and by the control endpoint; an unknown key is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

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

FaultKind = Literal[AnswerFault, WireFault, ListFault, TokenFault, Drift]

WIRE_FAULTS: frozenset[str] = frozenset(get_args(WireFault))
TOKEN_FAULTS: frozenset[str] = frozenset(get_args(TokenFault))
DRIFTS: frozenset[str] = frozenset(get_args(Drift))
LISTING_FAULTS: frozenset[str] = frozenset(get_args(ListFault)) | DRIFTS
"""Kinds that spoil a page's records or how it names the next: a login has neither."""


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time must say its zone")
    return value


Instant = Annotated[datetime, AfterValidator(_aware)]


def _check_instant(name: str, value: Any) -> None:
    try:
        _aware(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a time in ISO 8601 that says its zone") from None


def _path(value: str) -> str:
    if not value.startswith("/") or value.startswith("/_sandbox"):
        raise ValueError("a path begins with / and is none of the control endpoints")
    return value


class Strict(BaseModel):
    """What a person may say: keys we know, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Synthetic(Strict):
    """Made-up calls, spread evenly over a span."""

    count: Annotated[int, Field(ge=0)]
    starts_at: Instant
    span_s: Annotated[float, Field(gt=0)]
    seed: int = 0


class SyntheticSource(Strict):
    """A dataset of made-up calls."""

    synthetic: Synthetic


class InlineVersion(Strict):
    """One version of one record, as a test wants it: every field under `..._at` is a time or null."""

    visible_at: Instant
    record: dict[str, Any]

    @model_validator(mode="after")
    def _can_be_listed(self) -> InlineVersion:
        if not isinstance(self.record.get("id"), str):
            raise ValueError("a record needs an id, as text")  # noqa: TRY004 - pydantic explains ValueErrors
        for name in ("created_at", "updated_at"):
            if self.record.get(name) is None:
                raise ValueError(f"a record needs {name}: listings are ordered and filtered by it")
        for name, value in self.record.items():
            if name.endswith("_at") and value is not None:
                _check_instant(name, value)
        return self


class InlineSource(Strict):
    """A dataset given version by version."""

    records: dict[ResourceName, list[InlineVersion]]


class Client(Strict):
    """The credentials the center accepts for one scope."""

    client_id: str
    client_secret: str = Field(repr=False)


class TokenRules(Strict):
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


def _kind_of_source(value: Any) -> str:
    if isinstance(value, str):
        return "name"
    is_inline = "records" in value if isinstance(value, dict) else isinstance(value, InlineSource)
    return "inline" if is_inline else "synthetic"


Source = Annotated[
    Annotated[Literal["houston-tx", "san-francisco-ca", "san-diego-ca"], Tag("name")]
    | Annotated[SyntheticSource, Tag("synthetic")]
    | Annotated[InlineSource, Tag("inline")],
    Discriminator(_kind_of_source),
]


class CenterConfig(Strict):
    """One dispatch center.

    Attributes:
        dataset: Name of a sample, or made-up or inline records.
        epoch: The center's now when the sandbox's clock is at zero; the end of the dataset if left out.
        first_page: What `page=` calls the first page, which is also the one that comes without it.
        records_key: Name of the array in an enveloped body.
        filters: Whether `since_param` and `until_param` (both inclusive) work on `updated_at`, work on
            `created_at`, or are silently ignored.
        item: What `GET` of the incident listing's path and an id answers: the record with its `media` and
            fresh links, the same with them deep inside, the record alone, 404, or 405.
        churn_s: Seconds this center's clock moves on before each page after the first.
    """

    dataset: Source
    epoch: Instant | None = None
    credentials: dict[ResourceName, Client] = {}
    token: TokenRules = TokenRules()
    paths: dict[ResourceName, Annotated[str, AfterValidator(_path)]] = {}
    paging: PagingForm = "link"
    first_page: Literal[0, 1] = 1
    page_size: Annotated[int, Field(ge=1)] = 100
    page_size_cap: Annotated[int, Field(ge=1)] = 500
    records_key: str | None = None
    order: Order = "created_desc"
    filters: Literal["effective", "by_created_at", "ignored"] = "effective"
    since_param: str = "updated_since"
    until_param: str = "updated_before"
    timestamp_form: TimestampForm = "iso_z_ms"
    drift: list[Drift] = []
    item: Literal["media", "nested", "without_media", "absent", "not_allowed"] = "media"
    churn_s: Annotated[float, Field(ge=0)] = 0
    latency_ms: Annotated[float, Field(ge=0)] = 0
    max_requests_per_s: Annotated[float, Field(gt=0)] | None = None
    gzip: bool = True

    @model_validator(mode="after")
    def _one_client_a_scope(self) -> CenterConfig:
        if len({client.client_id for client in self.credentials.values()}) < len(self.credentials):
            raise ValueError("every scope needs a client_id of its own: a scope is known by it alone")
        return self

    def path(self, resource: ResourceName) -> str:
        """Return where a resource is listed."""
        return self.paths.get(resource, f"/v1/{resource}")


_LONGEST_S = 1e9
"""Thirty years: whoever moves the clock further has mixed up a unit."""

FASTEST = 86_400.0
"""A day a second: the longest sample is over in a fortnight of them."""


class Fault(Strict):
    """Something that goes wrong, `times` times, for the next requests it applies to.

    Attributes:
        on: Requests it applies to; `lists` are both listings, `item` one incident, `any` all and the logins.
        page: Only for the n-th page of a listing, from 1 whatever their numbers.
        status, body, retry_after_s, retry_after_form: Of a `status` fault.
        bytes_per_s: Of a `slow_bytes` fault.
    """

    kind: FaultKind
    on: Literal["token", "incident_events", "cad_incidents", "lists", "item", "any"] = "lists"
    times: Annotated[int, Field(ge=1)] = 1
    page: Annotated[int, Field(ge=1)] | None = None
    status: Annotated[int, Field(ge=400, le=599)] = 503
    body: str = ""
    retry_after_s: Annotated[int, Field(ge=0)] | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    bytes_per_s: Annotated[int, Field(ge=1)] = 64

    @model_validator(mode="after")
    def _can_happen(self) -> Fault:
        if self.on in {"token", "item"} and (self.page is not None or self.kind in LISTING_FAULTS):
            what = "page" if self.page is not None else f"{self.kind} fault"
            raise ValueError(f"a {what} is of a listing, so it cannot be on: {self.on}")
        return self

    def applies_to(self, on: str, page: int | None) -> bool:
        """Say whether a request is one that the fault is for; `page` is None for all but listings."""
        if on in {"token", "item"} and (self.on == "lists" or self.kind in LISTING_FAULTS):
            return False
        return self.on in {on, "lists", "any"} and self.page in {None, page}


class ClockMove(Strict):
    """How the clock is moved: on by `advance_s`, to `elapsed_s`, or by itself at `speed` seconds a second."""

    advance_s: Annotated[float, Field(ge=-_LONGEST_S, le=_LONGEST_S)] = 0
    elapsed_s: Annotated[float, Field(ge=-_LONGEST_S, le=_LONGEST_S)] | None = None
    speed: Annotated[float, Field(ge=0, le=FASTEST)] | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> ClockMove:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of advance_s, elapsed_s and speed")
        return self


class SandboxConfig(Strict):
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
    return "; ".join(map(_sentence, error.errors(include_url=False, include_input=False)))


def _sentence(item: ErrorDetails) -> str:
    is_unknown = item["type"] == "extra_forbidden"
    what = "there is no such key" if is_unknown else item["msg"].removeprefix("Value error, ")
    return ": ".join(filter(None, (".".join(map(str, item["loc"])), what)))
