"""How a page's records stray from what was agreed; the same records each time."""

from __future__ import annotations

from typing import Any

from sandbox.config import Drift

WRONG_EVERY = 10
"""One record in so many gets a field of the wrong type."""

_OPTIONAL = (
    "chatroom_url",
    "audio_call_ended_at",
    "cross_street",
    "city",
    "beat",
    "disposition",
    "disposition_code",
    "hospital_at",
)


def apply_drift(records: list[dict[str, Any]], drift: Drift) -> None:
    """Change the rendered records in place."""
    for index, record in enumerate(records):
        if drift == "unknown_fields":
            record |= {"schema_revision": 7, "responders": [{"unit": "E1", "eta_s": 240}]}
        elif drift == "missing_optional":
            for name in _OPTIONAL:
                record.pop(name, None)
        elif drift == "nan":
            record["confidence"] = float("nan")  # written as NaN, which is not JSON
        elif drift == "invalid_utf8":
            record["note"] = "café"
        elif index % WRONG_EVERY == 0:
            _mistype(record, index // WRONG_EVERY)


def _mistype(record: dict[str, Any], turn: int) -> None:
    name, value = (
        ("updated_at", "yesterday"),
        ("created_at", None),
        ("is_audio_live" if "is_audio_live" in record else "lat", {"nested": True}),
        ("id", True),
    )[turn % 4]
    record[name] = value
