"""How many examples a property is tried with: as many as the profile of hypothesis says, or a share of that.

Longer: `--hypothesis-profile=thorough`, which multiplies them all.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings

EXAMPLES = 300
"""Of a property that says nothing else: it is pure logic, and a run of all of them takes a second or two."""

THOROUGH = 20
"""How many times as many the thorough profile tries."""


def register_profiles() -> None:
    """Make both profiles known, and load the one that holds where none is named."""
    # On a busy machine an example may take its time; that is no finding.
    settings.register_profile("patient", deadline=None, max_examples=EXAMPLES)
    settings.register_profile("thorough", deadline=None, max_examples=EXAMPLES * THOROUGH)
    settings.load_profile("patient")


def examples(count: int, **more: Any) -> settings:
    """Return the settings of a property whose examples take long: so many, or more if the profile says so."""
    return settings(max_examples=count * settings().max_examples // EXAMPLES, **more)
