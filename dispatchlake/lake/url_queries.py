"""URLs without their queries: these may grant access to a caller's photo, and only the raw page keeps them.

A signed query is another with every answer. Kept, it would also make a new version of what has not changed.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_PATTERN = r"(?i)((?:https?|wss?)://[^\s?#\"<>\\]+)(?:\?[^\s\"<>\\]*)?"
"""Also within JSON: where a text ends there, or has something escaped, so does the URL.

One without a query is found too, and stays as it is: else what follows it is looked through again from each `http://`
in it, and a text of a megabyte, which anyone may send us, keeps the process busy for an hour.
"""

_IN_TEXT = re.compile(_PATTERN)


def without_queries(text: str) -> str:
    """Return the text, in which URLs have no query; JSON stays JSON."""
    return _IN_TEXT.sub(r"\1", text) if "?" in text else text


def column_without_queries(texts: pa.StringArray) -> pa.StringArray:
    """Do the same with each text of a column."""
    if not pc.any(pc.match_substring(texts, "?")).as_py():
        return texts
    return pc.replace_substring_regex(texts, _PATTERN, r"\1")
