"""Whether a request may deliver for a center. An unknown center and a wrong token take the same way."""

from __future__ import annotations

import hmac
import secrets

from dispatchlake.webhooks.credentials import (
    MOST_AT_ONCE,
    CredentialFile,
    CredentialKind,
    hash_secret,
)
from dispatchlake.webhooks.tokens import AccessTokens

_NOBODYS = hash_secret(secrets.token_urlsafe(32))
"""Compared with where a center has fewer credentials, or there is no such center."""


class Access:
    """Judges bearer tokens: long-lived ones that we issued, and short-lived ones that a client fetched."""

    def __init__(self, file: CredentialFile, tokens: AccessTokens) -> None:
        self._file = file
        self._tokens = tokens

    def is_known(self, center_id: str) -> bool:
        """Say whether anything was issued for a center: for the log, never for an answer."""
        return center_id in self._file.current().centers

    def find_credential(self, center_id: str, authorization: str) -> str | None:
        """Return the id of the credential by which a request may deliver for a center, or None.

        As many hashes are compared whether or not there is such a center, each to its last digit.

        Args:
            center_id: As the URL names it, whatever that is.
            authorization: The header's value, or "" where there is none.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        credentials = self._file.current()
        issued = credentials.of_center(center_id, CredentialKind.BEARER)[:MOST_AT_ONCE]
        known = [(c.credential_id, c.secret_hash) for c in issued]
        known += [("", _NOBODYS)] * (MOST_AT_ONCE - len(known))
        presented = hash_secret(token)
        found = ""
        for credential_id, secret_hash in known:
            if hmac.compare_digest(presented, secret_hash):
                found = credential_id
        client_id = self._tokens.client_id_of(token)
        owner = credentials.find_client(client_id) if client_id else None
        if owner is not None and hmac.compare_digest(owner[0].encode(), center_id.encode()):
            found = owner[1].credential_id
        return found or None
