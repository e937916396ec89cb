"""The token endpoint: OAuth2 client credentials in, one bearer token out.

Source: the vendor's authentication page; the answers to bad credentials as Doorkeeper gives them. Every
token costs the center one login, and repeated bad ones may lock the account: only what is plainly a passing
fault is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from functools import partial

import httpx

from dispatchlake.api.answers import is_web_page, read_body, transport_error
from dispatchlake.api.deadline import Deadline
from dispatchlake.api.rate import RateBudget
from dispatchlake.api.retry import RetryPolicy, asked_wait_s
from dispatchlake.api.token_store import Token
from dispatchlake.clock import monotonic_s
from dispatchlake.errors import AuthRejected, CenterError, CenterUnavailable, ContractBroken, RateLimited
from dispatchlake.model import DispatchCenter, Scope
from dispatchlake.payload import NotJson, decode_json

logger = logging.getLogger(__name__)

_TOKEN_FORM = re.compile(r"[\x21-\x7e]+")
"""What may stand in a header: anything else could smuggle a second one."""

LONGEST_ANSWER_S = 60.0
MOST_ANSWER_BYTES = 2**20
"""A token is a few hundred bytes, and everybody waits for it."""

_PASSING = {408, 425}
"""Statuses below 500 that say nothing about the credentials, beside 429."""

_WHAT_TO_DO = {
    "invalid_client": "The client id or secret is wrong or no longer valid. Register the right ones "
    "(dispatchlake centers add), or ask the vendor.",
    "invalid_scope": "These credentials are not for this scope. Register them under the scope the vendor "
    "issued them for.",
    "unauthorized_client": "The vendor has not enabled client credentials for this client id; ask them.",
    "unsupported_grant_type": "The server takes no client credentials; check the center's token path.",
    "invalid_request": "The server wants the request in another form; try token_body 'form' in the center's "
    "configuration.",
}


class Login:
    """Fetches tokens for one center and scope.

    Attributes:
        tries: How often the token endpoint was asked: what a center may count as a login, refused or not.
    """

    def __init__(
        self,
        center: DispatchCenter,
        scope: Scope,
        *,
        http: httpx.Client,
        retry: RetryPolicy,
        rate: RateBudget,
        deadline: Deadline,
    ) -> None:
        self._center = center
        self._scope = scope
        self._http = http
        self._retry = retry
        self._rate = rate
        self._deadline = deadline
        self.tries = 0

    def fetch_token(self, *, is_urgent: bool = True) -> Token:
        """Log in once; if it is urgent, passing faults are tried again within the retry budget.

        A pause that the endpoint asks for is then one of all requests to the center; if there is a token that
        serves them, it is one of logins, and the caller's to keep.

        Raises:
            AuthRejected: The credentials or the scope were refused. Never tried again.
            CenterUnavailable, RateLimited: Failing, or still failing when the budget was spent.
            ContractBroken: An answer that is no token.
        """
        if is_urgent:
            token = self._retry.run(partial(self._attempt, is_urgent=True))
        else:
            token = self._attempt(is_urgent=False)
        logger.info("Logged in to %s for %s", self._center.center_id, self._scope)
        return token

    def _attempt(self, *, is_urgent: bool) -> Token:
        credentials = self._center.credentials[self._scope]
        fields = {
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
            "scope": str(self._scope),
        }
        is_form = self._center.token_body == "form"  # noqa: S105 - a way of writing, not a secret
        url = f"{self._center.base_url}{self._center.token_path}"
        self._rate.take()
        self.tries += 1
        began_s = monotonic_s()  # before the request: a token may be younger than we think, never older
        try:
            with (
                self._deadline.within(LONGEST_ANSWER_S),
                self._http.stream(
                    "POST",
                    url,
                    data=fields if is_form else None,
                    json=None if is_form else fields,
                    follow_redirects=False,
                ) as response,
            ):
                self._refuse(response, is_urgent=is_urgent)
                body = self._body(response)
        except httpx.HTTPError as error:
            host, path = httpx.URL(url).netloc.decode("ascii"), self._center.token_path
            raise transport_error(error, center_id=self._center.center_id, host=host, path=path) from None
        return self._read(response, body, began_s)

    def _body(self, response: httpx.Response) -> bytes:
        return read_body(
            response,
            self._center.center_id,
            what="the answer of the token endpoint",
            most_bytes=MOST_ANSWER_BYTES,
        )

    def _refuse(self, response: httpx.Response, *, is_urgent: bool) -> None:
        status = response.status_code
        is_limit = status == httpx.codes.TOO_MANY_REQUESTS
        if is_limit or response.is_server_error or status in _PASSING:
            retry_after_s = asked_wait_s(response.headers)
            if is_urgent and retry_after_s is not None:
                self._rate.pause(retry_after_s)
            kind = RateLimited if is_limit else CenterUnavailable
            raise kind(f"{self._said(status)}.", self._center.center_id, status, retry_after_s)
        if response.is_redirect:
            # Following it would hand the client secret to whoever is named there.
            raise ContractBroken(
                f"{self._said(status)}, a redirect, which is not followed. Check the center's base URL and "
                "token path.",
                self._center.center_id,
                status,
            )
        if response.is_client_error:
            code = ""
            with contextlib.suppress(httpx.HTTPError, CenterError):  # refused, even if the reason is cut off
                code = _error_code(self._body(response))
            advice = _WHAT_TO_DO.get(code, "Check the center's base URL and token path.")
            named = f" ({code})" if code in _WHAT_TO_DO else ""
            raise AuthRejected(f"{self._said(status)}{named}. {advice}", self._center.center_id, status)

    def _read(self, response: httpx.Response, body: bytes, began_s: float) -> Token:
        center_id, status = self._center.center_id, response.status_code
        if is_web_page(response, body):
            raise CenterUnavailable(
                f"{self._said(status)} with a web page; it may be under maintenance.", center_id, status
            )
        try:
            content = decode_json(body)
        except NotJson as error:
            raise CenterUnavailable(f"{self._said(status)}, and {error}.", center_id, status) from None
        value = content.get("access_token") if isinstance(content, dict) else None
        if not isinstance(value, str) or not _TOKEN_FORM.fullmatch(value):
            raise ContractBroken(f"{self._said(status)} without a usable access_token.", center_id, status)
        if str(content.get("token_type") or "bearer").lower() != "bearer":
            raise ContractBroken(
                f"{self._said(status)} with a token that is not a bearer token.", center_id, status
            )
        life_s = parse_life_s(content.get("expires_in"))
        return Token(value, lapses_at_s=began_s + life_s, life_s=life_s)

    def _said(self, status: int) -> str:
        center_id = self._center.center_id
        return f"{center_id}: the token endpoint answered {status} to the login for {self._scope}"


def parse_life_s(expires_in: object) -> float:
    """Return a token's life in seconds; infinite where the answer states none that can be used.

    Servers write it as a number or as text. Zero or less cannot be planned with (a reused token may be in
    its last second): such a token is used until it is refused.
    """
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return math.inf
    try:
        life_s = float(expires_in)
    except (ValueError, OverflowError):
        return math.inf
    return life_s if life_s > 0 and math.isfinite(life_s) else math.inf


def _error_code(body: bytes) -> str:
    try:
        content = decode_json(body)
    except NotJson:
        return ""
    return str(content.get("error", "")) if isinstance(content, dict) else ""
