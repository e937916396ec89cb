"""Tokens of one center: issued, reused, revoked and lapsed as an OAuth2 server does it."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Literal

from sandbox.config import TokenFault, TokenRules

Refusal = Literal["expired", "revoked", "invalid"]


@dataclass(slots=True)
class Token:
    """One token; `generation` counts the center's tokens from 1, so that a request log can name it."""

    value: str = field(repr=False)
    scope: str
    generation: int
    ends_s: float
    is_revoked: bool = False

    @property
    def remaining_s(self) -> float:
        """Return how long it is still good for."""
        return self.ends_s - time.monotonic()


class TokenBook:
    """Every token a center has issued."""

    def __init__(self) -> None:
        self.issued: dict[str, Token] = {}

    def issue(self, scope: str, rules: TokenRules) -> Token:
        """Return a token for the scope: a live one again, or another, as the rules have it."""
        live = [
            t for t in self.issued.values() if t.scope == scope and not t.is_revoked and t.remaining_s > 0
        ]
        if rules.mode == "reuse" and live:
            return live[-1]
        if rules.mode == "revoke_previous":
            for token in live:
                token.is_revoked = True
        token = Token(_jwt_like(scope), scope, len(self.issued) + 1, time.monotonic() + rules.life_s)
        self.issued[token.value] = token
        return token

    def refusal(self, value: str) -> Refusal | None:
        """Return why a token is not accepted, or None."""
        token = self.issued.get(value)
        if token is None:
            return "invalid"
        if token.is_revoked:
            return "revoked"
        return "expired" if token.remaining_s <= 0 else None

    def spoil(self, how: TokenFault) -> None:
        """Let every token lapse, or revoke it, now."""
        for token in self.issued.values():
            if how == "revoke_token":
                token.is_revoked = True
            else:
                token.ends_s = time.monotonic()


def _jwt_like(scope: str) -> str:
    """Return something that looks like a signed token and means nothing."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"scope": scope, "jti": secrets.token_hex(8)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, secrets.token_urlsafe(32)])
