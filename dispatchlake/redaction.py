"""Keeping tokens, secrets and queries of URLs out of logs.

httpx logs every request's full URL at INFO, and exception texts carry URLs too; a filter on every handler
rewrites both before anything is written or sent.
"""

from __future__ import annotations

import logging
import re

_HIDDEN = "[redacted]"

_SENSITIVE = r"(?:access_token|refresh_token|token|client_secret|secret|password|signature|sig|x-amz-[a-z-]+)"
"""Names whose values are hidden."""

_PATTERNS = (
    # the query of any URL: it may hold a token, a signature or a caller's data
    (re.compile(r"((?:https?|wss?)://[^\s?#'\"<>]+)\?[^\s'\"<>]*", re.IGNORECASE), rf"\1?{_HIDDEN}"),
    (re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            rf"(?P<name>['\"]?\b{_SENSITIVE}['\"]?\s*[=:]\s*)(?:['\"][^'\"]*['\"]|[^\s,;&)}}'\"]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>{_HIDDEN}",
    ),
    (re.compile(r"\beyJ[a-zA-Z0-9_-]{8,}\.[a-zA-Z0-9_.-]+"), _HIDDEN),
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
        except (TypeError, ValueError):
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
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for logger in loggers:
        for handler in logger.handlers:
            if _FILTER not in handler.filters:
                handler.addFilter(_FILTER)
