"""The short-lived tokens that an OAuth client fetches from us: signed, so that they outlive the receiver.

A token names its client. It is worth nothing once the client is revoked, whatever time it has left.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from dispatchlake.webhooks.credentials import CredentialFile

LIFE_S = 900
"""How long a token is good for: a client that caches it logs in four times an hour."""

_ISSUER = "dispatchlake"
_ALGORITHM = "HS256"


class AccessTokens:
    """Makes tokens and tells whose they are.

    Args:
        file: Who may deliver, and the key to sign with.
        clock: Seconds since 1970.
    """

    def __init__(self, file: CredentialFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock

    def make(self, client_id: str) -> str:
        """Return a token for a client, good for `LIFE_S` seconds."""
        now = int(self._clock())
        claims = {
            "iss": _ISSUER,
            "sub": client_id,
            "iat": now,
            "exp": now + LIFE_S,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key())

    def client_id_of(self, token: str) -> str | None:
        """Return the client a token was made for, or None where it is not ours or no longer good."""
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=0,
            iss={"essential": True, "value": _ISSUER},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._key(), algorithms=[_ALGORITHM]).claims
            rules.validate(claims)
        except (JoseError, ValueError, TypeError):  # whatever is sent as a token
            return None
        return str(claims["sub"])

    def _key(self) -> OctKey:
        return OctKey.import_key(self._file.current().signing_key.get_secret_value())
