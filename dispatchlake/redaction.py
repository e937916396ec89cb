"""Keeping tokens, secrets and queries of URLs out of logs.

httpx logs every request's full URL at INFO, and exception texts carry URLs too; a filter on every handler
rewrites both before anything is written or sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

_HIDDEN = "[redacted]"

_SENSITIVE = (
    r"(?:access_token|refresh_token|id_token|auth_token|token|client_secret|secret|password|passwd|api_?key"
    r"|client_assertion|signature|sig|x-amz-[a-z-]{1,40})"
)
"""Names whose values are hidden."""

_VALUE = (
    r"(?:\\+['\"][^'\"\\]*\\+['\"]"  # quoted within a quoted text
    r"|b?\"(?:[^\"\\]|\\.)*\"|b?'(?:[^'\\]|\\.)*'"  # quoted; the other quote may stand in it
    r"|['\"]?[^\s,;&)}\]'\"]+)"  # bare, or cut off before its end
)

# Each pattern takes what it has looked through, whether it hides something or not: a long text must not be
# looked through again from every place in it.
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    # the query of any URL: it may hold a token, a signature or a caller's data
    (
        re.compile(r"((?:https?|wss?)://[^\s?#'\"<>]+)(\?[^\s'\"<>]*)?", re.IGNORECASE),
        lambda found: f"{found[1]}?{_HIDDEN}" if found[2] else found[0],
    ),
    # the user of any URL: a proxy's password
    (re.compile(r"://[^\s/?#'\"<>@]*@"), lambda _found: f"://{_HIDDEN}@"),
    (
        re.compile(r"\b(bearer|basic)\s+(?!tokens?\b)[a-z0-9._~+/=-]+", re.IGNORECASE),
        lambda found: f"{found[1]} {_HIDDEN}",
    ),
    (
        re.compile(rf"({_SENSITIVE}(?:\\*['\"])?\s*[=:]\s*){_VALUE}", re.IGNORECASE),
        lambda found: f"{found[1]}{_HIDDEN}",
    ),
    # a JSON Web Token
    (
        re.compile(r"\beyJ[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_.-]+)?"),
        lambda found: _HIDDEN if found[1] else found[0],
    ),
)

_TALKATIVE = ("httpx", "httpcore", "h2", "hpack")


def is_secret_name(name: str) -> bool:
    """Say whether a parameter of this name may hold a token, a secret or a signature."""
    return re.fullmatch(_SENSITIVE, name, re.IGNORECASE) is not None


def redact(text: str) -> str:
    """Return the text without queries of URLs, tokens and secrets."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class RedactingFilter(logging.Filter):
    """Rewrites each record's message and exception text in place."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact, and let the record pass."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a line of a log must never end what it tells of
            message = str(record.msg)
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
            record.exc_info = None
        return True


_FILTER = RedactingFilter()


def install() -> None:
    """Put the filter on every handler there is, and quieten the HTTP libraries. Repeating it is harmless."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    names = list(logging.root.manager.loggerDict)  # a copy: another thread may add to it
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    handlers = [handler for logger in loggers for handler in logger.handlers]
    for handler in (*handlers, logging.lastResort):
        if handler is not None and _FILTER not in handler.filters:
            handler.addFilter(_FILTER)
