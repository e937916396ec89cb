"""What the lake should hold after any deliveries, in plain Python: no SQL, no Arrow."""

from __future__ import annotations

import json
from typing import Any


class Model:
    """The distinct versions of one center's incidents, in the order they were first received."""

    def __init__(self) -> None:
        self._first_received: dict[str, dict[str, Any]] = {}

    def receive(self, *records: dict[str, Any]) -> None:
        for record in records:
            self._first_received.setdefault(json.dumps(record, sort_keys=True), record)

    def versions(self) -> list[dict[str, Any]]:
        """Return every distinct version."""
        return list(self._first_received.values())

    def current(self) -> list[dict[str, Any]]:
        """Return the newest version of each incident."""
        newest: dict[str, tuple[tuple[str, bool], dict[str, Any]]] = {}
        for record in self.versions():
            # The vendor's stamps sort as texts. Received later, it wins a tie.
            rank = (record["updated_at"], record["audio_call_ended_at"] is not None)
            if record["id"] not in newest or rank >= newest[record["id"]][0]:
                newest[record["id"]] = (rank, record)
        return [record for _, record in newest.values()]
