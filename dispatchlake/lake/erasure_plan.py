"""What an erasure is about, in a file of its own until it is done: whoever is killed is followed by another.

It names the call and what would betray it, so it is its owner's alone, and goes with the last step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from dispatchlake.lake import ledger
from dispatchlake.lake.calls import Calls
from dispatchlake.lake.ledger import Erasure, Ledger, SubjectKind
from dispatchlake.lake.traces import Trace


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure is about.

    Attributes:
        traces: What must not be found once it is done.
        is_by_hash: Whether it was found again by the ledger's hashes, in a catalog older than the erasure:
            then every page of the center is opened.
    """

    erasure_id: str
    reason: str
    requested_by: str
    begun_at: datetime
    calls: Calls
    traces: tuple[Trace, ...]
    is_by_hash: bool = False

    def rows(self, known: Ledger) -> list[Erasure]:
        """Return the erasure as the ledger has it: a row for each incident and CAD incident."""
        center_id = self.calls.center_id
        kinds: list[tuple[SubjectKind, frozenset[str]]] = [
            ("incident", self.calls.incident_ids),
            ("cad_incident", self.calls.cad_incident_ids),
        ]
        return [
            Erasure(
                self.erasure_id,
                center_id,
                kind,
                known.subject_hash(center_id, kind, identity),
                self.reason,
                self.requested_by,
                self.begun_at,
            )
            for kind, ids in kinds
            for identity in sorted(ids)
        ]


def plans_dir(lake_dir: Path) -> Path:
    """Return where plans of unfinished erasures lie."""
    return lake_dir / "erasing"


def read_plans(lake_dir: Path) -> list[Plan]:
    """Return the plans of erasures that were begun and are not done."""
    return [
        _from_json(orjson.loads(path.read_bytes())) for path in sorted(plans_dir(lake_dir).glob("*.json"))
    ]


def write_plan(lake_dir: Path, plan: Plan) -> None:
    """Keep a plan; it is on the disk when this returns."""
    folder = plans_dir(lake_dir)
    folder.mkdir(mode=0o700, exist_ok=True)
    content = {
        **{name: value for name, value in asdict(plan).items() if name not in {"calls", "traces"}},
        "calls": {
            "center_id": plan.calls.center_id,
            "incident_ids": sorted(plan.calls.incident_ids),
            "cad_incident_ids": sorted(plan.calls.cad_incident_ids),
            "media_paths": list(plan.calls.media_paths),
        },
        "traces": [[one.name, one.text] for one in plan.traces],
    }
    ledger.write_private(folder / f"{plan.erasure_id}.json", orjson.dumps(content))


def forget_plan(lake_dir: Path, plan: Plan) -> None:
    """Remove a plan: the erasure is done."""
    (plans_dir(lake_dir) / f"{plan.erasure_id}.json").unlink(missing_ok=True)


def _from_json(content: dict[str, Any]) -> Plan:
    calls = content["calls"]
    return Plan(
        **{
            **content,
            "begun_at": datetime.fromisoformat(content["begun_at"]),
            "calls": Calls(
                calls["center_id"],
                frozenset(calls["incident_ids"]),
                frozenset(calls["cad_incident_ids"]),
                tuple(calls["media_paths"]),
            ),
            "traces": tuple(Trace(*one) for one in content["traces"]),
        }
    )
