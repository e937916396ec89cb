"""The token endpoint: client credentials in, a short-lived token out, by Authlib (RFC 6749, section 4.4).

The form in which the vendor asks is not documented, so what Authlib can read is taken: the secret in the body
or in a Basic header, the body as a form or as the JSON that the vendor's own endpoint wants.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from starlette.responses import JSONResponse

from dispatchlake.webhooks.credentials import CredentialFile, hash_secret
from dispatchlake.webhooks.tokens import LIFE_S, AccessTokens

_NOBODYS = hash_secret(secrets.token_urlsafe(32))
"""Compared with where there is no such client."""

_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_METHODS = ["client_secret_basic", "client_secret_post"]


class _Client(ClientMixin):
    """A client as Authlib asks about it; of one that does not exist, no secret is right."""

    def __init__(self, client_id: str, secret_hash: str) -> None:
        self.client_id = client_id
        self._secret_hash = secret_hash

    def check_client_secret(self, client_secret: str) -> bool:
        return hmac.compare_digest(hash_secret(client_secret), self._secret_hash)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in _METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == ClientCredentialsGrant.GRANT_TYPE

    def get_allowed_scope(self, scope: Collection[str] | str) -> str:  # noqa: ARG002 - a client may do one thing
        return ""


class _Request(OAuth2Request):
    """A request as Authlib reads it.

    Its address is a fixed one: that the way here is safe is the listener's business, which refuses to be
    reached from elsewhere without TLS.
    """

    def __init__(self, headers: Mapping[str, str], fields: dict[str, str]) -> None:
        super().__init__("POST", "https://receiver/oauth/token", headers=headers)
        self.payload = BasicOAuth2Payload(fields)
        self._fields = fields

    @property
    def form(self) -> dict[str, str]:
        return self._fields


class _Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS


class TokenEndpoint(AuthorizationServer):
    """Answers requests for tokens."""

    def __init__(self, file: CredentialFile, tokens: AccessTokens) -> None:
        super().__init__()
        self._file = file
        self.register_grant(_Grant)
        self.register_token_generator(
            "default",
            BearerTokenGenerator(
                lambda client, **_: tokens.make(client.client_id), expires_generator=lambda *_: LIFE_S
            ),
        )

    def answer(self, headers: Mapping[str, str], content_type: str, body: bytes) -> JSONResponse:
        """Return the answer to one request; one that failed to log in has the status 401."""
        try:
            response: Any = self.create_token_response(_Request(headers, _read_fields(content_type, body)))
        except UnicodeError:  # a Basic header that is no text
            return _refused()
        assert isinstance(response, JSONResponse)  # noqa: S101 - of our own making, below
        return response

    def query_client(self, client_id: str) -> _Client:
        """Return a client by its id; of one that does not exist, no secret is right."""
        found = self._file.current().find_client(client_id)
        return _Client(client_id, found[1].secret_hash if found else _NOBODYS)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Nothing is saved: a token says itself whose it is."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        """Return the request as it is: it was made in the form wanted."""
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> JSONResponse:  # noqa: ARG002 - ours
        """Return what Authlib has decided as a response."""
        if body.get("error") == InvalidClientError.error:
            return _refused()
        # What Authlib says of an error repeats what was sent; its name is enough.
        shown = {"error": body["error"]} if "error" in body else dict(body)
        return JSONResponse(shown, status, dict(_NOT_STORED))


def _refused() -> JSONResponse:
    """Return the one answer whatever was wrong: which client, which secret, or where they stood."""
    return JSONResponse(
        {"error": InvalidClientError.error}, 401, {"WWW-Authenticate": "Basic", **_NOT_STORED}
    )


def _read_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a request; of one that is neither a form nor a JSON object, none."""
    if content_type == "application/json":
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {name: value for name, value in content.items() if isinstance(value, str)}
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}
