"""The lake against what the sandbox says must have come of its webhooks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.truth.comparison import Readable, rows_of

TABLES: Mapping[str, Mapping[str, str]] = {
    "incidents": {"id": "incident_id"},
    "incident_versions": {"id": "incident_id"},
    "caller_locations": {"id": "location_id", "source": "location_source"},
    "media": {"id": "media_id", "media_type": "kind"},
    "cad_notes": {"id": "note_id"},
    "cad_locations": {"id": "location_id"},
}
"""Tables, and fields of the source that have another name there."""

_OUR_OWN = {"center_id", "extra", "version_hash", "received_at", "source", "raw_id"}


def lost_and_invented(lake: Readable, center_id: str, pushed: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many rows the lake lacks, and how many it has too many, of all that webhooks bring.

    Compared are whole contents, each as often as it is there.
    """
    lost = invented = 0
    for table in TABLES:
        theirs, ours = Counter(map(_text_of, pushed[table])), contents(lake, center_id, table)
        lost += (theirs - ours).total()
        invented += (ours - theirs).total()
    theirs, ours = Counter(pushed["not_understood"]), set_aside(lake, center_id)
    return lost + (theirs - ours).total(), invented + (ours - theirs).total()


def contents(lake: Readable, center_id: str, table: str) -> Counter[str]:
    """Return how often each content is in a table, as the source has it."""
    names = {column: field for field, column in TABLES[table].items()}
    found: Counter[str] = Counter()
    for row in rows_of(lake, f"SELECT * FROM {table} WHERE center_id = '{center_id}'"):
        content = {
            names.get(column, column): value for column, value in row.items() if column not in _OUR_OWN
        }
        if content.get("id") == row["version_hash"]:  # it came without an id
            del content["id"]
        if content.get("metadata") is not None:
            content["metadata"] = json.loads(content["metadata"])
        found[_text_of(content | json.loads(row["extra"] or "{}"))] += 1
    return found


def set_aside(lake: Readable, center_id: str) -> Counter[str]:
    """Return how often each body was set aside, by its SHA-256; once if it came to both URLs."""
    rows = rows_of(
        lake,
        f"""SELECT body_sha256, count(*) // count(DISTINCT quarantine.resource) AS times
        FROM quarantine JOIN raw_pages USING (center_id, raw_id)
        WHERE center_id = '{center_id}' GROUP BY body_sha256""",
    )
    return Counter({row["body_sha256"]: row["times"] for row in rows})


def archived(lake: Readable, center_id: str) -> Counter[str]:
    """Return how often each delivery's body is in the archive, by its SHA-256."""
    rows = rows_of(
        lake,
        f"""SELECT body_sha256, count(*) AS times FROM raw_pages
        WHERE center_id = '{center_id}' AND resource LIKE 'webhook:%' GROUP BY body_sha256""",
    )
    return Counter({row["body_sha256"]: row["times"] for row in rows})


def _text_of(content: Mapping[str, Any]) -> str:
    """Return a content in one form: without what is null, times as instants, without the event's name."""
    kept = {
        name: _instant(value) if name.endswith("_at") else value
        for name, value in content.items()
        if value is not None and name not in {"type", "event_type"}
    }
    return json.dumps(kept, sort_keys=True)


def _instant(value: str | datetime) -> str:
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant.astimezone(UTC).isoformat()
