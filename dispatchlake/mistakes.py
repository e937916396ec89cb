"""What is wrong with a value that a person has set: pydantic knows it, and says it to programmers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_DEMANDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known; mind its spelling",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object of names and values",
    "model_type": "must be an object of names and values",
    "string_type": "must be a text",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
}
"""By kind of mistake, where pydantic's own words are those of a programmer."""

_TECHNICAL = re.compile(r", (unable to|got) .*")


def mistakes(
    error: ValidationError,
    *,
    called: Callable[[str], str] = str,
    patterns: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return each value that cannot be used by its name, and what it must be, in one sentence without an end.

    No value is quoted: it may be a secret.

    Args:
        error: What pydantic found.
        called: Returns what a person calls a value, of its place in the model.
        patterns: By regular expression of the model, what it demands in words.
    """
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{called('.'.join(str(part) for part in one['loc']))}: {_demand(one, patterns)}" for one in found
    )


def _demand(one: ErrorDetails, patterns: Mapping[str, str]) -> str:
    context = one.get("ctx", {})
    if words := patterns.get(str(context.get("pattern"))):
        return words
    if one["type"] in {"too_short", "string_too_short"}:
        return f"must have at least {context['min_length']} characters"
    words = one["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _DEMANDS.get(one["type"]) or _TECHNICAL.sub("", words)
