"""What a victim erases, by name or by age, and what is left of it and of all else afterwards."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from dispatchlake import erasure, retention
from dispatchlake.lake import Lake, catalog_file, erasing, ledger, open_lake, purge
from dispatchlake.lake.custody import verify
from dispatchlake.lake.reading import connect
from dispatchlake.lake.retention_rules import RetentionClass, Rule
from tests.guarantees.victims import Point
from tests.guarantees.work import dying_at, settings_of
from tests.lake.calls import Call
from tests.lake.deliveries import caller_location, land
from tests.lake.pages import CENTER, START, incident, incidents, load

CALL = Call()
TABLES = ("incidents", "incident_versions", "cad_incidents", "cad_incident_versions", "caller_locations")

RULES: dict[RetentionClass, float] = {"records": 1, "raw": 2}
"""Days that things are kept."""
NOW = START + timedelta(days=4)

STEPS: dict[str, tuple[Any, str]] = {
    "write the plan": (erasing, "write_plan"),
    "write the ledger": (ledger, "write"),
    "remove what is listed": (purge.removal, "remove_listed"),
    "scrub the catalog": (catalog_file, "scrub"),
    "search": (erasure, "search"),
    "forget the plan": (erasing, "forget_plan"),
}
"""Calls that a victim may die before or after, beside the statements to DuckDB."""


def put_lake(data_dir: Path) -> None:
    """Make a lake with the call among others, in files and in the catalog."""
    with open_lake(settings_of(data_dir)) as lake:
        _grow(lake)
        with lake.held() as connection:
            purge.purge(connection, lake.lake_dir)
        land(lake, *CALL.events()[3:5], caller_location("l2"))


def _grow(lake: Lake) -> None:
    versions = CALL.versions()
    load(lake, *incidents(120), versions[0])
    load(lake, versions[1], incident("i3", updated=900))
    load(lake, *CALL.cad(), incident("other"), resource="cad_incidents")
    land(lake, caller_location("l1"), *CALL.events()[:3])


def erase(data_dir: Path, point: Point | None = None) -> list[str]:
    """Erase the call; return the statements it took."""
    with dying_at(point, STEPS) as statements:
        report = erasure.erase(
            settings_of(data_dir), CENTER, CALL.incident_id, reason="court order", requested_by="clerk"
        )
        assert report.is_done, report.found
    return statements


def set_rules(data_dir: Path) -> None:
    """Let records be kept for a day and the bodies of pages for two."""
    for of, days in RULES.items():
        retention.set_rule(settings_of(data_dir), Rule("", of, days, "clerk", NOW))


def apply_rules(data_dir: Path, point: Point | None = None) -> list[str]:
    """Remove what the rules say; return the statements it took."""
    with dying_at(point, STEPS) as statements:
        retention.run(settings_of(data_dir), now=NOW)
    return statements


def finish(data_dir: Path) -> None:
    """Go on with what is unfinished, as often as somebody does."""
    for report in erasure.finish_unfinished(settings_of(data_dir)):
        assert report.is_done, report.found


def is_known(data_dir: Path) -> bool:
    """Say whether the call is known to be erased: so it does not come back."""
    forgotten = ledger.read(data_dir / "lake").forgotten(CENTER)
    return forgotten is not None and forgotten.because_of("incident", CALL.incident_id) is not None


def left(data_dir: Path) -> set[str]:
    """Return the files that hold a text of the call."""
    contents = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(data_dir))
        for path, content in contents.items()
        if any(text.encode() in content for text in CALL.texts)
    }


def read_others(data_dir: Path) -> list[tuple[Any, ...]]:
    """Return all rows that are not the call's; fail where the archive is not whole."""
    found: list[tuple[Any, ...]] = []
    with connect(data_dir / "lake") as connection:
        for table in (
            "incidents",
            "incident_versions",
            "cad_incidents",
            "cad_incident_versions",
            "caller_locations",
        ):
            key = "cad_incident_id" if table.startswith("cad") else "incident_id"
            rows = connection.execute(
                f"SELECT * FROM {table} WHERE {key} NOT IN (?, ?) ORDER BY ALL",
                [CALL.incident_id, CALL.cad_id],
            ).fetchall()
            found += [(table, *row) for row in rows]
    assert all(custody.broken is None for custody in verify(data_dir / "lake"))
    return found
