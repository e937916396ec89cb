"""What an export is made of: tables and views by name, and queries."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatchlake.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED_QUERY = re.compile(rf"\s*({_NAME.pattern})\s*=(.*)", re.DOTALL)
_ONLY_NAME = "answer"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to export: its name in the export, and a query for it; None for the table of that name."""

    name: str
    query: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):  # it becomes a file, or a table
            raise ConfigError(f"{self.name} is no name: letters, digits and _ make one, a letter first.")


def item_of(text: str) -> Item:
    """Return what a text means: the name of a table or view, NAME=QUERY, or a query alone.

    Raises:
        ConfigError: It says nothing.
    """
    if not text.strip():
        raise ConfigError("Nothing is named to be exported: name a table, a view, or a query.")
    if _NAME.fullmatch(text.strip()):
        return Item(text.strip())
    if named := _NAMED_QUERY.fullmatch(text):
        return Item(named[1], named[2])
    return Item(_ONLY_NAME, text)
