"""Times as a person types them."""

from __future__ import annotations

from datetime import UTC, datetime

from dispatchlake.errors import ConfigError


def parse_instant(text: str | None) -> datetime | None:
    """Return the instant that a day (in UTC) or a time with its zone means; None for none.

    Raises:
        ConfigError: It is no time.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text} is not a time. Write a day (2024-02-29, UTC) or a time with its zone "
            "(2024-02-29T14:05:00Z)."
        ) from None
    if len(text) == len("2024-02-29"):
        return instant.replace(tzinfo=UTC)
    return instant
