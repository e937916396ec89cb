"""Where webhooks go, how deliveries are tried again, and what a sending puts a receiver through."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sandbox.config import Strict

WebhookKind = Literal["incident-events", "cad"]

WebhookTimestampForm = Literal["utc_name", "space_offset", "iso_z", "iso_z_ms", "iso_offset", "mixed"]

Share = Annotated[float, Field(ge=0, le=1)]


def _on_this_machine(url: str) -> str:
    """Refuse a URL that leads elsewhere: whoever reaches the control endpoints could aim us at anybody."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if parts.scheme not in {"http", "https"} or not is_here or parts.query or parts.fragment:
        raise ValueError("the sandbox sends to http or https URLs of this machine, without a query")
    return url


def _there(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError("there is no such file")
    return path


LocalUrl = Annotated[str, AfterValidator(_on_this_machine)]


class OAuthClient(Strict):
    """With what the sandbox asks the receiver's token endpoint for a token.

    Attributes:
        is_cached: Whether a token is used until shortly before its end; if not, each attempt asks for one.
    """

    token_url: LocalUrl
    client_id: str
    client_secret: str = Field(repr=False)
    scope: str | None = None
    is_cached: bool = True


class WebhookTarget(Strict):
    """Where one kind of delivery goes, and with which of the two documented logins; none if neither is given.

    Attributes:
        trusted_certificate: Path of the certificate that an https target must show or be signed with.
    """

    url: LocalUrl
    bearer: str | None = Field(default=None, repr=False)
    oauth: OAuthClient | None = None
    trusted_certificate: Annotated[str, AfterValidator(_there)] | None = None

    @model_validator(mode="after")
    def _one_login(self) -> WebhookTarget:
        if self.bearer is not None and self.oauth is not None:
            raise ValueError("give a bearer or an oauth client, not both")
        return self


class RetryRules(Strict):
    """When a delivery is tried again: after any answer but 200, no answer in time, or a broken connection.

    Attributes:
        timeout_s: How long an answer is waited for, once the body is sent.
        first_wait_s: Before the second attempt; each further wait is `factor` times the last, at most
            `longest_wait_s`.
        attempts: After how many a delivery is given up; without it, never.
    """

    timeout_s: Annotated[float, Field(gt=0)] = 10
    first_wait_s: Annotated[float, Field(ge=0)] = 1
    factor: Annotated[float, Field(ge=1)] = 2
    longest_wait_s: Annotated[float, Field(ge=0)] = 60
    attempts: Annotated[int, Field(ge=1)] | None = None

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after so many failures; from the 64th on, no longer grown."""
        return float(min(self.longest_wait_s, self.first_wait_s * self.factor ** (min(failures, 64) - 1)))


class WebhooksConfig(Strict):
    """A center's webhooks; what has no target is not sent."""

    targets: dict[WebhookKind, WebhookTarget]
    retry: RetryRules = RetryRules()


class SlowLoris(Strict):
    """Connections that are held open by sending next to nothing; half of them never end their headers."""

    connections: Annotated[int, Field(ge=1)]
    interval_s: Annotated[float, Field(gt=0)] = 0.5
    longest_s: Annotated[float, Field(gt=0)] = 60


class SendingConfig(Strict):
    """One sending: everything that has happened at a center until its now, once, and what goes wrong with it.

    Attributes:
        seed: The same center, now and seed give the same bodies in the same order.
        incidents_at_most: Only what belongs to the center's first incidents.
        rate_per_s: Deliveries a second; without it, a burst.
        connections: How many are used at once.
        duplicated: Share of deliveries that are sent again later.
        displaced: Share of deliveries that are sent up to 50 places earlier or later.
        children_first: Share of incidents whose locations, media and notes come before they do.
        same_second: Share of incidents with further updates within one second of the last.
        revised: Share of locations and notes that come again with the same id and another content.
        unknown_types: Share of incidents with an event of a type that nobody knows.
        unknown_subtypes, unknown_fields, missing_optional: Shares of events that have them, or lack them.
        unfit: Share of incidents with a delivery that cannot be understood: not JSON, no object, no id, a
            time without zone.
        wrong_token: Share of deliveries that are first tried with a wrong token.
        large: How many deliveries have a body of `large_bytes`.
    """

    seed: int = 0
    incidents_at_most: Annotated[int, Field(ge=1)] | None = None
    rate_per_s: Annotated[float, Field(gt=0)] | None = None
    connections: Annotated[int, Field(ge=1, le=1000)] = 8
    timestamp_form: WebhookTimestampForm = "utc_name"
    duplicated: Share = 0
    displaced: Share = 0
    children_first: Share = 0
    same_second: Share = 0
    revised: Share = 0
    unknown_types: Share = 0
    unknown_subtypes: Share = 0
    unknown_fields: Share = 0
    missing_optional: Share = 0
    unfit: Share = 0
    wrong_token: Share = 0
    large: Annotated[int, Field(ge=0)] = 0
    large_bytes: Annotated[int, Field(ge=1000)] = 10_000_000
    slow_loris: SlowLoris | None = None
